"""zoo.cfg: read once, into one frozen value.

Source of the keys: the administrator's guide of ZooKeeper 3.9, "Configuration Parameters".
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NamedTuple, TypeVar

from zoolet.core.access import DigestRules
from zoolet.core.rules import (
    DEFAULT_MOST_ACL_ENTRIES,
    DEFAULT_MOST_EPHEMERALS,
    DEFAULT_MOST_IDENTITIES,
    DEFAULT_MOST_PATH_BYTES,
    DEFAULT_MOST_READ_BYTES,
    DEFAULT_MOST_READ_PARTS,
    DEFAULT_MOST_WATCHES,
    Rules,
)
from zoolet.model.limits import DEFAULT_MAX_FRAME_BYTES, max_txn_bytes_of
from zoolet.storage.compression import Compression
from zoolet.storage.retention import LEAST_SNAPSHOTS
from zoolet.storage.txnlog import DEFAULT_PREALLOCATE_BYTES

C = TypeVar("C", bound=Enum)

DEFAULT_FOUR_LETTER_WORDS = frozenset({"srvr"})

_DEFAULT_TICK_TIME_MS = 3000
DEFAULT_LISTEN_BACKLOG = 4096
_LARGEST_INT32 = (1 << 31) - 1
_SCHEMES = frozenset({"digest", "ip", "x509"})
_ENSEMBLE_KEY = re.compile(r"server\.\d+")

_PROMETHEUS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
_NO_METRICS = frozenset(
    {
        "",
        "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
        "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    }
)
_SECRET = re.compile("digest$|password|passwd|secret", re.IGNORECASE)
_LEAST_SECRET_CHARACTERS = 16
_X509_PROVIDER = "org.apache.zookeeper.server.auth.X509AuthenticationProvider"

_NOT_YET = {
    "client.portUnification": "zoolet serves TLS on secureClientPort alone",
    "sessionRequireClientSASLAuth": "zoolet does not speak SASL yet",
}
"""What would make a server less safe than its operator thinks, were it passed over."""


class ConfigError(Exception):
    """zoo.cfg cannot be used; the message names file, line and key, and says what to do."""


class Listener(NamedTuple):
    """Where something is served; the address None is every one of this machine's."""

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
    """

    listener: Listener
    key_store: Path
    key_store_password: str
    trust_store: Path | None
    client_auth: ClientAuth


class AdminConfig(NamedTuple):
    """How the admin endpoint is set up; ``root`` is the path of its commands."""

    listener: Listener
    root: str
    idle_timeout_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How a server is set up.

    Attributes:
        data_dir: where snapshots are kept, and the logs unless data_log_dir is given.
        data_log_dir: where the logs are kept.
        client_port: the TCP port for clients.
        client_address: the address to listen on; None is every address of this machine.
        tls: the port for clients that speak TLS; None: there is none.
        tick_time_ms: the unit of heartbeats.
        min_session_timeout_ms: a client that asks for less gets this.
        max_session_timeout_ms: a client that asks for more gets this.
        max_connections_per_address: how many connections one address may have; 0 is any number.
        max_connections: how many connections there may be in all; 0 is any number.
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
        max_perished_per_minute: how many of them are removed at most.
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
    tick_time_ms: int = _DEFAULT_TICK_TIME_MS
    min_session_timeout_ms: int = 2 * _DEFAULT_TICK_TIME_MS
    max_session_timeout_ms: int = 20 * _DEFAULT_TICK_TIME_MS
    max_connections_per_address: int = 60
    max_connections: int = 0
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
    rules: Rules = field(default_factory=Rules)
    skips_acl: bool = False
    digests: DigestRules = field(default_factory=DigestRules)
    required_schemes: frozenset[str] = frozenset()
    container_check_interval_ms: int = 60_000
    max_perished_per_minute: int = 10_000
    container_unused_ms: int = 0
    max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES
    four_letter_words: frozenset[str] = field(default=DEFAULT_FOUR_LETTER_WORDS)
    admin: AdminConfig | None = None
    metrics: Listener | None = None
    session_secret: str = field(default="", repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What was read, as a zoo.cfg."""
        return "".join(f"{key}={value}\n" for key, value in self.settings.items())


