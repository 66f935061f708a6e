"""The keys of zoo.cfg that the server does not use, each with the reason.

Source: ``QuorumPeerConfig`` of Apache ZooKeeper 3.9.5, every system property that its server reads,
and the administrator's guide.
"""

from collections.abc import Iterable
from typing import Final

from zoolet.server.zoo_cfg.key import Key, Use


def _ignored(note: str, names: str) -> Iterable[Key]:
    return [Key(name, Use.IGNORED, note) for name in names.split()]


def _refused(name: str, note: str, *harmless: str) -> Key:
    values = frozenset(harmless) if harmless else frozenset({"false", ""})
    return Key(name, Use.REFUSED, note, harmless=values)


_NO_ENSEMBLE: Final = "zoolet does not vote in an ensemble, and accepts no learners"
_JAVAS_KERBEROS: Final = "it is for Java's Kerberos; zoolet uses MIT Kerberos"
_THREADS: Final = "it tunes Apache's threads and queues"
_CACHES: Final = "it tunes Apache's caches; zoolet stores znodes already encoded for replies"
_THROTTLES: Final = "zoolet limits the unsent bytes of each connection instead"
_WATCHES: Final = "it tunes Apache's watch managers"
_CLIENT: Final = "it is a setting of clients"

REFUSED: Final = (
    _refused("ssl.ocsp", "Python's `ssl` cannot ask OCSP responders: use `ssl.crl=true`"),
    _refused(
        "ssl.clientHostnameVerification",
        "zoolet does not compare a client's host name with its certificate",
    ),
    _refused(
        "ssl.authProvider",
        "zoolet derives x509 identities only as Apache's provider for `x509` does",
        "x509",
    ),
    _refused("ssl.context.supplier.class", "zoolet cannot run Java classes", ""),
    _refused("emulate353TTLNodes", "zoolet does not read the TTL znodes of ZooKeeper 3.5.3"),
    _refused("db.autocreate", "zoolet always creates a database that does not exist", "true"),
)

