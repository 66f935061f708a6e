"""The listeners of a zoo.cfg: for clients, for TLS clients, for the admin endpoint, for metrics."""

from pathlib import Path

from zoolet.model.addresses import EVERY_ADDRESS
from zoolet.server.zoo_cfg.config import (
    NO_CLIENTS,
    PROTOCOLS,
    AdminConfig,
    ClientAuth,
    Listener,
    TlsConfig,
)
from zoolet.server.zoo_cfg.members import is_observer, only_member, own_member
from zoolet.server.zoo_cfg.settings import Settings
from zoolet.server.zoo_cfg.stores import store

_LONGEST_IDLE_MS = 86_400_000
_PROMETHEUS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
_NO_METRICS = frozenset(
    {
        "",
        "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
        "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    }
)


def clients(settings: Settings) -> Listener:
    """Return the listener for clients: clientPort, or the client port of the only server.N line.

    With ``secureClientPort`` alone, the port is NO_CLIENTS.
    """
    port_is_set = settings.is_set("clientPort")
    port = settings.number("clientPort")
    address = settings.address("clientPortAddress")
    member = own_member(settings) if is_observer(settings) else only_member(settings)
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
        if settings.is_set("secureClientPort"):
            return Listener(None, NO_CLIENTS)
        raise settings.missing("clientPort", "the TCP port for clients, usually 2181")
    host = None if member.client_host in {None, *EVERY_ADDRESS} else member.client_host
    return Listener(host, member.client_port)


def tls(settings: Settings) -> TlsConfig | None:
    """Return the settings of TLS for clients.

    None if neither ``secureClientPort`` nor ``client.portUnification`` is set.
    """
    secure = _secure_listener(settings)
    unifies_ports = settings.flag("client.portUnification")
    key_store = store(settings, "ssl.keyStore")
    trust_store = store(settings, "ssl.trustStore")
    client_auth = settings.choice("ssl.clientAuth", ClientAuth)
    protocols = protocols_of(settings, "ssl")
    cipher_suites = settings.names("ssl.ciphersuites")
    crl = _crl(settings)
    if unifies_ports and clients(settings).port == NO_CLIENTS:
        settings.warn(
            f"{settings.place('client.portUnification')}: client.portUnification is ignored: there"
            " is no clientPort."
        )
        unifies_ports = False
    if secure is None and not unifies_ports:
        return None
    key = "client.portUnification" if secure is None else "secureClientPort"
    if key_store is None:
        raise settings.error(
            key,
            f"{key} needs ssl.keyStore.location, a file with the server's private key and"
            " certificates",
        )
    if trust_store is None and client_auth is not ClientAuth.NONE:
        raise settings.error(
            key,
            "clients must present a certificate, but the server trusts no CA: set"
            " ssl.trustStore.location, or ssl.clientAuth=none",
        )
    return TlsConfig(
        secure,
        unifies_ports,
        key_store,
        trust_store,
        crl,
        client_auth,
        protocols,
        cipher_suites,
    )


def _secure_listener(settings: Settings) -> Listener | None:
    """Return the address of the secure port; None if secureClientPort is not set."""
    address = settings.address("secureClientPortAddress")
    port = settings.number("secureClientPort")
    if settings.is_set("secureClientPort"):
        return Listener(address, port)
    if settings.is_set("secureClientPortAddress"):
        raise settings.error(
            "secureClientPortAddress", "secureClientPortAddress needs secureClientPort: add it"
        )
    return None


def _crl(settings: Settings) -> Path | None:
    """Return the file with revocation lists; None unless ``ssl.crl=true``."""
    is_on, path = settings.flag("ssl.crl"), settings.text("zoolet.crlFile")
    if is_on and not path:
        raise settings.error(
            "ssl.crl",
            "ssl.crl=true needs zoolet.crlFile, a PEM file with the revocation lists of all CAs in"
            " ssl.trustStore.location: zoolet does not download such lists",
        )
    return Path(path) if is_on else None


def protocols_of(settings: Settings, prefix: str) -> tuple[str, ...]:
    """Return the enabled TLS versions; ``prefix`` is ``ssl`` or ``ssl.quorum``."""
    one, several = f"{prefix}.protocol", f"{prefix}.enabledProtocols"
    single = settings.text(one)
    listed = settings.names(several)
    key = several if settings.is_set(several) else one
    protocols = (single,) if single and key == one else listed
    if not protocols or set(protocols) - set(PROTOCOLS):
        raise settings.error(
            key,
            f"{key}={settings.text(key)} is not supported: zoolet has TLSv1.2 and TLSv1.3",
        )
    return tuple(sorted(protocols))


def admin(settings: Settings) -> AdminConfig | None:
    """Return the settings of the admin endpoint; None if ``admin.enableServer=false``."""
    idle_timeout_ms = settings.number("admin.idleTimeout")
    admin = AdminConfig(
        Listener(
            settings.address("admin.serverAddress"),
            settings.number("admin.serverPort"),
        ),
        "/" + settings.text("admin.commandURL").strip("/"),
        idle_timeout_ms if idle_timeout_ms > 0 else _LONGEST_IDLE_MS,
        settings.number("admin.rateLimiterIntervalInMS"),
        settings.flag("admin.snapshot.enabled"),
        settings.flag("admin.restore.enabled"),
    )
    return None if settings.text("admin.enableServer") == "false" else admin


def metrics(settings: Settings) -> Listener | None:
    """Return the listener for metrics; None unless the Prometheus provider is named."""
    provider = settings.text("metricsProvider.className")
    listener = Listener(
        settings.address("metricsProvider.httpHost"),
        settings.number("metricsProvider.httpPort"),
    )
    if provider == _PROMETHEUS:
        return listener
    if provider not in _NO_METRICS:
        raise settings.error(
            "metricsProvider.className", f"zoolet supports only the metrics provider {_PROMETHEUS}"
        )
    return None
