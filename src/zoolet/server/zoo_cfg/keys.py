"""The table of all keys of zoo.cfg: what the server does with each, and why.

It holds every key of Apache ZooKeeper 3.9.5 and zoolet's own. ``docs/compatibility.md`` shows it,
and a test compares the two. Source: ``QuorumPeerConfig``, every system property that the server
reads, and the administrator's guide. Imports nothing of zoolet.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Final, NamedTuple


class Use(Enum):
    """What the server does with a key."""

    SAME = "same"
    """It has Apache's meaning, but for what the note says."""
    OWN = "zoolet's own"
    """Apache 3.9.5 has no such key."""
    IGNORED = "ignored"
    """It changes nothing; the log gets a warning."""
    REFUSED = "refused"
    """The server does not start, unless the value is one of ``Key.harmless``."""


class Source(Enum):
    """Where Apache reads a key."""

    FILE = "zoo.cfg"
    """In zoo.cfg only. A malformed value refuses the start."""
    PROPERTY = "zookeeper.KEY"
    """The system property ``zookeeper.KEY``, which zoo.cfg sets. A malformed number is ignored."""
    BARE_PROPERTY = "KEY"
    """The system property ``KEY``. Apache does not read it in zoo.cfg, zoolet does."""


class Key(NamedTuple):
    """A key, or all keys with a prefix.

    Attributes:
        name: as it stands in zoo.cfg; of a prefix, with ``N`` or ``*`` at its end.
        use: what the server does with it.
        note: the reason, or what differs from Apache.
        source: where Apache reads it.
        harmless: the values, in lower case, with which a refused key does not stop the start.
    """

    name: str
    use: Use
    note: str = ""
    source: Source = Source.PROPERTY
    harmless: frozenset[str] = frozenset({"false", ""})


def _all(use: Use, source: Source, note: str, names: str) -> Iterable[Key]:
    return [Key(name, use, note, source) for name in names.split()]


def _refused(name: str, note: str, *harmless: str) -> Key:
    values = frozenset(harmless) if harmless else frozenset({"false", ""})
    return Key(name, Use.REFUSED, note, harmless=values)


_BARE: Final = "Apache reads the system property of this name, but not zoo.cfg"
_NO_ENSEMBLE: Final = "zoolet is not a member of an ensemble"
_NO_SASL: Final = "zoolet does not support SASL"
_THREADS: Final = "it tunes Apache's threads and queues"
_CACHES: Final = "it tunes Apache's caches; zoolet keeps each znode as its reply"
_THROTTLES: Final = "zoolet limits the unsent bytes of each connection instead"
_WATCHES: Final = "it tunes Apache's watch managers"
_CLIENT: Final = "it is for clients"

