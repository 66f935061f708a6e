"""TLS for clients: the context that the secure port serves under, and who a certificate names.

Loaded only where zoo.cfg has a secureClientPort. Source: the original's ``X509Util``,
``PemReader`` and ``X509AuthenticationProvider``.
"""

import ssl
from collections.abc import Iterable
from typing import Final

from zoolet.server.config import ClientAuth, TlsConfig
from zoolet.server.errors import ServerError

_VERIFY_MODES: Final = {
    ClientAuth.NEED: ssl.CERT_REQUIRED,
    ClientAuth.WANT: ssl.CERT_OPTIONAL,
    ClientAuth.NONE: ssl.CERT_NONE,
}

_SHORT_NAMES: Final = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
"""RFC 2253, section 2.3."""

_ESCAPED: Final = frozenset(',+"\\<>;')


def tls_context(config: TlsConfig) -> ssl.SSLContext:
    """Return the context to listen under; raises ServerError where a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = _VERIFY_MODES[config.client_auth]
    try:
        context.load_cert_chain(config.key_store, password=lambda: config.key_store_password)
    except (OSError, ssl.SSLError) as error:
        raise ServerError(
            f"ssl.keyStore.location: {config.key_store} cannot be used: {error}. It must be a PEM"
            " file with the server's private key and its certificates, and ssl.keyStore.password"
            " its password, where it has one."
        ) from error
    if config.trust_store is not None:
        try:
            context.load_verify_locations(cafile=config.trust_store)
        except (OSError, ssl.SSLError) as error:
            raise ServerError(
                f"ssl.trustStore.location: {config.trust_store} cannot be used: {error}. It must be"
                " a PEM file with the certificates of those who sign clients' certificates."
            ) from error
    return context


def subject_of(certificate: object) -> str:
    """Return whom a peer's certificate (``SSLSocket.getpeercert``) names, as RFC 2253 writes it.

    Empty where there is no certificate. It is the id under the scheme x509, the same as the
    original's (Java's ``X500Principal.getName``), so that ACLs hold on both.
    """
    subject = certificate.get("subject", ()) if isinstance(certificate, dict) else ()
    return ",".join(
        "+".join(_name_and_value(part) for part in parts) for parts in reversed(subject)
    )


def _name_and_value(part: Iterable[str]) -> str:
    name, value = part
    escaped = "".join(f"\\{letter}" if letter in _ESCAPED else letter for letter in value)
    if escaped[:1] in {" ", "#"}:
        escaped = "\\" + escaped
    if len(escaped) > 1 and escaped.endswith(" "):
        escaped = escaped[:-1] + "\\ "
    return f"{_SHORT_NAMES.get(name, name)}={escaped}"
