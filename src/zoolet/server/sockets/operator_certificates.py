"""TLS for operators: the context of the admin endpoint and the metrics, and who a client is.

The server imports this module only if zoo.cfg enables HTTPS.
"""

import ssl
from typing import Final

from zoolet.server.common.reloaded import Reloaded
from zoolet.server.sockets.der import DerError
from zoolet.server.sockets.distinguished_names import subject_in
from zoolet.server.sockets.handshakes import ServerContext
from zoolet.server.sockets.stores import load_key, load_trusted
from zoolet.server.sockets.tls import select_versions
from zoolet.server.zoo_cfg.config import ClientAuth, OperatorTls

_VERIFY_MODES: Final = {
    ClientAuth.NEED: ssl.CERT_REQUIRED,
    ClientAuth.WANT: ssl.CERT_OPTIONAL,
    ClientAuth.NONE: ssl.CERT_NONE,
}


def operator_context(config: OperatorTls) -> Reloaded[ssl.SSLContext]:
    """Return the context, which is made again when its files change; raises ServerError."""
    files = config.key_store.files + (
        () if config.trust_store is None else config.trust_store.files
    )
    return Reloaded("the certificates of the admin endpoint", files, lambda: _context(config))


def _context(config: OperatorTls) -> ssl.SSLContext:
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    select_versions(context, config.protocols, config.cipher_suites, "ssl")
    context.verify_mode = _VERIFY_MODES[config.client_auth]
    load_key(context, config.key_store)
    if config.trust_store is not None:
        load_trusted(context, config.trust_store, "operators'")
    return context


def subject_of(connection: ssl.SSLObject) -> str:
    """Return the subject of a client's certificate; "" without a verified certificate."""
    certificate = connection.getpeercert(binary_form=True)
    if not certificate or connection.context.verify_mode is ssl.CERT_NONE:
        return ""
    try:
        return subject_in(certificate)
    except DerError:
        return ""