_SAME: Final = (
    *_all(
        Use.SAME,
        Source.FILE,
        "",
        "dataDir dataLogDir tickTime minSessionTimeout maxSessionTimeout clientPortListenBacklog"
        " maxClientCnxns autopurge.purgeInterval metricsProvider.httpHost metricsProvider.httpPort",
    ),
    Key(
        "autopurge.snapRetainCount",
        Use.SAME,
        "only snapshots that can be read count; Apache counts damaged ones too",
        Source.FILE,
    ),
    *_all(
        Use.SAME,
        Source.PROPERTY,
        "",
        "4lw.commands.whitelist DigestAuthenticationProvider.digestAlg"
        " DigestAuthenticationProvider.enabled DigestAuthenticationProvider.superDigest"
        " X509AuthenticationProvider.superUser admin.commandURL admin.enableServer"
        " admin.restore.enabled admin.serverPort admin.snapshot.enabled clientTcpKeepAlive"
        " datadir.autocreate nio.sessionlessCnxnTimeout"
        " enforce.auth.enabled enforceQuota extendedTypesEnabled forceSync"
        " fsync.warningthresholdms maxCnxns preAllocSize skipACL snapSizeLimitInKb"
        " snapshot.compression.method ssl.clientAuth ssl.keyStore.password"
        " ssl.keyStore.passwordPath txnLogSizeLimitInKb",
    ),
    *_all(
        Use.SAME,
        Source.BARE_PROPERTY,
        _BARE,
        "jute.maxbuffer znode.container.checkIntervalMs znode.container.maxNeverUsedIntervalMs"
        " znode.container.maxPerMinute",
    ),
    Key(
        "clientPort",
        Use.SAME,
        "if it is missing, the port of the only `server.N` line; zoolet needs one of the two",
        Source.FILE,
    ),
    Key("clientPortAddress", Use.SAME, "`0.0.0.0` and `::` are all addresses", Source.FILE),
    Key("secureClientPort", Use.SAME, "in addition to `clientPort`", Source.FILE),
    Key("secureClientPortAddress", Use.SAME, "`0.0.0.0` and `::` are all addresses", Source.FILE),
    Key(
        "server.N",
        Use.SAME,
        "one server starts standalone; several, or an observer, are refused",
        Source.FILE,
    ),
    Key(
        "dynamicConfigFile",
        Use.SAME,
        "with one server it starts standalone; several, or an observer, are refused",
        Source.FILE,
    ),
    Key(
        "metricsProvider.className",
        Use.SAME,
        "Apache's Prometheus provider, its default one, or its null one; others are refused",
        Source.FILE,
    ),
    Key(
        "authProvider.*",
        Use.SAME,
        "Apache's classes for digest, ip and x509, which are always on; other classes are refused",
    ),
    Key("admin.serverAddress", Use.SAME, "if it is missing, 127.0.0.1; in Apache, all addresses"),
    Key(
        "admin.rateLimiterIntervalInMS",
        Use.SAME,
        "for both commands; Apache 3.9.5 divides it by 1,000 for `snapshot`",
    ),
    Key("admin.idleTimeout", Use.SAME, "0 and less: 24 hours"),
    Key("enforce.auth.schemes", Use.SAME, "digest, ip, x509; others are refused"),
    Key("snapCount", Use.SAME, "at least half the number of znodes; without Apache's randomness"),
    Key("ssl.keyStore.location", Use.SAME, "a PEM file; the error says how to convert others"),
    Key("ssl.keyStore.type", Use.SAME, "PEM only"),
    Key("ssl.trustStore.location", Use.SAME, "a PEM file; the error says how to convert others"),
    Key("ssl.trustStore.type", Use.SAME, "PEM only"),
    Key("ssl.protocol", Use.SAME, "TLSv1.2 or TLSv1.3, unless `ssl.enabledProtocols` is set"),
    Key(
        "ssl.enabledProtocols",
        Use.SAME,
        "of TLSv1.2 and TLSv1.3; both by default (Apache: TLSv1.3 only)",
    ),
    Key(
        "ssl.ciphersuites",
        Use.SAME,
        "the order is the client's; of the three suites of TLSv1.3 all or none",
    ),
)

_OWN: Final = (
    Key("multiRead.maxOps", Use.OWN, "1,000, as Apache 3.9.7; 0 and less: no limit"),
    Key("multiRead.maxResponseBytes", Use.OWN, "64 MiB, as Apache 3.9.7; 0 and less: no limit"),
    Key("zoolet.maxEphemeralsPerSession", Use.OWN, "1,000,000; above it: QUOTAEXCEEDED"),
    Key(
        "zoolet.maxEntriesPerAcl",
        Use.OWN,
        "1,000; a longer list in a request: INVALIDACL. Longer lists in existing data stay in use",
    ),
    Key(
        "zoolet.maxIdentitiesPerConnection",
        Use.OWN,
        "128; one more `auth` request: AUTHFAILED, and the connection is closed",
    ),
    Key(
        "zoolet.clientReadTimeoutMs",
        Use.OWN,
        "30,000; a client that reads nothing for N ms while bytes wait for it is disconnected",
    ),
    Key(
        "zoolet.sessionSecret",
        Use.OWN,
        "not set; the secret of sessions' passwords, see [access.md](access.md)",
    ),
    Key("zoolet.maxPathLength", Use.OWN, "16,384, at least 16; above it: BADARGUMENTS"),
    Key(
        "zoolet.maxWatchesPerConnection",
        Use.OWN,
        "1,000,000; above it: THROTTLEDOP; if a client sets them again after a reconnect, its"
        " connection is closed",
    ),
)

