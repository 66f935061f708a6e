"""TLS for clients: the context that the secure port serves under, and who a certificate names.

Loaded only where zoo.cfg has a secureClientPort. Source: the original's ``X509Util``,
``PemReader`` and ``X509AuthenticationProvider``.
"""

import logging
import ssl
from typing import Final

from zoolet.server.config import ClientAuth, TlsConfig
from zoolet.server.distinguished_names import DerError, subject_in
from zoolet.server.errors import ServerError

_VERIFY_MODES: Final = {
    ClientAuth.NEED: ssl.CERT_REQUIRED,
    ClientAuth.WANT: ssl.CERT_OPTIONAL,
    ClientAuth.NONE: ssl.CERT_NONE,
}

log = logging.getLogger(__name__)


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


def subject_of(connection: ssl.SSLObject) -> str:
    """Return whom the certificate names that a client has shown: its id under the scheme x509.

    Empty if there is no certificate, if it was not verified, or if it names nobody.
    """
    certificate = connection.getpeercert(binary_form=True)
    if not certificate or connection.context.verify_mode is ssl.CERT_NONE:
        return ""
    try:
        return subject_in(certificate)
    except DerError as error:
        log.warning("the subject of a client's certificate cannot be read: %s", error)
        return ""
