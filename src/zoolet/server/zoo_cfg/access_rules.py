"""The access settings of zoo.cfg: authentication schemes, providers and the session secret."""

from zoolet.server.zoo_cfg.settings import Settings
from zoolet.state_machine.access import DigestRules

_SCHEMES = frozenset({"digest", "ip", "x509"})
_AUTH_PROVIDERS = frozenset(
    f"org.apache.zookeeper.server.auth.{name}AuthenticationProvider"
    for name in ("Digest", "IP", "X509")
)
"""Apache ZooKeeper's classes for the schemes that zoolet supports."""
_LEAST_SECRET_CHARACTERS = 16
_X509_PROVIDER = "org.apache.zookeeper.server.auth.X509AuthenticationProvider"


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
                f"{key}={class_name} is not supported: zoolet has the schemes digest, ip and x509,"
                " and cannot run Java classes. Remove the line",
            )


def acl_schemes(settings: Settings, *, has_tls: bool, digests: DigestRules) -> frozenset[str]:
    """Return the schemes that have a provider, by the rules of Apache's ``ProviderRegistry``."""
    has_provider = any(
        class_name == _X509_PROVIDER for _, class_name in settings.matching("authProvider.*")
    )
    schemes = {"ip": True, "digest": digests.is_enabled, "x509": has_tls or has_provider}
    return frozenset(scheme for scheme, is_known in schemes.items() if is_known)


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


def required_schemes(settings: Settings) -> frozenset[str]:
    """Return the schemes of ``enforce.auth.schemes``; empty if ``enforce.auth.enabled`` is off."""
    enforced = settings.flag("enforce.auth.enabled")
    listed = frozenset(settings.names("enforce.auth.schemes"))
    if not enforced:
        return frozenset()
    if not listed or listed - _SCHEMES:
        raise settings.error(
            "enforce.auth.schemes" if listed else "enforce.auth.enabled",
            "enforce.auth.schemes must list one or more of: " + ", ".join(sorted(_SCHEMES)),
        )
    return listed