_REFUSED: Final = (
    _refused("client.portUnification", "the secure port of zoolet serves TLS only"),
    _refused("client.certReload", "zoolet reads certificates only at start: restart it instead"),
    _refused("sessionRequireClientSASLAuth", _NO_SASL),
    _refused("ssl.crl", "zoolet does not check revocation lists"),
    _refused("ssl.ocsp", "zoolet does not ask OCSP responders"),
    _refused("ssl.clientHostnameVerification", "zoolet does not compare clients' host names"),
    _refused("ssl.authProvider", "zoolet takes x509 identities only as Apache's own class", "x509"),
    _refused("ssl.context.supplier.class", "zoolet cannot run Java classes", ""),
    _refused("admin.needClientAuth", "the admin endpoint of zoolet does not support TLS"),
    _refused("admin.forceHttps", "the admin endpoint of zoolet does not support TLS"),
    _refused("admin.portUnification", "the admin endpoint of zoolet does not support TLS"),
    _refused("audit.enable", "zoolet writes no audit log"),
    _refused("emulate353TTLNodes", "zoolet does not read the TTL znodes of ZooKeeper 3.5.3"),
    _refused("db.autocreate", "zoolet creates an empty database if there is none", "true"),
    _refused(
        "standaloneEnabled",
        "with false, Apache starts an ensemble of one server; zoolet starts standalone",
        "true",
    ),
    _refused("peerType", "zoolet cannot be an observer", "participant"),
)

