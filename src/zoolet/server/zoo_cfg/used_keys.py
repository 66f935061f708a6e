"""The keys of zoo.cfg that the server reads, with type, range, default and meaning.

Source: ``QuorumPeerConfig`` of Apache ZooKeeper 3.9.5, every system property that its server reads,
and the administrator's guide.
"""

from typing import Final

from zoolet.model.limits import DEFAULT_MAX_FRAME_BYTES
from zoolet.server.zoo_cfg.config import PROTOCOLS
from zoolet.server.zoo_cfg.key import Flag, Key, Number, Source, Text, Use
from zoolet.state_machine.rules import (
    DEFAULT_MOST_ACL_ENTRIES,
    DEFAULT_MOST_EPHEMERALS,
    DEFAULT_MOST_IDENTITIES,
    DEFAULT_MOST_PATH_LENGTH,
    DEFAULT_MOST_READ_BYTES,
    DEFAULT_MOST_READ_PARTS,
    DEFAULT_MOST_WATCHES,
)
from zoolet.storage.retention import LEAST_SNAPSHOTS
from zoolet.storage.txn_log import DEFAULT_PREALLOCATE_BYTES

Value = Number | Flag | Text

LARGEST_PORT: Final = 65535

_BARE_NOTE: Final = "Apache reads the system property of this name, but not zoo.cfg"
_ALL_ADDRESSES_NOTE: Final = "`0.0.0.0` and `::` are all addresses"
_PEM_NOTE: Final = "the error says how to convert others"


def _file(name: str, value: Value, meaning: str, note: str = "") -> Key:
    return Key(name, Use.SAME, note, Source.FILE, value=value, meaning=meaning)


def _property(name: str, value: Value, meaning: str, note: str = "") -> Key:
    return Key(name, Use.SAME, note, value=value, meaning=meaning)


def _bare(name: str, value: Value, meaning: str) -> Key:
    return Key(name, Use.SAME, _BARE_NOTE, Source.BARE_PROPERTY, value=value, meaning=meaning)


def _own(name: str, value: Value, meaning: str) -> Key:
    return Key(name, Use.OWN, value=value, meaning=meaning)


def _port(default: int) -> Number:
    return Number(default, least=0, most=LARGEST_PORT, unit="TCP port")


_DIRECTORY: Final = Text("directory")
_ADDRESS: Final = Text("host name or address")
_FILE: Final = Text("file")
_PEM_FILE: Final = Text("PEM file")
_PEM: Final = Text("`PEM`")

