"""TLS for clients: the context that the secure port serves under, and who a certificate names.

Loaded only where zoo.cfg has a secureClientPort. Source: Apache ZooKeeper's ``X509Util``,
``PemReader`` and ``X509AuthenticationProvider``.
"""

import re
import ssl
from typing import Final

from zoolet.model.acl import Id
from zoolet.server.common.errors import ServerError
from zoolet.server.common.log_limiter import LogLimiter
from zoolet.server.network.distinguished_names import DerError, subject_in
from zoolet.server.network.handshakes import ServerContext
from zoolet.server.zoo_cfg.config import ClientAuth, TlsConfig

_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_TLS_13_SUITES: Final = frozenset(
    {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
)
"""What OpenSSL offers by default."""

_VERIFY_MODES: Final = {
    ClientAuth.NEED: ssl.CERT_REQUIRED,
    ClientAuth.WANT: ssl.CERT_OPTIONAL,
    ClientAuth.NONE: ssl.CERT_NONE,
}


def tls_context(config: TlsConfig) -> ssl.SSLContext:
    """Return the context to listen under; raises ServerError where a file cannot be used."""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    _select_versions(context, config)
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


def _select_versions(context: ssl.SSLContext, config: TlsConfig) -> None:
    """Set the versions of TLS and the cipher suites; raises ServerError."""
    suites_13 = set(config.cipher_suites) & _TLS_13_SUITES
    suites_12 = [suite for suite in config.cipher_suites if suite not in _TLS_13_SUITES]
    protocols = list(config.protocols)
    if config.cipher_suites:
        if suites_13 and suites_13 != _TLS_13_SUITES:
            raise ServerError(
                "ssl.ciphersuites: Python cannot select single suites of TLSv1.3. Name all of"
                f" {', '.join(sorted(_TLS_13_SUITES))}, or none of them."
            )
        protocols = [
            protocol
            for protocol, suites in (("TLSv1.2", suites_12), ("TLSv1.3", suites_13))
            if suites and protocol in config.protocols
        ]
    if not protocols:
        raise ServerError(
            f"ssl.ciphersuites has no suite of {' or '.join(config.protocols)}, which"
            " ssl.enabledProtocols allows: add one."
        )
    context.minimum_version = _VERSIONS[protocols[0]]
    context.maximum_version = _VERSIONS[protocols[-1]]
    if suites_12 and "TLSv1.2" in protocols:
        try:
            for suite in suites_12:
                context.set_ciphers(_openssl_name(suite))
            context.set_ciphers(":".join(map(_openssl_name, suites_12)))
        except ssl.SSLError as error:
            raise ServerError(
                f"ssl.ciphersuites: zoolet cannot select {suite}. Remove it, or correct its name;"
                " openssl ciphers -stdname lists the names."
            ) from error


def _openssl_name(suite: str) -> str:
    """Return OpenSSL's name of a cipher suite of TLSv1.2, which is given by the name of the RFCs.

    ``TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`` is ``ECDHE-RSA-AES128-GCM-SHA256``.
    """
    exchange, _, cipher = suite.removeprefix("TLS_").partition("_WITH_")
    if not cipher:
        return suite
    cipher = (
        re.sub(r"(AES|CAMELLIA)_(128|256)", r"\1\2", cipher)
        .replace("_CBC", "")
        .replace("CCM_8", "CCM8")
    )
    if cipher.startswith("CHACHA20"):
        cipher = "CHACHA20_POLY1305"
    name = cipher if exchange == "RSA" else f"{exchange}-{cipher}"
    return name.replace("_", "-")


def proven_by(connection: ssl.SSLObject, super_user: str, limited: LogLimiter) -> tuple[Id, ...]:
    """Return what a client has proven by its certificate; ``super_user`` is a subject."""
    subject = _subject_of(connection, limited)
    if not subject:
        return ()
    x509 = Id("x509", subject)
    return (Id("super", subject), x509) if subject == super_user else (x509,)


def _subject_of(connection: ssl.SSLObject, limited: LogLimiter) -> str:
    """Return whom the certificate names that a client has shown: its id under the scheme x509.

    Empty if there is no certificate, if it was not verified, or if it names nobody.
    """
    certificate = connection.getpeercert(binary_form=True)
    if not certificate or connection.context.verify_mode is ssl.CERT_NONE:
        return ""
    try:
        return subject_in(certificate)
    except DerError as error:
        limited.warning("the subject of a client's certificate cannot be read: %s", error)
        return ""
