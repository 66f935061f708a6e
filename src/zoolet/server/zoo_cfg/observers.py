"""The settings of an observer: the ensemble, time limits, TLS and login between members."""

from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.config import ObserverConfig, QuorumLogin, QuorumTls
from zoolet.server.zoo_cfg.listeners import protocols_of
from zoolet.server.zoo_cfg.members import is_observer, members_of, read_my_id
from zoolet.server.zoo_cfg.operators import uses_quorum_stores
from zoolet.server.zoo_cfg.settings import Settings
from zoolet.server.zoo_cfg.stores import store

_NOT_A_MEMBER = "zoolet is not a member of an ensemble"
_OF_MEMBERS = ("ssl.quorum.crl", "ssl.quorum.hostnameVerification", "ssl.quorum.ocsp")
_KEYS = (
    "initLimit",
    "syncLimit",
    "sslQuorum",
    "ssl.quorum.ciphersuites",
    "ssl.quorum.crl",
    "ssl.quorum.enabledProtocols",
    "ssl.quorum.hostnameVerification",
    "ssl.quorum.keyStore.location",
    "ssl.quorum.keyStore.password",
    "ssl.quorum.keyStore.passwordPath",
    "ssl.quorum.keyStore.type",
    "ssl.quorum.ocsp",
    "ssl.quorum.protocol",
    "ssl.quorum.trustStore.location",
    "ssl.quorum.trustStore.password",
    "ssl.quorum.trustStore.passwordPath",
    "ssl.quorum.trustStore.type",
    "quorum.auth.enableSasl",
    "quorum.auth.learnerRequireSasl",
    "readonlymode.enabled",
    "zoolet.quorumPassword",
    "zoolet.quorumUsername",
)
"""The keys that only an observer reads."""

_OF_STORES = frozenset(
    name for name in _KEYS if name.startswith("ssl.quorum.") and name not in _OF_MEMBERS
)
"""The keys of the stores, which HTTPS for operators can use too."""


def observer(settings: Settings, tick_time_ms: int) -> ObserverConfig | None:
    """Return the settings of an observer; None if the server is standalone."""
    if not is_observer(settings):
        if not settings.flag("standaloneEnabled"):
            value = settings.text("standaloneEnabled")
            raise settings.error(
                "standaloneEnabled",
                f"standaloneEnabled={value} is not supported: with `false`, Apache starts an"
                " ensemble of one server; zoolet always starts standalone. Remove the line",
            )
        by_admin = _OF_STORES if uses_quorum_stores(settings) else frozenset[str]()
        for name in _KEYS:
            if name not in by_admin:
                settings.ignore(name, _NOT_A_MEMBER)
        return None
    settings.flag("standaloneEnabled")
    members = members_of(settings)
    my_id = read_my_id(settings)
    if my_id in members and members[my_id].is_participant:
        raise ConfigError(
            f"{settings.path}: the file myid has {my_id}, and server.{my_id} is a participant. An"
            " observer must never stand in for a member that votes. Write another number into"
            f" myid, or add :observer to server.{my_id} if it is this server."
        )
    if settings.is_set("zoolet.sessionSecret"):
        raise settings.error(
            "zoolet.sessionSecret",
            "an observer cannot have zoolet.sessionSecret: clients move between it and the members"
            " of the ensemble, so all must compute the same session passwords. Remove the line",
        )
    return ObserverConfig(
        my_id,
        members,
        _ticks(settings, "initLimit", "10") * tick_time_ms,
        _ticks(settings, "syncLimit", "5") * tick_time_ms,
        _tls(settings),
        _login(settings),
        settings.flag("readonlymode.enabled"),
    )


def _ticks(settings: Settings, name: str, usual: str) -> int:
    if not settings.is_set(name):
        raise settings.missing(name, f"the number of ticks, the same as in the ensemble ({usual})")
    return settings.number(name)


def _tls(settings: Settings) -> QuorumTls | None:
    """Return the settings of TLS between members; None unless ``sslQuorum=true``."""
    is_on = settings.flag("sslQuorum")
    for check in ("crl", "ocsp"):
        if settings.flag(f"ssl.quorum.{check}"):
            raise settings.error(
                f"ssl.quorum.{check}",
                f"ssl.quorum.{check}=true is not supported: zoolet does not check whether a"
                " certificate was revoked. Remove the line",
            )
    key_store = store(settings, "ssl.quorum.keyStore")
    trust_store = store(settings, "ssl.quorum.trustStore")
    protocols = protocols_of(settings, "ssl.quorum")
    cipher_suites = settings.names("ssl.quorum.ciphersuites")
    verifies_host = settings.flag("ssl.quorum.hostnameVerification")
    if not is_on:
        return None
    if key_store is None or trust_store is None:
        raise settings.error(
            "sslQuorum",
            "sslQuorum=true needs ssl.quorum.keyStore.location, a file with this server's private"
            " key and certificates, and ssl.quorum.trustStore.location, a file with the"
            " certificates of the CAs that sign the members' certificates",
        )
    return QuorumTls(key_store, trust_store, verifies_host, protocols, cipher_suites)


def _login(settings: Settings) -> QuorumLogin | None:
    """Return the login at the leader; None if members do not use SASL."""
    is_on = settings.flag("quorum.auth.enableSasl")
    is_required = settings.flag("quorum.auth.learnerRequireSasl")
    username, password = (
        settings.text(f"zoolet.quorum{part}") for part in ("Username", "Password")
    )
    if not is_required:
        return None
    if not is_on:
        raise settings.error(
            "quorum.auth.learnerRequireSasl",
            "quorum.auth.learnerRequireSasl=true needs quorum.auth.enableSasl=true: add it",
        )
    if not (username and password):
        raise settings.error(
            "quorum.auth.learnerRequireSasl",
            "zoolet logs in with DIGEST-MD5 and does not read JAAS files: set"
            " zoolet.quorumUsername and zoolet.quorumPassword to the name and the password in the"
            " section QuorumLearner of the ensemble's JAAS file. Kerberos is not supported",
        )
    return QuorumLogin(username, password)