def read_config(path: Path) -> Config:
    """Read a zoo.cfg; raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; name a zoo.cfg.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}.") from error
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> Config:
    """Read the content of a zoo.cfg; ``path`` is for messages. Raises ConfigError."""
    settings = _Settings(path, text)
    tick_time_ms = settings.integer("tickTime", _DEFAULT_TICK_TIME_MS, least=1)
    minimum_ms = settings.integer("minSessionTimeout", -1, least=-1)
    maximum_ms = settings.integer("maxSessionTimeout", -1, least=-1)
    if minimum_ms == -1:
        minimum_ms = 2 * tick_time_ms
    if maximum_ms == -1:
        maximum_ms = 20 * tick_time_ms
    if minimum_ms > maximum_ms:
        raise ConfigError(
            f"{path}: minSessionTimeout ({minimum_ms} ms) is greater than maxSessionTimeout"
            f" ({maximum_ms} ms); tickTime sets them to 2 and 20 times itself where they are not"
            " given."
        )
    settings.refuse(_NOT_YET)
    data_log_dir = settings.text("dataLogDir", "")
    max_frame_bytes = settings.integer("jute.maxbuffer", DEFAULT_MAX_FRAME_BYTES, least=1024)
    tls = _tls(settings)
    digests = DigestRules(
        algorithm=settings.hash("DigestAuthenticationProvider.digestAlg", "sha1"),
        super_digest=settings.text("DigestAuthenticationProvider.superDigest", ""),
        is_enabled=settings.boolean("DigestAuthenticationProvider.enabled", default=True),
    )
    return Config(
        data_dir=Path(settings.required("dataDir", "the directory for snapshots and logs")),
        data_log_dir=Path(data_log_dir) if data_log_dir else None,
        client_port=settings.required_port("clientPort"),
        client_address=settings.text("clientPortAddress", "") or None,
        tls=tls,
        tick_time_ms=tick_time_ms,
        min_session_timeout_ms=minimum_ms,
        max_session_timeout_ms=maximum_ms,
        max_connections_per_address=settings.integer("maxClientCnxns", 60, least=0),
        max_connections=settings.integer("maxCnxns", 0, least=0),
        listen_backlog=settings.integer(
            "clientPortListenBacklog", DEFAULT_LISTEN_BACKLOG, least=-1
        ),
        keeps_alive=settings.boolean("clientTcpKeepAlive", default=False),
        snap_count=settings.integer("snapCount", 100_000, least=2),
        snap_size_bytes=1024 * settings.integer("snapSizeLimitInKb", 4 << 20, least=1),
        log_size_bytes=1024 * max(0, settings.integer("txnLogSizeLimitInKb", -1, least=-1)),
        compression=settings.choice("snapshot.compression.method", Compression),
        kept_snapshots=max(
            LEAST_SNAPSHOTS, settings.integer("autopurge.snapRetainCount", LEAST_SNAPSHOTS, least=1)
        ),
        purge_interval_h=max(0, settings.integer("autopurge.purgeInterval", 0, least=-1)),
        sync_warning_ms=settings.integer("fsync.warningthresholdms", 1000, least=0),
        preallocate_bytes=1024
        * settings.integer("preAllocSize", DEFAULT_PREALLOCATE_BYTES // 1024, least=0),
        force_sync=settings.text("forceSync", "yes") != "no",
        rules=Rules(
            allows_ttl=settings.boolean("extendedTypesEnabled", default=False),
            enforces_quota=settings.boolean("enforceQuota", default=False),
            most_ephemerals=settings.integer(
                "zoolet.maxEphemeralsPerSession", DEFAULT_MOST_EPHEMERALS, least=1
            ),
            most_watches=settings.integer(
                "zoolet.maxWatchesPerConnection", DEFAULT_MOST_WATCHES, least=1
            ),
            most_read_parts=settings.integer(
                "multiRead.maxOps", DEFAULT_MOST_READ_PARTS, least=-_LARGEST_INT32
            ),
            most_read_bytes=settings.integer(
                "multiRead.maxResponseBytes", DEFAULT_MOST_READ_BYTES, least=-_LARGEST_INT32
            ),
            most_path_bytes=settings.integer(
                "zoolet.maxPathLength", DEFAULT_MOST_PATH_BYTES, least=16
            ),
            max_txn_bytes=max_txn_bytes_of(max_frame_bytes),
            most_acl_entries=settings.integer(
                "zoolet.maxEntriesPerAcl", DEFAULT_MOST_ACL_ENTRIES, least=1
            ),
            most_identities=settings.integer(
                "zoolet.maxIdentitiesPerConnection", DEFAULT_MOST_IDENTITIES, least=1
            ),
            schemes=_acl_schemes(settings, has_tls=tls is not None, digests=digests),
        ),
        skips_acl=settings.text("skipACL", "no") == "yes",
        digests=digests,
        required_schemes=_required_schemes(settings),
        container_check_interval_ms=settings.integer(
            "znode.container.checkIntervalMs", 60_000, least=1
        ),
        max_perished_per_minute=settings.integer("znode.container.maxPerMinute", 10_000, least=1),
        container_unused_ms=settings.integer("znode.container.maxNeverUsedIntervalMs", 0, least=0),
        max_frame_bytes=max_frame_bytes,
        four_letter_words=settings.names("4lw.commands.whitelist") or DEFAULT_FOUR_LETTER_WORDS,
        admin=_admin(settings),
        metrics=_metrics(settings),
        session_secret=_session_secret(settings),
        settings=settings.shown(),
        warnings=settings.finish(),
    )


def _tls(settings: "_Settings") -> TlsConfig | None:
    """Return how the secure port is set up, where there is one."""
    address = settings.address("secureClientPortAddress")
    port = settings.integer("secureClientPort", 0, least=0, most=65535)
    key_store = settings.pem("ssl.keyStore")
    trust_store = settings.pem("ssl.trustStore")
    client_auth = settings.choice("ssl.clientAuth", ClientAuth)
    password_path = settings.text("ssl.keyStore.passwordPath", "")
    password = settings.text("ssl.keyStore.password", "")
    if not port:
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
            password = Path(password_path).read_text().strip()
        except OSError as error:
            raise settings.error(
                "ssl.keyStore.passwordPath", f"{password_path} cannot be read: {error.strerror}"
            ) from error
    return TlsConfig(Listener(address, port), key_store, password, trust_store, client_auth)


def _admin(settings: "_Settings") -> AdminConfig | None:
    """Return how the admin endpoint is set up; it is there unless it is switched off."""
    admin = AdminConfig(
        Listener(
            settings.address("admin.serverAddress"),
            settings.integer("admin.serverPort", 8080, least=1, most=65535),
        ),
        "/" + settings.text("admin.commandURL", "/commands").strip("/"),
        settings.integer("admin.idleTimeout", 30_000, least=1),
    )
    return admin if settings.boolean("admin.enableServer", default=True) else None


def _metrics(settings: "_Settings") -> Listener | None:
    """Return where metrics are to be; nowhere unless a provider is named."""
    provider = settings.text("metricsProvider.className", "")
    listener = Listener(
        settings.address("metricsProvider.httpHost"),
        settings.integer("metricsProvider.httpPort", 7000, least=1, most=65535),
    )
    if provider == _PROMETHEUS:
        return listener
    if provider not in _NO_METRICS:
        raise settings.error(
            "metricsProvider.className", f"the metrics provider there is, is {_PROMETHEUS}"
        )
    return None


def _acl_schemes(settings: "_Settings", *, has_tls: bool, digests: DigestRules) -> frozenset[str]:
    """Return the schemes that have a provider, as Apache ZooKeeper's ``ProviderRegistry`` has."""
    has_provider = settings.has_below("authProvider.", _X509_PROVIDER)
    schemes = {"ip": True, "digest": digests.is_enabled, "x509": has_tls or has_provider}
    return frozenset(scheme for scheme, is_known in schemes.items() if is_known)


