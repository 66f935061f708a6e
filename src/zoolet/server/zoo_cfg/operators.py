"""The settings of HTTPS and of logins for the admin endpoint and the metrics.

Source of the keys and of the stores: ``JettyAdminServer`` of Apache ZooKeeper, which uses the
stores of the members of an ensemble.
"""

from pathlib import Path
from typing import Final

from zoolet.server.zoo_cfg.config import (
    AdminConfig,
    ClientAuth,
    Listener,
    OperatorsConfig,
    OperatorTls,
)
from zoolet.server.zoo_cfg.listeners import protocols_of
from zoolet.server.zoo_cfg.settings import Settings
from zoolet.server.zoo_cfg.stores import store

_OWN: Final = "zoolet.admin"
_QUORUM: Final = "ssl.quorum"
_ONLY, _BOTH, _METRICS = "admin.forceHttps", "admin.portUnification", "zoolet.metricsHttps"
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def uses_quorum_stores(settings: Settings) -> bool:
    """Return whether HTTPS uses the stores ``ssl.quorum.*``."""
    return _wants_https(settings) is not None and not settings.is_set(f"{_OWN}.keyStore.location")


def operators(
    settings: Settings, admin: AdminConfig | None, metrics: Listener | None
) -> OperatorsConfig:
    """Return the settings; ``admin`` and ``metrics`` are the endpoints. Raises ConfigError."""
    users_file = settings.text("zoolet.admin.usersFile")
    config = OperatorsConfig(
        tls=_tls(settings),
        admin_needs_https=settings.flag(_ONLY),
        admin_offers_https=settings.flag(_ONLY) or settings.flag(_BOTH),
        metrics_needs_https=settings.flag(_METRICS),
        users_file=Path(users_file) if users_file else None,
        failure_delay_ms=settings.number("zoolet.admin.failureDelayMs"),
    )
    if config.users_file is not None:
        if admin is not None and not config.admin_needs_https:
            _warn_of_plain(settings, "the admin endpoint", admin.listener, _ONLY)
        if metrics is not None and not config.metrics_needs_https:
            _warn_of_plain(settings, "the metrics", metrics, _METRICS)
    return config


def _wants_https(settings: Settings) -> str | None:
    """Return the key that enables HTTPS; None if there is none."""
    return next((key for key in (_ONLY, _BOTH, _METRICS) if settings.flag(key)), None)


def _tls(settings: Settings) -> OperatorTls | None:
    wanted = _wants_https(settings)
    key_store = store(settings, f"{_OWN}.keyStore")
    trust_store = store(settings, f"{_OWN}.trustStore")
    needs_certificate = settings.flag("admin.needClientAuth")
    if wanted is None:
        name = f"{_OWN}.keyStore.location"
        if key_store is not None:
            raise settings.error(
                name, f"{name} has no effect without HTTPS: set {_ONLY}=true, or remove the line"
            )
        settings.ignore("admin.needClientAuth", f"{_ONLY} and {_BOTH} are not true")
        return None
    prefix, versions = _OWN, "ssl"
    if key_store is None:
        prefix = versions = _QUORUM
        key_store = store(settings, f"{_QUORUM}.keyStore")
        trust_store = store(settings, f"{_QUORUM}.trustStore")
        if key_store is None:
            raise settings.error(
                wanted,
                f"{wanted}=true needs {_OWN}.keyStore.location (or, as in Apache,"
                " ssl.quorum.keyStore.location), a file with the server's private key and"
                " certificates",
            )
    if needs_certificate and trust_store is None:
        raise settings.error(
            "admin.needClientAuth",
            "clients must present a certificate, but the admin endpoint trusts no CA: set"
            f" {prefix}.trustStore.location",
        )
    auth = ClientAuth.NEED if needs_certificate else ClientAuth.WANT
    return OperatorTls(
        key_store,
        trust_store,
        ClientAuth.NONE if trust_store is None else auth,
        protocols_of(settings, versions),
        settings.names(f"{versions}.ciphersuites"),
    )


def _warn_of_plain(settings: Settings, what: str, at: Listener, key: str) -> None:
    if at.address in _LOOPBACK:
        return
    settings.warn(
        f"{settings.place('zoolet.admin.usersFile')}: passwords for {what} can be read on the"
        f" network: set {key}=true."
    )
