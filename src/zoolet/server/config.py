"""zoo.cfg: read once, into one frozen value.

``keys`` has the table of all keys, ``settings`` reads single values, ``properties`` the file's
format, ``members`` the servers that it names. Source of the keys: the administrator's guide of
ZooKeeper 3.9, "Configuration Parameters".
"""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from zoolet.core.access import DigestRules
from zoolet.core.rules import (
    DEFAULT_MOST_ACL_ENTRIES,
    DEFAULT_MOST_EPHEMERALS,
    DEFAULT_MOST_IDENTITIES,
    DEFAULT_MOST_PATH_LENGTH,
    DEFAULT_MOST_READ_BYTES,
    DEFAULT_MOST_READ_PARTS,
    DEFAULT_MOST_WATCHES,
    Rules,
)
from zoolet.model.addresses import EVERY_ADDRESS
from zoolet.model.limits import DEFAULT_MAX_FRAME_BYTES, max_txn_bytes_of
from zoolet.server.errors import ConfigError
from zoolet.server.members import only_member
from zoolet.server.settings import LARGEST_PORT, Settings, read_settings_text
from zoolet.storage.compression import Compression
from zoolet.storage.retention import LEAST_SNAPSHOTS
from zoolet.storage.txn_log import DEFAULT_PREALLOCATE_BYTES

__all__ = ["AdminConfig", "ClientAuth", "Config", "ConfigError", "Listener", "TlsConfig"]

DEFAULT_FOUR_LETTER_WORDS = frozenset({"srvr"})

_DEFAULT_TICK_TIME_MS = 3000
DEFAULT_LISTEN_BACKLOG = 4096
DEFAULT_SESSIONLESS_TIMEOUT_MS = 10_000
DEFAULT_CLIENT_READ_TIMEOUT_MS = 30_000
_SCHEMES = frozenset({"digest", "ip", "x509"})
_NEVER_BYTES = 1 << 62
_LONGEST_IDLE_MS = 86_400_000
_PROTOCOLS = ("TLSv1.2", "TLSv1.3")