def _session_secret(settings: "_Settings") -> str:
    """Return the secret of sessions' passwords; empty: there is none."""
    key = "zoolet.sessionSecret"
    secret = settings.text(key, "")
    if secret and len(secret) < _LEAST_SECRET_CHARACTERS:
        raise settings.error(
            key,
            f"the secret is too short: use {_LEAST_SECRET_CHARACTERS} characters or more, for"
            " example the output of: openssl rand -hex 32",
        )
    return secret


def _required_schemes(settings: "_Settings") -> frozenset[str]:
    """Return the schemes of ``enforce.auth.schemes``, if they are enforced."""
    enforced = settings.boolean("enforce.auth.enabled", default=False)
    listed = settings.names("enforce.auth.schemes")
    if not enforced:
        return frozenset()
    if not listed or listed - _SCHEMES:
        raise settings.error(
            "enforce.auth.schemes" if listed else "enforce.auth.enabled",
            "enforce.auth.schemes must list one or more of: " + ", ".join(sorted(_SCHEMES)),
        )
    return listed


class _Settings:
    """The lines of a zoo.cfg, by key; remembers which were asked for."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._members: list[tuple[int, str]] = []
        self._lines: dict[str, tuple[int, str]] = {}
        self._unread: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            stripped = line.strip()
            if not stripped or stripped[0] in "#!":
                continue
            key, equals, value = stripped.partition("=")
            key = key.strip()
            if not equals or not key:
                raise ConfigError(
                    f"{path}:{number}: {stripped!r} is no setting: write key=value, or begin the"
                    " line with # for a comment."
                )
            if _ENSEMBLE_KEY.fullmatch(key):
                self._members.append((number, key))
            self._lines[key] = (number, value.strip())
            self._unread[key] = number
        # The original, too, serves alone where the ensemble would have one member.
        if len(self._members) > 1:
            number, key = self._members[0]
            raise ConfigError(
                f"{path}:{number}: {key} sets up an ensemble, and zoolet serves one machine."
                " Remove the server.N lines to serve alone, or give this file and the dataDir"
                " to Apache ZooKeeper, which opens it as its own."
            )

    def text(self, key: str, default: str) -> str:
        self._unread.pop(key, None)
        return self._lines.get(key, (0, default))[1]

    def boolean(self, key: str, *, default: bool) -> bool:
        """Return whether the value is ``true``; as in the original, anything else is false."""
        return self.text(key, str(default)).lower() == "true"

    def choice(self, key: str, choices: type[C]) -> C:
        """Return the member of an Enum whose value is given; its first one where none is."""
        members = list(choices)
        value = self.text(key, members[0].value)
        for member in members:
            if member.value == value:
                return member
        known = ", ".join(repr(member.value) for member in members if member.value)
        raise self.error(key, f"{key}={value} is none of {known}")

    def has_below(self, prefix: str, wanted: str) -> bool:
        """Say whether a key that begins with ``prefix`` has this value."""
        keys = [
            key
            for key, (_, value) in self._lines.items()
            if key.startswith(prefix) and value == wanted
        ]
        for key in keys:
            self._unread.pop(key, None)
        return bool(keys)

    def names(self, key: str) -> frozenset[str]:
        """Return what a value lists between commas."""
        return frozenset(filter(None, (name.strip() for name in self.text(key, "").split(","))))

    def pem(self, prefix: str) -> Path | None:
        """Return the file of a key store or trust store; raises ConfigError where it is no PEM."""
        key = f"{prefix}.location"
        location = self.text(key, "")
        kind = self.text(f"{prefix}.type", "")
        if not location:
            return None
        if kind.upper() not in {"", "PEM"} or (not kind and not location.endswith(".pem")):
            raise self.error(
                key,
                f"{location} must be a PEM file (named so, or with {prefix}.type=PEM). Convert a"
                f" PKCS12 store with: openssl pkcs12 -in {location} -out store.pem -noenc; a JKS"
                " one with keytool -importkeystore to PKCS12 first",
            )
        return Path(location)

    def hash(self, key: str, default: str) -> str:
        """Return hashlib's name of a hash that may be given by Java's."""
        value = self.text(key, default)
        name = value.lower().replace("sha-", "sha")
        if name not in hashlib.algorithms_available or name.startswith("shake"):
            raise self.error(key, f"{value} is no hash that this Python knows: try SHA-256")
        return name

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Raise ConfigError where a key is set (to more than false) that cannot be passed over."""
        for key, reason in reasons.items():
            if key in self._lines and self._lines[key][1].lower() != "false":
                raise self.error(key, f"{key} cannot be had: {reason}. Remove the line")

    def error(self, key: str, reason: str) -> ConfigError:
        """Return an error that names the line of a key."""
        return ConfigError(f"{self._path}:{self._lines[key][0]}: {reason}.")

    def address(self, key: str) -> str | None:
        """Return an address to listen on; None for every one of this machine's."""
        value = self.text(key, "")
        return None if value in {"", "0.0.0.0", "::"} else value  # noqa: S104 -- what was read

    def shown(self) -> dict[str, str]:
        """Return what was read but for secrets."""
        return {
            key: "(not shown)" if _SECRET.search(key) else value
            for key, (_, value) in self._lines.items()
        }

    def required(self, key: str, meaning: str) -> str:
        value = self.text(key, "")
        if not value:
            raise ConfigError(f"{self._path}: {key} is missing: add {key}=..., {meaning}.")
        return value

    def required_port(self, key: str) -> int:
        self.required(key, "the TCP port for clients, usually 2181")
        return self.integer(key, 0, least=1, most=65535)

    def integer(self, key: str, default: int, *, least: int, most: int = _LARGEST_INT32) -> int:
        value = self.text(key, str(default))
        try:
            number = int(value)
        except ValueError:
            number = None
        if number is None or not least <= number <= most:
            raise self.error(key, f"{key}={value} is not a whole number from {least} to {most}")
        return number

    def finish(self) -> tuple[str, ...]:
        """Return a line for each setting that nothing asked for."""
        return tuple(
            f"{self._path}:{number}: {key} has no effect here and is passed over."
            for key, number in self._unread.items()
        )
