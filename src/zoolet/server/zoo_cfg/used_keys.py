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

_BARE_NOTE: Final = "Apache reads this only as a system property, not from zoo.cfg"
_ALL_ADDRESSES_NOTE: Final = "`0.0.0.0` and `::` mean all addresses"
_SERVERS_NOTE: Final = (
    "with one `server.N` line the server starts standalone; with several lines, or with an"
    " observer, it refuses to start, unless `peerType=observer`"
)
_REVOKED_NOTE: Final = "zoolet cannot do this; an observer refuses to start with `true`"
_PEM_NOTE: Final = "for another format, the error message says how to convert the file"


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
    _file("dataDir", _DIRECTORY, "the directory of the snapshots; required"),
    _file("dataLogDir", _DIRECTORY, "the directory of the logs; if it is not set, `dataDir`"),
    _property("datadir.autocreate", Flag(True), "create missing data directories"),
    _property(
        "forceSync",
        Text("`yes` or `no`", "yes"),
        "with `no`, the server acknowledges txns without a sync to disk",
    ),
    _property(
        "fsync.warningthresholdms",
        Number(1000, floor=0, is_long=True, unit="ms"),
        "if a sync to disk takes longer than this time, the server logs a warning",
    ),
    _property(
        "preAllocSize",
        Number(DEFAULT_PREALLOCATE_BYTES // 1024, floor=0, is_long=True, unit="KiB"),
        "the size by which the server extends a log file each time that the file is full",
    ),
    _property(
        "snapCount",
        Number(100_000, floor=2, unit="txns"),
        "the number of txns after which a snapshot is taken and a new log is begun",
        "zoolet uses half the number of znodes instead, if that is more than this value; Apache"
        " varies the value at random",
    ),
    _property(
        "snapSizeLimitInKb",
        Number(4 << 20, is_long=True, unit="KiB"),
        "the size of the txns after which a snapshot is taken; 0 and less: no limit",
    ),
    _property(
        "txnLogSizeLimitInKb",
        Number(-1, is_long=True, unit="KiB"),
        "the size of a log at which a new log is begun; 0 and less: no limit",
    ),
    _property(
        "snapshot.compression.method",
        Text("`gz`, `snappy` or empty"),
        "the compression of snapshots; empty: none",
    ),
    _file(
        "autopurge.snapRetainCount",
        Number(LEAST_SNAPSHOTS, floor=LEAST_SNAPSHOTS, unit="snapshots"),
        "the number of snapshots that a purge keeps, with the logs that they need",
        "zoolet counts only undamaged snapshots; Apache counts damaged snapshots too",
    ),
    _file(
        "autopurge.purgeInterval",
        Number(0, floor=0, unit="hours"),
        "the time between two purges of old snapshots and logs; 0: no purges",
    ),
    # --- Sessions and connections
    _file(
        "clientPort",
        _port(0),
        "the port for clients; 0: any free port",
        "if it is not set, zoolet uses the client port at the end of the `server.N` line, of which"
        " it accepts only one; one of the two must be set, even if `secureClientPort` is set",
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
        "the number of connections that may wait to be accepted",
    ),
    _property(
        "clientTcpKeepAlive", Flag(False), "let the operating system probe silent connections"
    ),
    _file(
        "maxClientCnxns",
        Number(60, floor=0, unit="connections"),
        "the most connections from one address; 0: no limit",
    ),
    _property(
        "maxCnxns",
        Number(0, floor=0, unit="connections"),
        "the most connections in total; 0: no limit",
    ),
    _property(
        "nio.sessionlessCnxnTimeout",
        Number(10_000, floor=1, unit="ms"),
        "a new connection that has not opened a session after this time is closed",
    ),
    _file(
        "tickTime",
        Number(3000, least=1, unit="ms"),
        "the length of a tick; by default, session timeouts are from 2 to 20 ticks",
    ),
    _file(
        "minSessionTimeout",
        Number(-1, unit="ms"),
        "the shortest session timeout; if a client requests a shorter one, it gets this one; -1:"
        " twice `tickTime`",
    ),
    _file(
        "maxSessionTimeout",
        Number(-1, unit="ms"),
        "the longest session timeout; if a client requests a longer one, it gets this one; -1: 20"
        " times `tickTime`",
    ),
    _file(
        "server.N",
        Text("`host:port:port[:role][;client port]`"),
        "the addresses of server number N, in a zoo.cfg that was written for an ensemble",
        _SERVERS_NOTE,
    ),
    _file(
        "dynamicConfigFile",
        _FILE,
        "the file with the `server.N` lines, if zoo.cfg does not have them",
        _SERVERS_NOTE,
    ),
    # --- An observer
    _file(
        "peerType",
        Text("`participant` or `observer`", "participant"),
        "with `observer`, the server joins the ensemble of the `server.N` lines, without a vote",
        "Apache's role is that of its `server.N` line; zoolet needs no line for itself, and refuses"
        " the line of a participant",
    ),
    _file(
        "standaloneEnabled",
        Flag(True),
        "with `false`, Apache starts an ensemble of one server",
        "zoolet without `peerType=observer` refuses `false`, because it always starts standalone",
    ),
    _file(
        "initLimit",
        Number(0, least=1, unit="ticks"),
        "an observer closes the connection if it takes longer until it has the leader's data;"
        " required for an observer",
    ),
    _file(
        "syncLimit",
        Number(0, least=1, unit="ticks"),
        "an observer closes the connection if the leader sends nothing for this time; required for"
        " an observer",
    ),
    _bare(
        "readonlymode.enabled",
        Flag(False),
        "an observer serves read-only clients while there is no leader",
    ),
    _file("sslQuorum", Flag(False), "connect to the leader with TLS"),
    _property(
        "ssl.quorum.keyStore.location",
        _PEM_FILE,
        "an observer's private key and certificates",
        _PEM_NOTE,
    ),
    _property("ssl.quorum.keyStore.type", _PEM, "the format of the key store", "PEM only"),
    _property("ssl.quorum.keyStore.password", Text("password"), "the password of the private key"),
    _property(
        "ssl.quorum.keyStore.passwordPath", _FILE, "the file with the password of the private key"
    ),
    _property(
        "ssl.quorum.trustStore.location",
        _PEM_FILE,
        "the certificates of the CAs that sign members' certificates",
        _PEM_NOTE,
    ),
    _property("ssl.quorum.trustStore.type", _PEM, "the format of the trust store", "PEM only"),
    _property(
        "ssl.quorum.hostnameVerification",
        Flag(True),
        "the leader's certificate must be for its host",
    ),
    _property(
        "ssl.quorum.protocol",
        Text("`TLSv1.2` or `TLSv1.3`"),
        "the only TLS version; ignored if `ssl.quorum.enabledProtocols` is set",
    ),
    _property(
        "ssl.quorum.enabledProtocols",
        Text("list of versions", ",".join(PROTOCOLS)),
        "the enabled TLS versions",
        "Apache's default is TLSv1.3 only",
    ),
    _property(
        "ssl.quorum.ciphersuites",
        Text("list of cipher suites"),
        "Java's names of the cipher suites; if it is not set, OpenSSL's default",
    ),
    _property("ssl.quorum.crl", Flag(False), "check revocation lists", _REVOKED_NOTE),
    _property("ssl.quorum.ocsp", Flag(False), "ask OCSP responders", _REVOKED_NOTE),
    _file("quorum.auth.enableSasl", Flag(False), "allow `quorum.auth.learnerRequireSasl`"),
    _file(
        "quorum.auth.learnerRequireSasl",
        Flag(False),
        "log in at the leader with SASL",
        "only DIGEST-MD5, with `zoolet.quorumUsername` and `zoolet.quorumPassword`",
    ),
    # --- Requests
    _bare(
        "jute.maxbuffer",
        Number(DEFAULT_MAX_FRAME_BYTES, least=1024, unit="bytes"),
        "the longest request",
    ),
    _property("extendedTypesEnabled", Flag(False), "allow TTL znodes"),
    _property("enforceQuota", Flag(False), "refuse writes that exceed a hard quota"),
    _bare(
        "znode.container.checkIntervalMs",
        Number(60_000, least=1, unit="ms"),
        "the time between two checks of containers and TTL znodes",
    ),
    _bare(
        "znode.container.maxNeverUsedIntervalMs",
        Number(0, floor=0, is_long=True, unit="ms"),
        "the time after which a container that never had a child is deleted; 0: never",
    ),
    _bare(
        "znode.container.maxPerMinute",
        Number(10_000, least=1, unit="znodes"),
        "the most containers and TTL znodes that are deleted in a minute",
    ),
    # --- Access
    _property("skipACL", Text("`yes` or `no`", "no"), "with `yes`, every client may do everything"),
    _property(
        "authProvider.*",
        Text("class"),
        "the class of an authentication provider",
        "zoolet accepts only Apache's classes for digest, ip and x509, and refuses other classes",
    ),
    _property("DigestAuthenticationProvider.enabled", Flag(True), "enable the scheme digest"),
    _property(
        "DigestAuthenticationProvider.digestAlg",
        Text("hash", "sha1"),
        "the hash function of the scheme digest, by Java's or Python's name",
    ),
    _property(
        "DigestAuthenticationProvider.superDigest",
        Text("`super:digest`"),
        "the digest of the super user; if it is not set, there is no super user",
    ),
    _property(
        "X509AuthenticationProvider.superUser",
        Text("subject"),
        "the certificate subject of the super user",
    ),
    _property("enforce.auth.enabled", Flag(False), "apply `enforce.auth.schemes`"),
    _property(
        "enforce.auth.schemes",
        Text("list of schemes"),
        "a client must log in with one of these schemes before it sends other requests",
        "zoolet accepts only digest, ip and x509, and refuses other schemes",
    ),
    # --- TLS
    _file(
        "secureClientPort",
        _port(0),
        "the port for clients that use TLS",
        "zoolet always opens a port for clients without TLS too; Apache does so only if"
        " `clientPort` is set",
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
    _property("ssl.keyStore.password", Text("password"), "the password of the private key"),
    _property("ssl.keyStore.passwordPath", _FILE, "the file with the password of the private key"),
    _property(
        "ssl.trustStore.location",
        _PEM_FILE,
        "the certificates of the CAs that sign clients' certificates",
        _PEM_NOTE,
    ),
    _property("ssl.trustStore.type", _PEM, "the format of the trust store", "PEM only"),
    _property(
        "ssl.clientAuth",
        Text("`need`, `want` or `none`", "need"),
        "whether a client must present a certificate",
    ),
    _property(
        "ssl.protocol",
        Text("`TLSv1.2` or `TLSv1.3`"),
        "the only TLS version; ignored if `ssl.enabledProtocols` is set",
    ),
    _property(
        "ssl.enabledProtocols",
        Text("list of versions", ",".join(PROTOCOLS)),
        "the enabled TLS versions",
        "Apache's default is TLSv1.3 only",
    ),
    _property(
        "ssl.ciphersuites",
        Text("list of cipher suites"),
        "Java's names of the cipher suites; if it is not set, OpenSSL's default",
        "the client's order of preference applies; the list must have all three suites of TLSv1.3,"
        " or none",
    ),
    # --- Operators
    _property(
        "4lw.commands.whitelist",
        Text("list of commands, or `*`", "srvr"),
        "the four-letter words that the server answers; `*`: all",
    ),
    _property("admin.enableServer", Text("`true` or `false`", "true"), "enable the admin endpoint"),
    _property(
        "admin.serverAddress",
        Text("host name or address", "127.0.0.1"),
        "the address of the admin endpoint",
        "Apache's default is all addresses",
    ),
    _property("admin.serverPort", _port(8080), "the port of the admin endpoint; 0: any free port"),
    _property("admin.commandURL", Text("path", "/commands"), "the URL path of the commands"),
    _property(
        "admin.idleTimeout",
        Number(30_000, unit="ms"),
        "the time after which a silent client of the admin endpoint is disconnected; 0 and less:"
        " 24 hours",
    ),
    _property(
        "admin.rateLimiterIntervalInMS",
        Number(300_000, least=0, unit="ms"),
        "the shortest time between two `snapshot` commands, and between two `restore` commands",
        "in Apache 3.9.5, the shortest time between two `snapshot` commands is 1,000 times shorter,"
        " by mistake",
    ),
    _property("admin.snapshot.enabled", Flag(True), "enable the command `snapshot`"),
    _property("admin.restore.enabled", Flag(True), "enable the command `restore`"),
    _file(
        "metricsProvider.className",
        Text("class"),
        "the metrics provider: Apache's Prometheus class enables the metrics; Apache's default and"
        " null classes disable them",
        "zoolet refuses other classes",
    ),
    _file(
        "metricsProvider.httpHost",
        _ADDRESS,
        "the address of the metrics; if not set, all addresses",
    ),
    _file("metricsProvider.httpPort", _port(7000), "the port of the metrics; 0: any free port"),
)

OWN: Final = (
    _own(
        "multiRead.maxOps",
        Number(DEFAULT_MOST_READ_PARTS, unit="reads"),
        "the most reads in a multiRead; 0 and less: no limit. Apache has this key from 3.9.7 on",
    ),
    _own(
        "multiRead.maxResponseBytes",
        Number(DEFAULT_MOST_READ_BYTES, is_long=True, unit="bytes"),
        "the longest reply to a multiRead; 0 and less: no limit. Apache has this key from 3.9.7 on",
    ),
    _own(
        "zoolet.clientReadTimeoutMs",
        Number(30_000, least=1, unit="ms"),
        "a client that reads nothing for this time, although bytes wait for it, is disconnected",
    ),
    _own(
        "zoolet.maxEntriesPerAcl",
        Number(DEFAULT_MOST_ACL_ENTRIES, least=1, unit="entries"),
        "the most entries of an ACL in a request; a longer ACL is refused with INVALIDACL. Longer"
        " ACLs in existing data stay valid",
    ),
    _own(
        "zoolet.maxEphemeralsPerSession",
        Number(DEFAULT_MOST_EPHEMERALS, least=1, unit="znodes"),
        "the most ephemerals of a session; the next create is refused with QUOTAEXCEEDED",
    ),
    _own(
        "zoolet.maxIdentitiesPerConnection",
        Number(DEFAULT_MOST_IDENTITIES, least=1, unit="identities"),
        "the most identities of a connection; the next `auth` request is refused with AUTHFAILED,"
        " and the connection is closed",
    ),
    _own(
        "zoolet.maxPathLength",
        Number(DEFAULT_MOST_PATH_LENGTH, least=16, unit="characters"),
        "the longest path of a new znode; a longer path is refused with BADARGUMENTS",
    ),
    _own(
        "zoolet.maxWatchesPerConnection",
        Number(DEFAULT_MOST_WATCHES, least=1, unit="watches"),
        "the most watches of a connection; the next watch is refused with THROTTLEDOP. If a client"
        " restores more watches than this after a reconnect, its connection is closed",
    ),
    _own(
        "zoolet.quorumPassword",
        Text("password"),
        "the password with which an observer logs in at the leader, if"
        " `quorum.auth.learnerRequireSasl=true`",
    ),
    _own(
        "zoolet.quorumUsername",
        Text("name"),
        "the name with which an observer logs in at the leader, if"
        " `quorum.auth.learnerRequireSasl=true`",
    ),
    _own(
        "zoolet.sessionSecret",
        Text("16 characters or more"),
        "the secret from which session passwords are derived, see [access.md](access.md)",
    ),
)