_LOOPBACK = "127.0.0.1"
_PROMETHEUS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
_NO_METRICS = frozenset(
    {
        "",
        "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
        "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    }
)
_AUTH_PROVIDERS = frozenset(
    f"org.apache.zookeeper.server.auth.{name}AuthenticationProvider"
    for name in ("Digest", "IP", "X509")
)
"""The classes whose schemes are always there."""
_LEAST_SECRET_CHARACTERS = 16
_X509_PROVIDER = "org.apache.zookeeper.server.auth.X509AuthenticationProvider"


class Listener(NamedTuple):
    """Where something is served.

    Attributes:
        address: a host name or an address; None is all addresses of this machine, IPv4 and IPv6.
        port: the TCP port; 0 is any free one.
    """

    address: str | None
    port: int


class ClientAuth(Enum):
    """Whether a client on the secure port has to show a certificate."""

    NEED = "need"
    WANT = "want"
    NONE = "none"


class TlsConfig(NamedTuple):
    """How the secure port is set up.

    Attributes:
        listener: where it is.
        key_store: a PEM file with the server's private key and certificates.
        key_store_password: of the private key; empty where it has none.
        trust_store: a PEM file with the certificates of those who sign clients'; None: none.
        client_auth: whether a client has to show a certificate.
        protocols: the versions of TLS, of TLSv1.2 and TLSv1.3.
        cipher_suites: the cipher suites, by the names that Java uses; none: OpenSSL's default.
    """

    listener: Listener
    key_store: Path
    key_store_password: str
    trust_store: Path | None
    client_auth: ClientAuth
    protocols: tuple[str, ...] = _PROTOCOLS
    cipher_suites: tuple[str, ...] = ()


class AdminConfig(NamedTuple):
    """How the admin endpoint is set up.

    Attributes:
        listener: where it listens.
        root: the path of its commands.
        idle_timeout_ms: a client that is silent for longer is disconnected.
        rate_limit_ms: ``snapshot`` and ``restore`` may each be used once in this time.
        offers_snapshot: whether there is the command ``snapshot``.
        offers_restore: whether there is the command ``restore``.
    """

    listener: Listener
    root: str
    idle_timeout_ms: int
    rate_limit_ms: int
    offers_snapshot: bool
    offers_restore: bool


class Config(NamedTuple):
    """How a server is set up.

    Attributes:
        data_dir: where snapshots are kept, and the logs unless data_log_dir is given.
        data_log_dir: where the logs are kept.
        client_port: the TCP port for clients; 0 is any free one.
        client_address: the address to listen on; None is all addresses of this machine, IPv4 and
            IPv6.
        tls: the port for clients that speak TLS; None: there is none.
        x509_super_user: the subject whose certificate makes a client the super user; empty: none.
        creates_directories: whether missing data directories are created (``datadir.autocreate``).
        tick_time_ms: the unit of heartbeats.
        min_session_timeout_ms: a client that asks for less gets this.
        max_session_timeout_ms: a client that asks for more gets this.
        max_connections_per_address: how many connections one address may have; 0 is any number.
        max_connections: how many connections there may be in all; 0 is any number.
        sessionless_timeout_ms: how long a connection may stay without a session
            (``nio.sessionlessCnxnTimeout``), from its accept.
        client_read_timeout_ms: a client that reads nothing for this long, while bytes wait for it,
            is closed (``zoolet.clientReadTimeoutMs``).
        listen_backlog: how many connections may wait to be taken in.
        keeps_alive: whether the system probes silent connections (``clientTcpKeepAlive``).
        snap_count: after how many txns a snapshot is taken and a new log begun.
        snap_size_bytes: after how many bytes of txns a snapshot is taken.
        log_size_bytes: from which size on a log is ended; 0 is never.
        compression: of snapshots.
        kept_snapshots: how many snapshots are kept, with the logs behind them.
        purge_interval_h: how often the others are removed; 0 is never.
        sync_warning_ms: a sync that takes longer is warned of.
        preallocate_bytes: in which steps a log grows.
        force_sync: whether a txn is acknowledged only once it is on disk.
        rules: what the state machine refuses.
        skips_acl: whether every client may do everything (``skipACL``).
        digests: how the authentication scheme digest is set up.
        required_schemes: a connection must have proven an identity under one of these before it
            may ask for anything; empty: it need not.
        container_check_interval_ms: how often containers and TTL znodes are looked at.
        max_removed_per_minute: how many of them are removed at most.
        container_unused_ms: after how long a container that never had a child goes; 0 is never.
        max_frame_bytes: the longest request (``jute.maxbuffer``).
        four_letter_words: those that are answered.
        admin: the admin endpoint; None: there is none.
        metrics: where Prometheus' metrics are; None: nowhere.
        session_secret: what passwords of sessions are derived from (``zoolet.sessionSecret``);
            empty: they are Apache ZooKeeper's.
        settings: what was read, by key; secrets are left out.
        warnings: what was read and has no effect, a line each.
    """

    data_dir: Path
    client_port: int
    data_log_dir: Path | None = None
    client_address: str | None = None
    tls: TlsConfig | None = None
    x509_super_user: str = ""
    creates_directories: bool = True
    tick_time_ms: int = _DEFAULT_TICK_TIME_MS
    min_session_timeout_ms: int = 2 * _DEFAULT_TICK_TIME_MS
    max_session_timeout_ms: int = 20 * _DEFAULT_TICK_TIME_MS
    max_connections_per_address: int = 60
    max_connections: int = 0
    sessionless_timeout_ms: int = DEFAULT_SESSIONLESS_TIMEOUT_MS
    client_read_timeout_ms: int = DEFAULT_CLIENT_READ_TIMEOUT_MS
    listen_backlog: int = DEFAULT_LISTEN_BACKLOG
    keeps_alive: bool = False
    snap_count: int = 100_000
    snap_size_bytes: int = 4 << 30
    log_size_bytes: int = 0
    compression: Compression = Compression.NONE
    kept_snapshots: int = LEAST_SNAPSHOTS
    purge_interval_h: int = 0
    sync_warning_ms: int = 1000
    preallocate_bytes: int = DEFAULT_PREALLOCATE_BYTES
    force_sync: bool = True
    rules: Rules = Rules()
    skips_acl: bool = False
    digests: DigestRules = DigestRules()
    required_schemes: frozenset[str] = frozenset()
    container_check_interval_ms: int = 60_000
    max_removed_per_minute: int = 10_000
    container_unused_ms: int = 0
    max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES
    four_letter_words: frozenset[str] = DEFAULT_FOUR_LETTER_WORDS
    admin: AdminConfig | None = None
    metrics: Listener | None = None
    session_secret: str = ""
    settings: Mapping[str, str] = MappingProxyType({})
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Show what was read, without secrets."""
        return f"Config({dict(self.settings)})"

    @property
    def text(self) -> str:
        """What was read, as a zoo.cfg."""
        return "".join(f"{key}={value}\n" for key, value in self.settings.items())


def read_config(path: Path, overrides: Mapping[str, str] | None = None) -> Config:
    """Read a zoo.cfg; raises ConfigError.

    ``overrides`` are Java's system properties by name, from ``-Dname=value`` in JVMFLAGS. As in
    Apache ZooKeeper, zoo.cfg wins over ``zookeeper.KEY``. It does not win over ``jute.maxbuffer``
    and ``znode.container.*``, which Apache does not read in zoo.cfg.
    """
    return parse_config(read_settings_text(path), path, overrides)


def parse_config(text: str, path: Path, overrides: Mapping[str, str] | None = None) -> Config:
    """Read the content of a zoo.cfg; ``path`` is for messages. Raises ConfigError."""
    return config_of(Settings(path, text, overrides))


def config_of(settings: Settings) -> Config:
    """Make the configuration. Raises ConfigError."""
    minimum_ms, tick_time_ms, maximum_ms = _times(settings)
    listener = _clients(settings)
    _check_auth_providers(settings)
    max_frame_bytes = settings.integer("jute.maxbuffer", DEFAULT_MAX_FRAME_BYTES, least=1024)
    tls = _tls(settings)
    digests = DigestRules(
        algorithm=settings.hash("DigestAuthenticationProvider.digestAlg", "sha1"),
        super_digest=settings.text("DigestAuthenticationProvider.superDigest"),
        is_enabled=settings.boolean("DigestAuthenticationProvider.enabled", default=True),
    )
    data_dir = settings.directory("dataDir")
    if data_dir is None:
        raise settings.missing("dataDir", "the directory for snapshots and logs")
    return Config(
        data_dir=data_dir,
        data_log_dir=settings.directory("dataLogDir"),
        creates_directories=settings.boolean("datadir.autocreate", default=True),
        client_port=listener.port,
        client_address=listener.address,
        tls=tls,
        x509_super_user=settings.text("X509AuthenticationProvider.superUser"),
        tick_time_ms=tick_time_ms,
        min_session_timeout_ms=minimum_ms,
        max_session_timeout_ms=maximum_ms,
        max_connections_per_address=max(0, settings.integer("maxClientCnxns", 60)),
        max_connections=max(0, settings.integer("maxCnxns", 0)),
        sessionless_timeout_ms=max(
            1, settings.integer("nio.sessionlessCnxnTimeout", DEFAULT_SESSIONLESS_TIMEOUT_MS)
        ),
        client_read_timeout_ms=settings.integer(
            "zoolet.clientReadTimeoutMs", DEFAULT_CLIENT_READ_TIMEOUT_MS, least=1
        ),
        listen_backlog=settings.integer("clientPortListenBacklog", DEFAULT_LISTEN_BACKLOG),
        keeps_alive=settings.boolean("clientTcpKeepAlive", default=False),
        snap_count=max(2, settings.integer("snapCount", 100_000)),
        snap_size_bytes=_snap_size_bytes(settings),
        log_size_bytes=max(0, 1024 * settings.integer("txnLogSizeLimitInKb", -1, is_long=True)),
        compression=settings.choice("snapshot.compression.method", Compression, is_strict=False),
        kept_snapshots=max(
            LEAST_SNAPSHOTS, settings.integer("autopurge.snapRetainCount", LEAST_SNAPSHOTS)
        ),
        purge_interval_h=max(0, settings.integer("autopurge.purgeInterval", 0)),
        sync_warning_ms=max(0, settings.integer("fsync.warningthresholdms", 1000, is_long=True)),
        preallocate_bytes=max(
            0,
            1024
            * settings.integer("preAllocSize", DEFAULT_PREALLOCATE_BYTES // 1024, is_long=True),
        ),
        force_sync=settings.text("forceSync", "yes") != "no",
        rules=_rules(
            settings,
            max_frame_bytes,
            _acl_schemes(settings, has_tls=tls is not None, digests=digests),
        ),
        skips_acl=settings.text("skipACL", "no") == "yes",
        digests=digests,
        required_schemes=_required_schemes(settings),
        container_check_interval_ms=settings.integer(
            "znode.container.checkIntervalMs", 60_000, least=1
        ),
        max_removed_per_minute=settings.integer("znode.container.maxPerMinute", 10_000, least=1),
        container_unused_ms=max(
            0, settings.integer("znode.container.maxNeverUsedIntervalMs", 0, is_long=True)
        ),
        max_frame_bytes=max_frame_bytes,
        four_letter_words=frozenset(settings.names("4lw.commands.whitelist"))
        or DEFAULT_FOUR_LETTER_WORDS,
        admin=_admin(settings),
        metrics=_metrics(settings),
        session_secret=_session_secret(settings),
        settings=settings.shown(),
        warnings=settings.warnings(),
    )


def _times(settings: Settings) -> tuple[int, int, int]:
    """Return the minimum session timeout, tickTime and the maximum session timeout, in ms."""
    tick_time_ms = settings.integer("tickTime", _DEFAULT_TICK_TIME_MS, least=1)
    minimum_ms = settings.integer("minSessionTimeout", -1)
    maximum_ms = settings.integer("maxSessionTimeout", -1)
    if minimum_ms == -1:
        minimum_ms = 2 * tick_time_ms
    if maximum_ms == -1:
        maximum_ms = 20 * tick_time_ms
    if minimum_ms > maximum_ms:
        raise ConfigError(
            f"{settings.path}: minSessionTimeout ({minimum_ms} ms) is greater than"
            f" maxSessionTimeout ({maximum_ms} ms). If they are not set, they are 2 and 20 times"
            " tickTime."
        )
    return max(0, minimum_ms), tick_time_ms, maximum_ms


def _snap_size_bytes(settings: Settings) -> int:
    size_kib = settings.integer("snapSizeLimitInKb", 4 << 20, is_long=True)
    return 1024 * size_kib if size_kib > 0 else _NEVER_BYTES


def _clients(settings: Settings) -> Listener:
    """Return where clients are served: clientPort, or the client port of the only server line."""
    port_is_set = settings.is_set("clientPort")
    port = settings.integer("clientPort", 0, least=0, most=LARGEST_PORT)
    address = settings.address("clientPortAddress")
    member = only_member(settings)
    if port_is_set:
        if member is not None and member.client_port not in {None, port}:
            raise settings.error(
                "clientPort",
                f"clientPort={port}, but {member.key} has the client port {member.client_port}:"
                " remove one of them",
            )
        return Listener(address, port)
    if settings.is_set("clientPortAddress"):
        raise settings.error("clientPortAddress", "clientPortAddress needs clientPort: add it")
    if member is None or member.client_port is None:
        raise settings.missing("clientPort", "the TCP port for clients, usually 2181")
    host = None if member.client_host in {None, *EVERY_ADDRESS} else member.client_host
    return Listener(host, member.client_port)


def _rules(settings: Settings, max_frame_bytes: int, schemes: frozenset[str]) -> Rules:
    """Return what the state machine refuses."""
    return Rules(
        allows_ttl=settings.boolean("extendedTypesEnabled", default=False),
        enforces_quota=settings.boolean("enforceQuota", default=False),
        most_ephemerals=settings.integer(
            "zoolet.maxEphemeralsPerSession", DEFAULT_MOST_EPHEMERALS, least=1
        ),
        most_watches=settings.integer(
            "zoolet.maxWatchesPerConnection", DEFAULT_MOST_WATCHES, least=1
        ),
        most_read_parts=settings.integer("multiRead.maxOps", DEFAULT_MOST_READ_PARTS),
        most_read_bytes=settings.integer(
            "multiRead.maxResponseBytes", DEFAULT_MOST_READ_BYTES, is_long=True
        ),
        most_path_length=settings.integer(
            "zoolet.maxPathLength", DEFAULT_MOST_PATH_LENGTH, least=16
        ),
        max_txn_bytes=max_txn_bytes_of(max_frame_bytes),
        most_acl_entries=settings.integer(
            "zoolet.maxEntriesPerAcl", DEFAULT_MOST_ACL_ENTRIES, least=1
        ),
        most_identities=settings.integer(
            "zoolet.maxIdentitiesPerConnection", DEFAULT_MOST_IDENTITIES, least=1
        ),
        schemes=schemes,
    )


def _check_auth_providers(settings: Settings) -> None:
    """Raise ConfigError if identities are to be checked by a class that is not there."""
    for key, class_name in settings.matching("authProvider.*"):
        if class_name not in _AUTH_PROVIDERS:
            raise settings.error(
                key,
                f"{key}={class_name} is not supported: zoolet has the schemes digest, ip and x509,"
                " and cannot run Java classes. Remove the line",
            )


def _tls(settings: Settings) -> TlsConfig | None:
    """Return how the secure port is set up, None if there is none."""
    has_port = settings.is_set("secureClientPort")
    address = settings.address("secureClientPortAddress")
    port = settings.integer("secureClientPort", 0, least=0, most=LARGEST_PORT)
    key_store = settings.pem("ssl.keyStore")
    trust_store = settings.pem("ssl.trustStore")
    client_auth = settings.choice("ssl.clientAuth", ClientAuth)
    password_path = settings.text("ssl.keyStore.passwordPath")
    password = settings.text("ssl.keyStore.password")
    protocols = _protocols(settings)
    cipher_suites = settings.names("ssl.ciphersuites")
    if not has_port:
        if settings.is_set("secureClientPortAddress"):
            raise settings.error(
                "secureClientPortAddress", "secureClientPortAddress needs secureClientPort: add it"
            )
        return None
    if key_store is None:
        raise settings.error(
            "secureClientPort",
            "secureClientPort wants ssl.keyStore.location, a PEM file with the server's private key"
            " and certificates",
        )
    if trust_store is None and client_auth is not ClientAuth.NONE:
        raise settings.error(
            "secureClientPort",
            "clients have to show a certificate, and nobody is trusted to sign one: set"
            " ssl.trustStore.location, or ssl.clientAuth=none",
        )
    if password_path:
        try:
            password = Path(password_path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise settings.error(
                "ssl.keyStore.passwordPath", f"{password_path} cannot be read: {reason}"
            ) from error
    return TlsConfig(
        Listener(address, port),
        key_store,
        password,
        trust_store,
        client_auth,
        protocols,
        cipher_suites,
    )


def _protocols(settings: Settings) -> tuple[str, ...]:
    """Return the versions of TLS that are served."""
    single = settings.text("ssl.protocol")
    listed = settings.names("ssl.enabledProtocols")
    key = "ssl.enabledProtocols" if settings.is_set("ssl.enabledProtocols") else "ssl.protocol"
    protocols = listed if key == "ssl.enabledProtocols" else (single,) if single else _PROTOCOLS
    if not protocols or set(protocols) - set(_PROTOCOLS):
        raise settings.error(
            key,
            f"{key}={settings.text(key)} is not supported: zoolet has TLSv1.2 and TLSv1.3",
        )
    return tuple(sorted(protocols))


def _admin(settings: Settings) -> AdminConfig | None:
    """Return how the admin endpoint is set up; it is there unless it is switched off."""
    idle_timeout_ms = settings.integer("admin.idleTimeout", 30_000)
    admin = AdminConfig(
        Listener(
            settings.address("admin.serverAddress")
            if settings.is_set("admin.serverAddress")
            else _LOOPBACK,
            settings.integer("admin.serverPort", 8080, least=0, most=LARGEST_PORT),
        ),
        "/" + settings.text("admin.commandURL", "/commands").strip("/"),
        idle_timeout_ms if idle_timeout_ms > 0 else _LONGEST_IDLE_MS,
        settings.integer("admin.rateLimiterIntervalInMS", 300_000, least=0),
        settings.boolean("admin.snapshot.enabled", default=True),
        settings.boolean("admin.restore.enabled", default=True),
    )
    return None if settings.text("admin.enableServer") == "false" else admin


def _metrics(settings: Settings) -> Listener | None:
    """Return where metrics are to be; nowhere unless a provider is named."""
    provider = settings.text("metricsProvider.className")
    listener = Listener(
        settings.address("metricsProvider.httpHost"),
        settings.integer("metricsProvider.httpPort", 7000, least=0, most=LARGEST_PORT),
    )
    if provider == _PROMETHEUS:
        return listener
    if provider not in _NO_METRICS:
        raise settings.error(
            "metricsProvider.className", f"the metrics provider there is, is {_PROMETHEUS}"
        )
    return None


def _acl_schemes(settings: Settings, *, has_tls: bool, digests: DigestRules) -> frozenset[str]:
    """Return the schemes that have a provider, as Apache ZooKeeper's ``ProviderRegistry`` has."""
    has_provider = any(
        class_name == _X509_PROVIDER for _, class_name in settings.matching("authProvider.*")
    )
    schemes = {"ip": True, "digest": digests.is_enabled, "x509": has_tls or has_provider}
    return frozenset(scheme for scheme, is_known in schemes.items() if is_known)


def _session_secret(settings: Settings) -> str:
    """Return the secret of sessions' passwords; empty: there is none."""
    key = "zoolet.sessionSecret"
    secret = settings.text(key)
    if secret and len(secret) < _LEAST_SECRET_CHARACTERS:
        raise settings.error(
            key,
            f"the secret is too short: use {_LEAST_SECRET_CHARACTERS} characters or more, for"
            " example the output of: openssl rand -hex 32",
        )
    return secret


def _required_schemes(settings: Settings) -> frozenset[str]:
    """Return the schemes of ``enforce.auth.schemes``, if they are enforced."""
    enforced = settings.boolean("enforce.auth.enabled", default=False)
    listed = frozenset(settings.names("enforce.auth.schemes"))
    if not enforced:
        return frozenset()
    if not listed or listed - _SCHEMES:
        raise settings.error(
            "enforce.auth.schemes" if listed else "enforce.auth.enabled",
            "enforce.auth.schemes must list one or more of: " + ", ".join(sorted(_SCHEMES)),
        )
    return listed
