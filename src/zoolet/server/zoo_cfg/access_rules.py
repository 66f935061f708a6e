"""The access settings of zoo.cfg: authentication schemes, providers, SASL, the session secret."""

import re
import warnings
from pathlib import Path
from typing import Final

from zoolet.server.zoo_cfg.config import AlternativeNameRule, SaslConfig, X509Config
from zoolet.server.zoo_cfg.kerberos_rules import kerberos
from zoolet.server.zoo_cfg.sasl_users import UsersError, UserSources
from zoolet.server.zoo_cfg.settings import Settings
from zoolet.state_machine.access import DigestRules

_SCHEMES = frozenset({"digest", "ip", "sasl", "x509"})
_AUTH_PROVIDERS = frozenset(
    f"org.apache.zookeeper.server.auth.{name}AuthenticationProvider"
    for name in ("Digest", "IP", "SASL", "X509")
)
"""Apache ZooKeeper's classes for the schemes that zoolet supports."""
_LEAST_SECRET_CHARACTERS = 16
_X509_PROVIDER = "org.apache.zookeeper.server.auth.X509AuthenticationProvider"
_SASL_PROVIDER = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
_USER_KEYS = "zoolet.saslPassword."
_X509_KEYS: Final = "X509AuthenticationProvider."
_NAME_TYPES: Final = {1, 2, 4, 6, 7, 8}
"""The types of alternative names that have a text in Java."""


def digest_rules(settings: Settings) -> DigestRules:
    """Return the settings of the scheme digest."""
    return DigestRules(
        algorithm=settings.hash("DigestAuthenticationProvider.digestAlg"),
        super_digest=settings.text("DigestAuthenticationProvider.superDigest"),
        is_enabled=settings.flag("DigestAuthenticationProvider.enabled"),
    )


def check_auth_providers(settings: Settings) -> None:
    """Raise ConfigError if an ``authProvider`` key names a class that zoolet does not support."""
    for key, class_name in settings.matching("authProvider.*"):
        if class_name not in _AUTH_PROVIDERS:
            raise settings.error(
                key,
                f"{key}={class_name} is not supported: zoolet has the schemes digest, ip, sasl and"
                " x509,"
                " and cannot run Java classes. Remove the line",
            )


def acl_schemes(settings: Settings, *, has_tls: bool, digests: DigestRules) -> frozenset[str]:
    """Return the schemes that have a provider, by the rules of Apache's ``ProviderRegistry``."""
    classes = {class_name for _, class_name in settings.matching("authProvider.*")}
    schemes = {
        "ip": True,
        "digest": digests.is_enabled,
        "sasl": _SASL_PROVIDER in classes,
        "x509": has_tls or _X509_PROVIDER in classes,
    }
    return frozenset(scheme for scheme, is_known in schemes.items() if is_known)


def x509(settings: Settings) -> X509Config:
    """Return the settings of the scheme x509. Raises ConfigError for an invalid rule."""
    super_user = settings.text(f"{_X509_KEYS}superUser")
    kind = settings.number(f"{_X509_KEYS}clientCertIdSanMatchType")
    match, extract = (
        _expression(settings, f"{_X509_KEYS}clientCertIdSan{part}Regex")
        for part in ("Match", "Extract")
    )
    group = settings.number(f"{_X509_KEYS}clientCertIdSanExtractMatcherGroupIndex")
    if settings.text(f"{_X509_KEYS}clientCertIdType").upper() != "SAN":
        return X509Config(super_user, None)
    if kind not in _NAME_TYPES:
        key = f"{_X509_KEYS}clientCertIdSanMatchType"
        raise settings.error(
            key,
            f"{key} must be the number of a type of names: 1 (e-mail address), 2 (DNS name),"
            " 4 (directory name), 6 (URI), 7 (IP address) or 8 (registered id)",
        )
    if group > extract.groups:
        key = f"{_X509_KEYS}clientCertIdSanExtractMatcherGroupIndex"
        raise settings.error(
            key, f"{key}={group}, but clientCertIdSanExtractRegex has {extract.groups} groups"
        )
    return X509Config(super_user, AlternativeNameRule(kind, match, extract, group))


def _expression(settings: Settings, name: str) -> re.Pattern[str]:
    r"""Return a regular expression; as in Java, ``\d``, ``\w`` and ``\s`` mean ASCII only."""
    text = settings.text(name)
    try:
        with warnings.catch_warnings():
            # Java reads "[a&&b]" and "[[a]b]" in another way than Python, which warns of them.
            warnings.simplefilter("error", FutureWarning)
            return re.compile(text, re.ASCII)
    except (re.error, FutureWarning) as error:
        raise settings.error(
            name, f"{text} is not a regular expression of Python: {error}"
        ) from error


