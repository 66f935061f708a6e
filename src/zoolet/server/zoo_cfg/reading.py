"""Functions that read a zoo.cfg and return a ``Config``.

``keys`` has the table of all keys. ``properties`` parses the file's format, ``settings`` reads
single values, and ``members`` the servers that the file names. ``listeners``, ``access_rules`` and
``observers`` combine several keys. Source of the keys: the administrator's guide of ZooKeeper 3.9,
"Configuration Parameters".
"""

from collections.abc import Mapping
from pathlib import Path

from zoolet.model.limits import max_txn_bytes_of
from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg import access_rules, auditing, listeners, observers, operators
from zoolet.server.zoo_cfg.config import AdminConfig, Config, StorageConfig, X509Config
from zoolet.server.zoo_cfg.settings import Settings, read_settings_text
from zoolet.state_machine.rules import Rules
from zoolet.storage.compression import Compression

_NEVER_BYTES = 1 << 62


def read_config(
    path: Path,
    overrides: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Return the configuration in a zoo.cfg file. Raises ConfigError.

    ``overrides`` are Java's system properties by name, from ``-Dname=value`` in JVMFLAGS. As in
    Apache ZooKeeper, a key in zoo.cfg replaces the property ``zookeeper.KEY``. The properties
    ``jute.maxbuffer`` and ``znode.container.*`` replace the keys in zoo.cfg, because Apache does
    not read these keys there. ``environment`` are the environment variables, for a server that
    starts: only with them, secrets are read that zoo.cfg refers to.
    """
    return parse_config(read_settings_text(path), path, overrides, environment)


def parse_config(
    text: str,
    path: Path,
    overrides: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Return the configuration in the text of a zoo.cfg. Raises ConfigError with ``path``."""
    return config_of(Settings(path, text, overrides, environment))


def config_of(settings: Settings) -> Config:
    """Return the configuration of these settings. Raises ConfigError."""
    minimum_ms, tick_time_ms, maximum_ms = _times(settings)
    listener = listeners.clients(settings)
    access_rules.check_auth_providers(settings)
    max_frame_bytes = settings.number("jute.maxbuffer")
    tls = listeners.tls(settings)
    digests = access_rules.digest_rules(settings)
    schemes = access_rules.acl_schemes(settings, has_tls=tls is not None, digests=digests)
    required = access_rules.required_schemes(settings, schemes)
    x509 = access_rules.x509(settings)
    data_dir = settings.directory("dataDir")
    if data_dir is None:
        raise settings.missing("dataDir", "the directory for snapshots and logs")
    observer = observers.observer(settings, tick_time_ms)
    admin = _admin(settings, is_observer=observer is not None)
    metrics = listeners.metrics(settings)
    config = Config(
        data_dir=data_dir,
        data_log_dir=settings.directory("dataLogDir"),
        creates_directories=settings.flag("datadir.autocreate"),
        client_port=listener.port,
        client_address=listener.address,
        tls=tls,
        x509=x509,
        tick_time_ms=tick_time_ms,
        min_session_timeout_ms=minimum_ms,
        max_session_timeout_ms=maximum_ms,
        max_connections_per_address=settings.number("maxClientCnxns"),
        max_connections=settings.number("maxCnxns"),
        sessionless_timeout_ms=settings.number("nio.sessionlessCnxnTimeout"),
        client_read_timeout_ms=settings.number("zoolet.clientReadTimeoutMs"),
        listen_backlog=settings.number("clientPortListenBacklog"),
        keeps_alive=settings.flag("clientTcpKeepAlive"),
        storage=_storage(settings),
        rules=_rules(settings, max_frame_bytes, schemes, x509),
        skips_acl=settings.text("skipACL") == "yes",
        digests=digests,
        sasl=access_rules.sasl(settings, schemes, required),
        required_schemes=required,
        container_check_interval_ms=settings.number("znode.container.checkIntervalMs"),
        max_removed_per_minute=settings.number("znode.container.maxPerMinute"),
        container_unused_ms=settings.number("znode.container.maxNeverUsedIntervalMs"),
        max_frame_bytes=max_frame_bytes,
        four_letter_words=frozenset(settings.names("4lw.commands.whitelist")),
        admin=admin,
        metrics=metrics,
        operators=operators.operators(settings, admin, metrics),
        audit=auditing.audit(settings, data_dir),
        session_secret=access_rules.session_secret(settings),
        observer=observer,
        settings={},
        warnings=(),
    )
    # The warnings are complete only after every setting has been read.
    return config._replace(settings=settings.shown(), warnings=settings.warnings())


def _admin(settings: Settings, *, is_observer: bool) -> AdminConfig | None:
    """Return the settings of the admin endpoint; an observer's data cannot be restored."""
    admin = listeners.admin(settings)
    return admin._replace(offers_restore=False) if admin is not None and is_observer else admin


def _storage(settings: Settings) -> StorageConfig:
    """Return the settings for snapshots and logs."""
    return StorageConfig(
        snap_count=settings.number("snapCount"),
        snap_size_bytes=_snap_size_bytes(settings),
        log_size_bytes=max(0, 1024 * settings.number("txnLogSizeLimitInKb")),
        compression=settings.choice("snapshot.compression.method", Compression, is_strict=False),
        kept_snapshots=settings.number("autopurge.snapRetainCount"),
        purge_interval_h=settings.number("autopurge.purgeInterval"),
        sync_warning_ms=settings.number("fsync.warningthresholdms"),
        preallocate_bytes=1024 * settings.number("preAllocSize"),
        force_sync=settings.text("forceSync") != "no",
    )


def _times(settings: Settings) -> tuple[int, int, int]:
    """Return the minimum session timeout, tickTime and the maximum session timeout, in ms."""
    tick_time_ms = settings.number("tickTime")
    minimum_ms = settings.number("minSessionTimeout")
    maximum_ms = settings.number("maxSessionTimeout")
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
    size_kib = settings.number("snapSizeLimitInKb")
    return 1024 * size_kib if size_kib > 0 else _NEVER_BYTES


def _rules(
    settings: Settings, max_frame_bytes: int, schemes: frozenset[str], x509: X509Config
) -> Rules:
    """Return the limits of the state machine."""
    return Rules(
        allows_ttl=settings.flag("extendedTypesEnabled"),
        enforces_quota=settings.flag("enforceQuota"),
        most_ephemerals=settings.number("zoolet.maxEphemeralsPerSession"),
        most_watches=settings.number("zoolet.maxWatchesPerConnection"),
        most_read_parts=settings.number("multiRead.maxOps"),
        most_read_bytes=settings.number("multiRead.maxResponseBytes"),
        most_path_length=settings.number("zoolet.maxPathLength"),
        max_txn_bytes=max_txn_bytes_of(max_frame_bytes),
        most_acl_entries=settings.number("zoolet.maxEntriesPerAcl"),
        most_identities=settings.number("zoolet.maxIdentitiesPerConnection"),
        schemes=schemes,
        has_x509_subjects=x509.alternative_name is None,
    )