IGNORED: Final = (
    *_ignored(
        _NO_ENSEMBLE,
        "cnxTimeout commitLogCount connectToLearnerMasterLimit controllerPort"
        " electionAlg electionPortBindRetry fastleader.maxNotificationInterval"
        " fastleader.minNotificationInterval follower.nodelay"
        " follower.skipLearnerRequestToNextProcessor forceSnapshotSync"
        " forward_learner_requests_to_commit_processor_disabled group.N"
        " leader.ackLoggingFrequency leader.closeSocketAsync leader.maxConcurrentDiffSyncs"
        " leader.maxConcurrentSnapSyncs leader.maxTimeToWaitForEpoch leader.nodelay"
        " leaderConnectDelayDuringRetryMs leaderServes learner.asyncSending"
        " learner.closeSocketAsync localSessionsEnabled localSessionsUpgradingEnabled"
        " maxConcurrentDiffSyncs maxConcurrentSnapSyncs maxTimeToWaitForEpoch multiAddress.enabled"
        " multiAddress.reachabilityCheckEnabled multiAddress.reachabilityCheckTimeoutMs"
        " observer.election.DelayMs observer.reconnectDelayMs observer.syncEnabled"
        " observerMaster.sizeLimit observerMasterPort oraclePath portUnification"
        " quorum.auth.kerberos.servicePrincipal"
        " quorum.auth.learner.saslLoginContext"
        " quorum.auth.server.saslLoginContext quorum.auth.serverRequireSasl"
        " quorum.cnxn.threads.size quorumCnxnTimeoutMs quorumListenOnAllIPs"
        " snapshotSizeFactor ssl.quorum.* sslQuorumReloadCertFiles syncEnabled"
        " tcpKeepAlive testingonly.initialZxid version weight.N",
    ),
    Key("reconfigEnabled", Use.IGNORED, "a standalone server always refuses reconfig"),
    *_ignored(
        _JAVAS_KERBEROS,
        "kerberos.canonicalizeHostNames kerberos.minReLoginTimeMs kinit requireKerberosConfig",
    ),
    Key(
        "requireClientAuthScheme",
        Use.IGNORED,
        "Apache's server does not read it either: use `sessionRequireClientSASLAuth=true`",
    ),
    *_ignored(
        _THREADS,
        "advancedFlowControlEnabled commitProcessor.maxCommitBatchSize"
        " commitProcessor.maxReadBatchSize commitProcessor.numWorkerThreads"
        " commitProcessor.shutdownTimeout intBufferStartingSizeBytes maxBatchSize"
        " maxWriteQueuePollTime netty.advancedFlowControl.enabled nio.directBufferBytes"
        " nio.numSelectorThreads nio.numWorkerThreads nio.shutdownTimeout"
        " request_throttler.shutdownTimeout requestStaleConnectionCheck requestStaleLatencyCheck"
        " request_stale_connection_check request_stale_latency_check throttledOpWaitTime"
        " throttled_op_wait_time",
    ),
    *_ignored(
        _CACHES,
        "bitHashCacheSize maxGetChildrenResponseCacheSize maxResponseCacheSize",
    ),
    *_ignored(
        _THROTTLES,
        "connectionDecreaseRatio connectionDropDecrease connectionDropIncrease connectionFreezeTime"
        " connectionMaxTokens connectionTokenFillCount connectionTokenFillTime"
        " connection_throttle_decrease_ratio connection_throttle_drop_decrease"
        " connection_throttle_drop_increase connection_throttle_fill_count"
        " connection_throttle_fill_time connection_throttle_freeze_time"
        " connection_throttle_global_session_weight connection_throttle_local_session_weight"
        " connection_throttle_renew_session_weight connection_throttle_tokens"
        " connection_throttle_weight_enabled globalOutstandingLimit largeRequestMaxBytes"
        " largeRequestThreshold netty.server.earlyDropSecureConnectionHandshakes"
        " netty.server.outstandingHandshake.limit"
        " outstandingHandshake.limit requestThrottleDropStale requestThrottleLimit"
        " requestThrottleStallTime request_throttle_drop_stale request_throttle_max_requests"
        " request_throttle_stall_time",
    ),
    *_ignored(
        _WATCHES,
        "maxInProcessingDeadWatchers watchManagerName watcherCleanIntervalInSeconds"
        " watcherCleanThreadsNum watcherCleanThreshold",
    ),
    *_ignored(
        "it tunes Apache's metrics and traces",
        "jmx.log4j.disable jmx.log4j.mbean jvm.pause.info-threshold.ms jvm.pause.monitor"
        " jvm.pause.sleep.time.ms jvm.pause.warn-threshold.ms messageTracker.BufferSize"
        " messageTracker.Enabled metricsProvider.* pathStats.delay pathStats.enabled"
        " pathStats.initialDelay pathStats.maxDepth pathStats.sampleRate pathStats.slotCapacity"
        " pathStats.slotDuration pathStats.topPathMax",
    ),
    *_ignored(
        _CLIENT,
        "client.secure clientCnxnSocket disableAutoWatchReset request.timeout sasl.client"
        " sasl.client.canonicalize.hostname sasl.client.username sasl.clientconfig server.realm"
        " server.principal ssl.hostnameVerification",
    ),
    Key(
        "IPAuthenticationProvider.usexforwardedfor",
        Use.IGNORED,
        "zoolet always uses the address of the connection, also for `snapshot` and `restore`",
    ),
    Key("client.certReload", Use.IGNORED, "zoolet always reads changed certificates again"),
    Key("admin.httpVersion", Use.IGNORED, "the admin endpoint of zoolet speaks HTTP/1.1"),
    Key(
        "closeSessionTxn.enabled",
        Use.IGNORED,
        "in zoolet, the txn that ends a session always has the paths of its ephemerals",
    ),
    Key("digest.enabled", Use.IGNORED, "zoolet does not compute digests of the tree"),
    Key("enableEagerACLCheck", Use.IGNORED, "zoolet always checks the ACL before the txn"),
    Key("ensembleAuthName", Use.IGNORED, "it is for an `authProvider.*` class that zoolet refuses"),
    Key("fips-mode", Use.IGNORED, "it selects a Java class that checks certificates"),
    Key("flushDelay", Use.IGNORED, "zoolet syncs a batch as soon as the previous sync ends"),
    Key("jute.maxbuffer.extrasize", Use.IGNORED, "zoolet always uses Apache's default"),
    Key(
        "serializeLastProcessedZxid.enabled",
        Use.IGNORED,
        "zoolet reads snapshots with and without the last processed zxid",
    ),
    Key("serverCnxnFactory", Use.IGNORED, "zoolet cannot run Java classes"),
    Key("snapshot.trust.empty", Use.IGNORED, "zoolet never accepts logs without a snapshot"),
    Key(
        "ssl.allowReverseDnsLookup",
        Use.IGNORED,
        "zoolet does not compare a client's host name with its certificate",
    ),
    Key(
        "ssl.handshakeDetectionTimeoutMillis",
        Use.IGNORED,
        "Apache does not use it for the ports of clients: `nio.sessionlessCnxnTimeout` limits the"
        " wait for the first byte",
    ),
    Key("ssl.sslProvider", Use.IGNORED, "zoolet always uses OpenSSL"),
    Key("test.allowDiscontinuousProposals", Use.IGNORED, "it is for Apache's tests"),
)
