"""The keys of zoo.cfg that the server reads, with type, range, default and meaning.

Source: ``QuorumPeerConfig`` of Apache ZooKeeper 3.9.5, every system property that its server reads,
and the administrator's guide.
"""

from typing import Final

from zoolet.model.limits import DEFAULT_MAX_FRAME_BYTES
from zoolet.server.zoo_cfg.access_keys import ACCESS, OWN_ACCESS
from zoolet.server.zoo_cfg.audit_keys import AUDIT, OWN_AUDIT
from zoolet.server.zoo_cfg.key import Flag, Number, Text
from zoolet.server.zoo_cfg.key_rows import (
    ADDRESS,
    ALL_ADDRESSES_NOTE,
    bare_key,
    file_key,
    own_key,
    port,
    property_key,
)
from zoolet.server.zoo_cfg.operator_keys import OPERATORS, OWN_OPERATORS
from zoolet.server.zoo_cfg.tls_keys import OWN_TLS, QUORUM_STORES, QUORUM_VERSIONS, TLS
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

_SERVERS_NOTE: Final = (
    "with one `server.N` line the server starts standalone; with several lines, or with an"
    " observer, it refuses to start, unless `peerType=observer`"
)
_REVOKED_NOTE: Final = "zoolet cannot do this; an observer refuses to start with `true`"


_DIRECTORY: Final = Text("directory")
_FILE: Final = Text("file")

