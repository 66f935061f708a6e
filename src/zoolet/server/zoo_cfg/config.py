"""How a server is set up: one frozen value, which ``reading`` makes of a zoo.cfg."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from zoolet.state_machine.access import DigestRules
from zoolet.state_machine.rules import Rules
from zoolet.storage.compression import Compression

PROTOCOLS = ("TLSv1.2", "TLSv1.3")
"""The versions of TLS that are served."""


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
    protocols: tuple[str, ...]
    cipher_suites: tuple[str, ...]


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


class StorageConfig(NamedTuple):
    """How snapshots and logs are written and kept.

    Attributes:
        snap_count: after how many txns a snapshot is taken and a new log begun.
        snap_size_bytes: after how many bytes of txns a snapshot is taken.
        log_size_bytes: from which size on a log is ended; 0 is never.
        compression: of snapshots.
        kept_snapshots: how many snapshots are kept, with the logs behind them.
        purge_interval_h: how often the others are removed; 0 is never.
        sync_warning_ms: a sync that takes longer is warned of.
        preallocate_bytes: in which steps a log grows.
        force_sync: whether a txn is acknowledged only once it is on disk.
    """

    snap_count: int
    snap_size_bytes: int
    log_size_bytes: int
    compression: Compression
    kept_snapshots: int
    purge_interval_h: int
    sync_warning_ms: int
    preallocate_bytes: int
    force_sync: bool


class Config(NamedTuple):
    """How a server is set up; the table in ``used_keys`` has the defaults.

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
        storage: how snapshots and logs are written and kept.
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
    data_log_dir: Path | None
    client_address: str | None
    tls: TlsConfig | None
    x509_super_user: str
    creates_directories: bool
    tick_time_ms: int
    min_session_timeout_ms: int
    max_session_timeout_ms: int
    max_connections_per_address: int
    max_connections: int
    sessionless_timeout_ms: int
    client_read_timeout_ms: int
    listen_backlog: int
    keeps_alive: bool
    storage: StorageConfig
    rules: Rules
    skips_acl: bool
    digests: DigestRules
    required_schemes: frozenset[str]
    container_check_interval_ms: int
    max_removed_per_minute: int
    container_unused_ms: int
    max_frame_bytes: int
    four_letter_words: frozenset[str]
    admin: AdminConfig | None
    metrics: Listener | None
    session_secret: str
    settings: Mapping[str, str]
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        """Show what was read, without secrets."""
        return f"Config({dict(self.settings)})"

    @property
    def text(self) -> str:
        """What was read, as a zoo.cfg."""
        return "".join(f"{key}={value}\n" for key, value in self.settings.items())