SAME: Final = (
    # --- Data
    _file("dataDir", _DIRECTORY, "where snapshots are kept; must be set"),
    _file("dataLogDir", _DIRECTORY, "where the logs are kept; if it is not set, in `dataDir`"),
    _property("datadir.autocreate", Flag(True), "missing data directories are created"),
    _property("forceSync", Text("`yes` or `no`", "yes"), "with `no`, nothing is synced to disk"),
    _property(
        "fsync.warningthresholdms",
        Number(1000, floor=0, is_long=True, unit="ms"),
        "a sync that takes longer is logged as a warning",
    ),
    _property(
        "preAllocSize",
        Number(DEFAULT_PREALLOCATE_BYTES // 1024, floor=0, is_long=True, unit="KiB"),
        "in which steps the file of a log grows",
    ),
    _property(
        "snapCount",
        Number(100_000, floor=2, unit="txns"),
        "after how many txns a snapshot is taken and a new log is begun",
        "at least half the number of znodes; without Apache's randomness",
    ),
    _property(
        "snapSizeLimitInKb",
        Number(4 << 20, is_long=True, unit="KiB"),
        "after how many KiB of txns a snapshot is taken; 0 and less: the size does not matter",
    ),
    _property(
        "txnLogSizeLimitInKb",
        Number(-1, is_long=True, unit="KiB"),
        "from which size on a log is ended; 0 and less: the size does not matter",
    ),
    _property(
        "snapshot.compression.method",
        Text("`gz`, `snappy` or nothing"),
        "how snapshots are compressed",
    ),
    _file(
        "autopurge.snapRetainCount",
        Number(LEAST_SNAPSHOTS, floor=LEAST_SNAPSHOTS, unit="snapshots"),
        "how many snapshots a purge keeps, with the logs that they need",
        "only snapshots that can be read count; Apache counts damaged ones too",
    ),
    _file(
        "autopurge.purgeInterval",
        Number(0, floor=0, unit="hours"),
        "how often old snapshots and logs are removed; 0: never",
    ),
    # --- Sessions and connections
    _file(
        "clientPort",
        _port(0),
        "where clients connect; 0: any free port",
        "if it is missing, the port of the only `server.N` line; zoolet needs one of the two",
    ),
    _file(
        "clientPortAddress",
        _ADDRESS,
        "the address of `clientPort`; if it is not set, all addresses",
        _ALL_ADDRESSES_NOTE,
    ),
    _file(
        "clientPortListenBacklog",
        Number(4096, unit="connections"),
        "how many connections may wait to be accepted",
    ),
    _property("clientTcpKeepAlive", Flag(False), "the system probes silent connections"),
    _file(
        "maxClientCnxns",
        Number(60, floor=0, unit="connections"),
        "how many connections an address may have; 0: any number",
    ),
    _property(
        "maxCnxns",
        Number(0, floor=0, unit="connections"),
        "how many connections there may be in all; 0: any number",
    ),
    _property(
        "nio.sessionlessCnxnTimeout",
        Number(10_000, floor=1, unit="ms"),
        "how long a connection may be without a session",
    ),
    _file("tickTime", Number(3000, least=1, unit="ms"), "the unit of sessions' timeouts"),
    _file(
        "minSessionTimeout",
        Number(-1, unit="ms"),
        "a client that asks for less gets this; -1: twice `tickTime`",
    ),
    _file(
        "maxSessionTimeout",
        Number(-1, unit="ms"),
        "a client that asks for more gets this; -1: 20 times `tickTime`",
    ),
    _file(
        "server.N",
        Text("`host:port:port[:role][;client port]`"),
        "the server of an ensemble of one",
        "one server starts standalone; several, or an observer, are refused",
    ),
    _file(
        "dynamicConfigFile",
        _FILE,
        "where the lines `server.N` are, if they are not here",
        "with one server it starts standalone; several, or an observer, are refused",
    ),
    # --- Requests
    _bare(
        "jute.maxbuffer",
        Number(DEFAULT_MAX_FRAME_BYTES, least=1024, unit="bytes"),
        "the longest request",
    ),
    _property("extendedTypesEnabled", Flag(False), "znodes may have a TTL"),
    _property("enforceQuota", Flag(False), "a write above a hard quota is refused"),
    _bare(
        "znode.container.checkIntervalMs",
        Number(60_000, least=1, unit="ms"),
        "how often containers and TTL znodes are looked at",
    ),
    _bare(
        "znode.container.maxNeverUsedIntervalMs",
        Number(0, floor=0, is_long=True, unit="ms"),
        "after how long a container that never had a child is deleted; 0: never",
    ),
    _bare(
        "znode.container.maxPerMinute",
        Number(10_000, least=1, unit="znodes"),
        "how many of them are deleted a minute",
    ),
    # --- Access
    _property("skipACL", Text("`yes` or `no`", "no"), "with `yes`, every client may do everything"),
    _property(
        "authProvider.*",
        Text("class"),
        "a class that checks identities",
        "Apache's classes for digest, ip and x509, which are always on; other classes are refused",
    ),
    _property("DigestAuthenticationProvider.enabled", Flag(True), "there is the scheme digest"),
    _property(
        "DigestAuthenticationProvider.digestAlg",
        Text("hash", "sha1"),
        "the hash of the scheme digest, by Java's name or Python's",
    ),
    _property(
        "DigestAuthenticationProvider.superDigest",
        Text("`super:digest`"),
        "the digest of the super user; if it is not set, there is none",
    ),
    _property(
        "X509AuthenticationProvider.superUser",
        Text("subject"),
        "whose certificate makes a client the super user",
    ),
    _property("enforce.auth.enabled", Flag(False), "`enforce.auth.schemes` counts"),
    _property(
        "enforce.auth.schemes",
        Text("list of schemes"),
        "a client must have an identity under one of these before it may ask for anything",
        "digest, ip, x509; others are refused",
    ),
    # --- TLS
    _file(
        "secureClientPort",
        _port(0),
        "where clients connect with TLS",
        "in addition to `clientPort`",
    ),
    _file(
        "secureClientPortAddress",
        _ADDRESS,
        "the address of `secureClientPort`; if it is not set, all addresses",
        _ALL_ADDRESSES_NOTE,
    ),
    _property(
        "ssl.keyStore.location", _PEM_FILE, "the server's private key and certificates", _PEM_NOTE
    ),
    _property("ssl.keyStore.type", _PEM, "the format of the key store", "PEM only"),
    _property("ssl.keyStore.password", Text("password"), "of the private key"),
    _property("ssl.keyStore.passwordPath", _FILE, "where the password of the private key is"),
    _property(
        "ssl.trustStore.location",
        _PEM_FILE,
        "the certificates of those who sign clients'",
        _PEM_NOTE,
    ),
    _property("ssl.trustStore.type", _PEM, "the format of the trust store", "PEM only"),
    _property(
        "ssl.clientAuth",
        Text("`need`, `want` or `none`", "need"),
        "whether a client has to show a certificate",
    ),
    _property(
        "ssl.protocol",
        Text("`TLSv1.2` or `TLSv1.3`"),
        "the version of TLS, unless `ssl.enabledProtocols` is set",
    ),
    _property(
        "ssl.enabledProtocols",
        Text("list of versions", ",".join(PROTOCOLS)),
        "the versions of TLS",
        "in Apache, TLSv1.3 only by default",
    ),
    _property(
        "ssl.ciphersuites",
        Text("list of cipher suites"),
        "the cipher suites, by Java's names; if it is not set, OpenSSL's",
        "the order is the client's; of the three suites of TLSv1.3 all or none",
    ),
    # --- Operators
    _property(
        "4lw.commands.whitelist",
        Text("list of commands, or `*`", "srvr"),
        "the four-letter commands that are answered",
    ),
    _property(
        "admin.enableServer", Text("`true` or `false`", "true"), "there is the admin endpoint"
    ),
    _property(
        "admin.serverAddress",
        Text("host name or address", "127.0.0.1"),
        "the address of the admin endpoint",
        "in Apache, all addresses by default",
    ),
    _property("admin.serverPort", _port(8080), "the port of the admin endpoint; 0: any free port"),
    _property("admin.commandURL", Text("path", "/commands"), "the path of its commands"),
    _property(
        "admin.idleTimeout",
        Number(30_000, unit="ms"),
        "a client of it that is silent for longer is disconnected; 0 and less: 24 hours",
    ),
    _property(
        "admin.rateLimiterIntervalInMS",
        Number(300_000, least=0, unit="ms"),
        "`snapshot` and `restore` may each be used once in this time",
        "for both commands; Apache 3.9.5 divides it by 1,000 for `snapshot`",
    ),
    _property("admin.snapshot.enabled", Flag(True), "there is the command `snapshot`"),
    _property("admin.restore.enabled", Flag(True), "there is the command `restore`"),
    _file(
        "metricsProvider.className",
        Text("class"),
        "Apache's Prometheus provider switches the metrics on; its default and its null provider do"
        " not",
        "other classes are refused",
    ),
    _file(
        "metricsProvider.httpHost", _ADDRESS, "the address of the metrics; if it is not set, all"
    ),
    _file("metricsProvider.httpPort", _port(7000), "the port of the metrics; 0: any free port"),
)

OWN: Final = (
    _own(
        "multiRead.maxOps",
        Number(DEFAULT_MOST_READ_PARTS, unit="reads"),
        "how many reads a multiRead may have, as in Apache 3.9.7; 0 and less: any number",
    ),
    _own(
        "multiRead.maxResponseBytes",
        Number(DEFAULT_MOST_READ_BYTES, is_long=True, unit="bytes"),
        "the longest reply to a multiRead, as in Apache 3.9.7; 0 and less: any length",
    ),
    _own(
        "zoolet.clientReadTimeoutMs",
        Number(30_000, least=1, unit="ms"),
        "a client that reads nothing for N ms while bytes wait for it is disconnected",
    ),
    _own(
        "zoolet.maxEntriesPerAcl",
        Number(DEFAULT_MOST_ACL_ENTRIES, least=1, unit="entries"),
        "a longer list in a request: INVALIDACL. Longer lists in existing data stay in use",
    ),
    _own(
        "zoolet.maxEphemeralsPerSession",
        Number(DEFAULT_MOST_EPHEMERALS, least=1, unit="znodes"),
        "one more: QUOTAEXCEEDED",
    ),
    _own(
        "zoolet.maxIdentitiesPerConnection",
        Number(DEFAULT_MOST_IDENTITIES, least=1, unit="identities"),
        "one more `auth` request: AUTHFAILED, and the connection is closed",
    ),
    _own(
        "zoolet.maxPathLength",
        Number(DEFAULT_MOST_PATH_LENGTH, least=16, unit="characters"),
        "a longer path: BADARGUMENTS",
    ),
    _own(
        "zoolet.maxWatchesPerConnection",
        Number(DEFAULT_MOST_WATCHES, least=1, unit="watches"),
        "one more: THROTTLEDOP. If a client sets them again after a reconnect, its connection is"
        " closed",
    ),
    _own(
        "zoolet.sessionSecret",
        Text("16 characters or more"),
        "the secret of sessions' passwords, see [access.md](access.md)",
    ),
)
