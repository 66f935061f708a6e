"""Reading zoo.cfg, once, into a ``Config``.

``keys`` has the table of all keys, ``settings`` reads single values, ``properties`` the file's
format, ``members`` the servers that it names, ``listeners`` and ``access_rules`` what several keys
say together. Source of the keys: the administrator's guide of ZooKeeper 3.9, "Configuration
Parameters".
"""

from collections.abc import Mapping
from pathlib import Path

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
from zoolet.model.limits import DEFAULT_MAX_FRAME_BYTES, max_txn_bytes_of
from zoolet.server.runtime.errors import ConfigError
from zoolet.server.zoo_cfg import access_rules, listeners
from zoolet.server.zoo_cfg.config import (
    DEFAULT_CLIENT_READ_TIMEOUT_MS,
    DEFAULT_FOUR_LETTER_WORDS,
    DEFAULT_LISTEN_BACKLOG,
    DEFAULT_SESSIONLESS_TIMEOUT_MS,
    DEFAULT_TICK_TIME_MS,
    Config,
)
from zoolet.server.zoo_cfg.settings import Settings, read_settings_text
from zoolet.storage.compression import Compression
from zoolet.storage.retention import LEAST_SNAPSHOTS
from zoolet.storage.txn_log import DEFAULT_PREALLOCATE_BYTES

_NEVER_BYTES = 1 << 62


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
    listener = listeners.clients(settings)
    access_rules.check_auth_providers(settings)
    max_frame_bytes = settings.integer("jute.maxbuffer", DEFAULT_MAX_FRAME_BYTES, least=1024)
    tls = listeners.tls(settings)
    digests = access_rules.digest_rules(settings)
    data_dir = settings.directory("dataDir")
    if data_dir is None:
        raise settings.missing("dataDir", "the directory for snapshots and logs")
    config = Config(
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
        rules=_rules(
            settings,
            max_frame_bytes,
            access_rules.acl_schemes(settings, has_tls=tls is not None, digests=digests),
        ),
        skips_acl=settings.text("skipACL", "no") == "yes",
        digests=digests,
        required_schemes=access_rules.required_schemes(settings),
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
        admin=listeners.admin(settings),
        metrics=listeners.metrics(settings),
        session_secret=access_rules.session_secret(settings),
    )
    config = _with_storage(config, settings)
    # Last: every setting has been asked for then.
    return config._replace(settings=settings.shown(), warnings=settings.warnings())


def _with_storage(config: Config, settings: Settings) -> Config:
    """Return the configuration with what snapshots and logs need."""
    return config._replace(
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
    )


def _times(settings: Settings) -> tuple[int, int, int]:
    """Return the minimum session timeout, tickTime and the maximum session timeout, in ms."""
    tick_time_ms = settings.integer("tickTime", DEFAULT_TICK_TIME_MS, least=1)
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