SAME: Final = (
    # --- Data
    file_key("dataDir", _DIRECTORY, "the directory of the snapshots; required"),
    file_key("dataLogDir", _DIRECTORY, "the directory of the logs; if it is not set, `dataDir`"),
    property_key("datadir.autocreate", Flag(True), "create missing data directories"),
    property_key(
        "forceSync",
        Text("`yes` or `no`", "yes"),
        "with `no`, the server acknowledges txns without a sync to disk",
    ),
    property_key(
        "fsync.warningthresholdms",
        Number(1000, floor=0, is_long=True, unit="ms"),
        "if a sync to disk takes longer than this time, the server logs a warning",
    ),
    property_key(
        "preAllocSize",
        Number(DEFAULT_PREALLOCATE_BYTES // 1024, floor=0, is_long=True, unit="KiB"),
        "the size by which the server extends a log file each time that the file is full",
    ),
    property_key(
        "snapCount",
        Number(100_000, floor=2, unit="txns"),
        "the number of txns after which a snapshot is taken and a new log is begun",
        "zoolet uses half the number of znodes instead, if that is more than this value; Apache"
        " varies the value at random",
    ),
    property_key(
        "snapSizeLimitInKb",
        Number(4 << 20, is_long=True, unit="KiB"),
        "the size of the txns after which a snapshot is taken; 0 and less: no limit",
    ),
    property_key(
        "txnLogSizeLimitInKb",
        Number(-1, is_long=True, unit="KiB"),
        "the size of a log at which a new log is begun; 0 and less: no limit",
    ),
    property_key(
        "snapshot.compression.method",
        Text("`gz`, `snappy` or empty"),
        "the compression of snapshots; empty: none",
    ),
    file_key(
        "autopurge.snapRetainCount",
        Number(LEAST_SNAPSHOTS, floor=LEAST_SNAPSHOTS, unit="snapshots"),
        "the number of snapshots that a purge keeps, with the logs that they need",
        "zoolet counts only undamaged snapshots; Apache counts damaged snapshots too",
    ),
    file_key(
        "autopurge.purgeInterval",
        Number(0, floor=0, unit="hours"),
        "the time between two purges of old snapshots and logs; 0: no purges",
    ),
    # --- Sessions and connections
    file_key(
        "clientPort",
        port(0),
        "the port for clients; 0: any free port",
        "if it is not set, zoolet uses the client port at the end of the `server.N` line, of which"
        " it accepts only one; if neither is set, `secureClientPort` must be set",
    ),
    file_key(
        "clientPortAddress",
        ADDRESS,
        "the address of `clientPort`; if it is not set, all addresses",
        ALL_ADDRESSES_NOTE,
    ),
    file_key(
        "clientPortListenBacklog",
        Number(4096, unit="connections"),
        "the number of connections that may wait to be accepted",
    ),
    property_key(
        "clientTcpKeepAlive", Flag(False), "let the operating system probe silent connections"
    ),
    file_key(
        "maxClientCnxns",
        Number(60, floor=0, unit="connections"),
        "the most connections from one address; 0: no limit",
    ),
    property_key(
        "maxCnxns",
        Number(0, floor=0, unit="connections"),
        "the most connections in total; 0: no limit",
    ),
    property_key(
        "nio.sessionlessCnxnTimeout",
        Number(10_000, floor=1, unit="ms"),
        "a new connection that has not opened a session after this time is closed",
    ),
    file_key(
        "tickTime",
        Number(3000, least=1, unit="ms"),
        "the length of a tick; by default, session timeouts are from 2 to 20 ticks",
    ),
    file_key(
        "minSessionTimeout",
        Number(-1, unit="ms"),
        "the shortest session timeout; if a client requests a shorter one, it gets this one; -1:"
        " twice `tickTime`",
    ),
    file_key(
        "maxSessionTimeout",
        Number(-1, unit="ms"),
        "the longest session timeout; if a client requests a longer one, it gets this one; -1: 20"
        " times `tickTime`",
    ),
    file_key(
        "server.N",
        Text("`host:port:port[:role][;client port]`"),
        "the addresses of server number N, in a zoo.cfg that was written for an ensemble",
        _SERVERS_NOTE,
    ),
    file_key(
        "dynamicConfigFile",
        _FILE,
        "the file with the `server.N` lines, if zoo.cfg does not have them",
        _SERVERS_NOTE,
    ),
    # --- An observer
    file_key(
        "peerType",
        Text("`participant` or `observer`", "participant"),
        "with `observer`, the server joins the ensemble of the `server.N` lines, without a vote",
        "Apache's role is that of its `server.N` line; zoolet needs no line for itself, and refuses"
        " the line of a participant",
    ),
    file_key(
        "standaloneEnabled",
        Flag(True),
        "with `false`, Apache starts an ensemble of one server",
        "zoolet without `peerType=observer` refuses `false`, because it always starts standalone",
    ),
    file_key(
        "initLimit",
        Number(0, least=1, unit="ticks"),
        "an observer closes the connection if it takes longer until it has the leader's data;"
        " required for an observer",
    ),
    file_key(
        "syncLimit",
        Number(0, least=1, unit="ticks"),
        "an observer closes the connection if the leader sends nothing for this time; required for"
        " an observer",
    ),
    bare_key(
        "readonlymode.enabled",
        Flag(False),
        "an observer serves read-only clients while there is no leader",
    ),
    file_key("sslQuorum", Flag(False), "connect to the leader with TLS"),
    *QUORUM_STORES,
    property_key(
        "ssl.quorum.hostnameVerification",
        Flag(True),
        "the leader's certificate must be for its host",
    ),
    *QUORUM_VERSIONS,
    property_key("ssl.quorum.crl", Flag(False), "check revocation lists", _REVOKED_NOTE),
    property_key("ssl.quorum.ocsp", Flag(False), "ask OCSP responders", _REVOKED_NOTE),
    file_key("quorum.auth.enableSasl", Flag(False), "allow `quorum.auth.learnerRequireSasl`"),
    file_key(
        "quorum.auth.learnerRequireSasl",
        Flag(False),
        "log in at the leader with SASL",
        "only DIGEST-MD5, with `zoolet.quorumUsername` and `zoolet.quorumPassword`",
    ),
    # --- Requests
    bare_key(
        "jute.maxbuffer",
        Number(DEFAULT_MAX_FRAME_BYTES, least=1024, unit="bytes"),
        "the longest request",
    ),
    property_key("extendedTypesEnabled", Flag(False), "allow TTL znodes"),
    property_key("enforceQuota", Flag(False), "refuse writes that exceed a hard quota"),
    bare_key(
        "znode.container.checkIntervalMs",
        Number(60_000, least=1, unit="ms"),
        "the time between two checks of containers and TTL znodes",
    ),
    bare_key(
        "znode.container.maxNeverUsedIntervalMs",
        Number(0, floor=0, is_long=True, unit="ms"),
        "the time after which a container that never had a child is deleted; 0: never",
    ),
    bare_key(
        "znode.container.maxPerMinute",
        Number(10_000, least=1, unit="znodes"),
        "the most containers and TTL znodes that are deleted in a minute",
    ),
    *ACCESS,
    *TLS,
    # --- Operators
    *AUDIT,
    *OPERATORS,
    property_key(
        "4lw.commands.whitelist",
        Text("list of commands, or `*`", "srvr"),
        "the four-letter words that the server answers; `*`: all",
    ),
    property_key(
        "admin.enableServer", Text("`true` or `false`", "true"), "enable the admin endpoint"
    ),
    property_key(
        "admin.serverAddress",
        Text("host name or address", "127.0.0.1"),
        "the address of the admin endpoint",
        "Apache's default is all addresses",
    ),
    property_key(
        "admin.serverPort", port(8080), "the port of the admin endpoint; 0: any free port"
    ),
    property_key("admin.commandURL", Text("path", "/commands"), "the URL path of the commands"),
    property_key(
        "admin.idleTimeout",
        Number(30_000, unit="ms"),
        "the time after which a silent client of the admin endpoint is disconnected; 0 and less:"
        " 24 hours",
    ),
    property_key(
        "admin.rateLimiterIntervalInMS",
        Number(300_000, least=0, unit="ms"),
        "the shortest time between two `snapshot` commands, and between two `restore` commands",
        "in Apache 3.9.5, the shortest time between two `snapshot` commands is 1,000 times shorter,"
        " by mistake",
    ),
    property_key("admin.snapshot.enabled", Flag(True), "enable the command `snapshot`"),
    property_key("admin.restore.enabled", Flag(True), "enable the command `restore`"),
    file_key(
        "metricsProvider.className",
        Text("class"),
        "the metrics provider: Apache's Prometheus class enables the metrics; Apache's default and"
        " null classes disable them",
        "zoolet refuses other classes",
    ),
    file_key(
        "metricsProvider.httpHost",
        ADDRESS,
        "the address of the metrics; if not set, all addresses",
    ),
    file_key("metricsProvider.httpPort", port(7000), "the port of the metrics; 0: any free port"),
)

OWN: Final = (
    own_key(
        "multiRead.maxOps",
        Number(DEFAULT_MOST_READ_PARTS, unit="reads"),
        "the most reads in a multiRead; 0 and less: no limit. Apache has this key from 3.9.7 on",
    ),
    own_key(
        "multiRead.maxResponseBytes",
        Number(DEFAULT_MOST_READ_BYTES, is_long=True, unit="bytes"),
        "the longest reply to a multiRead; 0 and less: no limit. Apache has this key from 3.9.7 on",
    ),
    own_key(
        "zoolet.clientReadTimeoutMs",
        Number(30_000, least=1, unit="ms"),
        "a client that reads nothing for this time, although bytes wait for it, is disconnected",
    ),
    own_key(
        "zoolet.maxEntriesPerAcl",
        Number(DEFAULT_MOST_ACL_ENTRIES, least=1, unit="entries"),
        "the most entries of an ACL in a request; a longer ACL is refused with INVALIDACL. Longer"
        " ACLs in existing data stay valid",
    ),
    own_key(
        "zoolet.maxEphemeralsPerSession",
        Number(DEFAULT_MOST_EPHEMERALS, least=1, unit="znodes"),
        "the most ephemerals of a session; the next create is refused with QUOTAEXCEEDED",
    ),
    own_key(
        "zoolet.maxIdentitiesPerConnection",
        Number(DEFAULT_MOST_IDENTITIES, least=1, unit="identities"),
        "the most identities of a connection; the next `auth` request is refused with AUTHFAILED,"
        " and the connection is closed",
    ),
    own_key(
        "zoolet.maxPathLength",
        Number(DEFAULT_MOST_PATH_LENGTH, least=16, unit="characters"),
        "the longest path of a new znode; a longer path is refused with BADARGUMENTS",
    ),
    own_key(
        "zoolet.maxWatchesPerConnection",
        Number(DEFAULT_MOST_WATCHES, least=1, unit="watches"),
        "the most watches of a connection; the next watch is refused with THROTTLEDOP. If a client"
        " restores more watches than this after a reconnect, its connection is closed",
    ),
    own_key(
        "zoolet.quorumPassword",
        Text("password"),
        "the password with which an observer logs in at the leader, if"
        " `quorum.auth.learnerRequireSasl=true`",
    ),
    own_key(
        "zoolet.quorumUsername",
        Text("name"),
        "the name with which an observer logs in at the leader, if"
        " `quorum.auth.learnerRequireSasl=true`",
    ),
    *OWN_TLS,
    *OWN_ACCESS,
    *OWN_AUDIT,
    *OWN_OPERATORS,
)