_IGNORED: Final = (
    *_all(
        Use.IGNORED,
        Source.PROPERTY,
        _NO_ENSEMBLE,
        "cnxTimeout commitLogCount connectToLearnerMasterLimit controllerPort"
        " electionAlg electionPortBindRetry fastleader.maxNotificationInterval"
        " fastleader.minNotificationInterval follower.nodelay"
        " follower.skipLearnerRequestToNextProcessor forceSnapshotSync"
        " forward_learner_requests_to_commit_processor_disabled group.N initLimit"
        " leader.ackLoggingFrequency leader.closeSocketAsync leader.maxConcurrentDiffSyncs"
        " leader.maxConcurrentSnapSyncs leader.maxTimeToWaitForEpoch leader.nodelay"
        " leaderConnectDelayDuringRetryMs leaderServes learner.asyncSending"
        " learner.closeSocketAsync localSessionsEnabled localSessionsUpgradingEnabled"
        " maxConcurrentDiffSyncs maxConcurrentSnapSyncs maxTimeToWaitForEpoch multiAddress.enabled"
        " multiAddress.reachabilityCheckEnabled multiAddress.reachabilityCheckTimeoutMs"
        " observer.election.DelayMs observer.reconnectDelayMs observer.syncEnabled"
        " observerMaster.sizeLimit observerMasterPort oraclePath portUnification"
        " quorum.auth.enableSasl quorum.auth.kerberos.servicePrincipal"
        " quorum.auth.learner.saslLoginContext quorum.auth.learnerRequireSasl"
        " quorum.auth.server.saslLoginContext quorum.auth.serverRequireSasl"
        " quorum.cnxn.threads.size quorumCnxnTimeoutMs quorumListenOnAllIPs readonlymode.enabled"
        " snapshotSizeFactor ssl.quorum.* sslQuorum sslQuorumReloadCertFiles syncEnabled syncLimit"
        " tcpKeepAlive testingonly.initialZxid version weight.N",
    ),
    Key("reconfigEnabled", Use.IGNORED, "a standalone server refuses reconfig with both values"),
    *_all(
        Use.IGNORED,
        Source.PROPERTY,
        _NO_SASL,
        "SASLAuthenticationProvider.superPassword allowSaslFailedClients"
        " kerberos.canonicalizeHostNames kerberos.minReLoginTimeMs"
        " kerberos.removeHostFromPrincipal kerberos.removeRealmFromPrincipal kinit"
        " letAnySaslUserDoX requireKerberosConfig sasl.serverconfig security.auth_to_local"
        " server.realm superUser",
    ),
    *_all(
        Use.IGNORED,
        Source.PROPERTY,
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
    *_all(
        Use.IGNORED,
        Source.PROPERTY,
        _CACHES,
        "bitHashCacheSize maxGetChildrenResponseCacheSize maxResponseCacheSize",
    ),
    *_all(
        Use.IGNORED,
        Source.PROPERTY,
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
    *_all(
        Use.IGNORED,
        Source.PROPERTY,
        _WATCHES,
        "maxInProcessingDeadWatchers watchManagerName watcherCleanIntervalInSeconds"
        " watcherCleanThreadsNum watcherCleanThreshold",
    ),
    *_all(
        Use.IGNORED,
        Source.PROPERTY,
        "it tunes Apache's metrics and traces",
        "jmx.log4j.disable jmx.log4j.mbean jvm.pause.info-threshold.ms jvm.pause.monitor"
        " jvm.pause.sleep.time.ms jvm.pause.warn-threshold.ms messageTracker.BufferSize"
        " messageTracker.Enabled metricsProvider.* pathStats.delay pathStats.enabled"
        " pathStats.initialDelay pathStats.maxDepth pathStats.sampleRate pathStats.slotCapacity"
        " pathStats.slotDuration pathStats.topPathMax",
    ),
    *_all(
        Use.IGNORED,
        Source.PROPERTY,
        _CLIENT,
        "client.secure clientCnxnSocket disableAutoWatchReset request.timeout sasl.client"
        " sasl.client.canonicalize.hostname sasl.client.username sasl.clientconfig"
        " server.principal ssl.hostnameVerification",
    ),
    Key(
        "IPAuthenticationProvider.usexforwardedfor",
        Use.IGNORED,
        "zoolet takes the address of the connection, also for `snapshot` and `restore`",
    ),
    Key("admin.httpVersion", Use.IGNORED, "the admin endpoint of zoolet speaks HTTP/1.1"),
    Key("audit.impl.class", Use.IGNORED, "zoolet writes no audit log"),
    Key("closeSessionTxn.enabled", Use.IGNORED, "zoolet always writes the paths of ephemerals"),
    Key("digest.enabled", Use.IGNORED, "zoolet keeps no digests of the tree"),
    Key("enableEagerACLCheck", Use.IGNORED, "zoolet checks the ACL when it takes the request"),
    Key("ensembleAuthName", Use.IGNORED, "it needs a class of `authProvider.*`, which is refused"),
    Key("fips-mode", Use.IGNORED, "it selects a class of Java for certificates"),
    Key("flushDelay", Use.IGNORED, "zoolet syncs a batch as soon as the disk is free"),
    Key("jute.maxbuffer.extrasize", Use.IGNORED, "zoolet always uses Apache's default"),
    Key("serializeLastProcessedZxid.enabled", Use.IGNORED, "zoolet reads snapshots of both kinds"),
    Key("serverCnxnFactory", Use.IGNORED, "zoolet cannot run Java classes"),
    Key("snapshot.trust.empty", Use.IGNORED, "zoolet never accepts logs without their snapshot"),
    Key("ssl.allowReverseDnsLookup", Use.IGNORED, "zoolet does not compare clients' host names"),
    Key(
        "ssl.handshakeDetectionTimeoutMillis",
        Use.IGNORED,
        "it is for `client.portUnification`, which is refused",
    ),
    Key("ssl.sslProvider", Use.IGNORED, "zoolet always uses OpenSSL"),
    Key("ssl.trustStore.password", Use.IGNORED, "a trust store in PEM has no password"),
    Key("ssl.trustStore.passwordPath", Use.IGNORED, "a trust store in PEM has no password"),
    Key("test.allowDiscontinuousProposals", Use.IGNORED, "it is for Apache's tests"),
)

KEYS: Final[dict[str, Key]] = {
    key.name: key
    for key in sorted((*_SAME, *_OWN, *_REFUSED, *_IGNORED), key=lambda key: key.name.lower())
}
"""Every key under its name."""

_PREFIXES: Final = {name[:-1]: key for name, key in KEYS.items() if name[-2:] in {".N", ".*"}}
_EXACT: Final = [name for name in KEYS if name[-2:] not in {".N", ".*"}]


def find_key(name: str) -> Key | None:
    """Return what the table says of a key, None if it does not know the key."""
    if name in KEYS and name[-2:] not in {".N", ".*"}:
        return KEYS[name]
    prefixes = [prefix for prefix in _PREFIXES if name.startswith(prefix) and name != prefix]
    return _PREFIXES[max(prefixes, key=len)] if prefixes else None


def similar_key(name: str) -> str | None:
    """Return the known key that an unknown one probably means, None if there is none."""
    without_prefix = name.removeprefix("zookeeper.")
    if without_prefix != name and find_key(without_prefix) is not None:
        return without_prefix
    import difflib  # noqa: PLC0415 -- only for a file with a mistake

    by_lower_case = {known.lower(): known for known in _EXACT}
    found = difflib.get_close_matches(without_prefix.lower(), by_lower_case, n=1, cutoff=0.8)
    return by_lower_case[found[0]] if found else None