def session_secret(settings: Settings) -> str:
    """Return the secret from which session passwords are derived; "" if none is set."""
    key = "zoolet.sessionSecret"
    secret = settings.text(key)
    if secret and len(secret) < _LEAST_SECRET_CHARACTERS:
        raise settings.error(
            key,
            f"the secret is too short: use {_LEAST_SECRET_CHARACTERS} characters or more, for"
            " example the output of: openssl rand -hex 32",
        )
    return secret


def required_schemes(settings: Settings, known: frozenset[str]) -> frozenset[str]:
    """Return the schemes of which a client must use one before it sends other requests.

    They are those of ``enforce.auth.schemes``, or sasl with ``sessionRequireClientSASLAuth``; empty
    if clients need not log in. ``known`` are the schemes that have a provider.
    """
    enforced = settings.flag("enforce.auth.enabled")
    listed = frozenset(settings.names("enforce.auth.schemes"))
    if settings.flag("sessionRequireClientSASLAuth"):
        _check_sasl_provider(settings, "sessionRequireClientSASLAuth", known)
        return frozenset({"sasl"})
    if not enforced:
        return frozenset()
    if not listed or listed - _SCHEMES:
        raise settings.error(
            "enforce.auth.schemes" if listed else "enforce.auth.enabled",
            "enforce.auth.schemes must list one or more of: " + ", ".join(sorted(_SCHEMES)),
        )
    if "sasl" in listed:
        _check_sasl_provider(settings, "enforce.auth.schemes", known)
    return listed


def _check_sasl_provider(settings: Settings, name: str, known: frozenset[str]) -> None:
    if "sasl" not in known:
        raise settings.error(
            name, f"{name} needs the scheme sasl: add authProvider.1={_SASL_PROVIDER}"
        )


def sasl(settings: Settings, known: frozenset[str], required: frozenset[str]) -> SaslConfig | None:
    """Return the settings of SASL; None if there are no users and no keytab.

    ``known`` are the schemes that have a provider, and ``required`` those of which a client must
    use one. Raises ConfigError if the users cannot be read.
    """
    sources = _user_sources(settings)
    config = SaslConfig(
        kerberos=kerberos(settings, sources),
        users=sources,
        super_users=frozenset(
            [value for _, value in settings.matching("superUser.*")]
            + [settings.text("superUser")] * settings.is_set("superUser")
        )
        - {""},
        any_user=settings.text("letAnySaslUserDoX"),
        is_required="sasl" in required,
        keeps_failed_clients=settings.flag("allowSaslFailedClients") and "sasl" not in required,
        failure_delay_ms=settings.number("zoolet.saslFailureDelayMs"),
        name_rules=settings.text("security.auth_to_local"),
        removes_host=settings.flag("kerberos.removeHostFromPrincipal"),
        removes_realm=settings.flag("kerberos.removeRealmFromPrincipal"),
    )
    try:
        users = sources.read()
    except UsersError as error:
        raise settings.error("java.security.auth.login.config", str(error)) from None
    if users or config.kerberos is not None:
        if "sasl" not in known:
            settings.warn(
                f"{settings.path}: clients can log in with SASL, but ACLs with the scheme sasl are"
                f" refused: add authProvider.1={_SASL_PROVIDER}."
            )
        return config
    if sources.files:
        raise settings.error(
            "zoolet.saslUsersFile", f"{', '.join(map(str, sources.files))}: no users are in it"
        )
    if required == {"sasl"}:
        raise settings.error(
            "sessionRequireClientSASLAuth",
            "clients must authenticate with SASL, but there are no users: set zoolet.saslUsersFile"
            " to a file with a line name:password for each user, or zoolet.kerberosKeytab",
        )
    return None


def _user_sources(settings: Settings) -> UserSources:
    jaas = settings.text("java.security.auth.login.config")
    file = settings.text("zoolet.saslUsersFile")
    return UserSources(
        {
            key.removeprefix(_USER_KEYS): value
            for key, value in settings.matching("zoolet.saslPassword.*")
        },
        Path(file) if file else None,
        Path(jaas) if jaas else None,
        settings.text("sasl.serverconfig"),
        settings.text("SASLAuthenticationProvider.superPassword"),
    )
