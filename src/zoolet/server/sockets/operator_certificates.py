"""TLS for operators: the context of the admin endpoint and the metrics, and who a client is.

The server imports this module only if zoo.cfg enables HTTPS.
"""

import ssl

from zoolet.server.common.reloaded import Reloaded
from zoolet.server.sockets.der import DerError
from zoolet.server.sockets.distinguished_names import subject_in
from zoolet.server.sockets.tls import files_of, server_context
from zoolet.server.zoo_cfg.config import OperatorTls


def operator_context(config: OperatorTls) -> Reloaded[ssl.SSLContext]:
    """Return the context, which is made again when its files change; raises ServerError."""
    return Reloaded(
        "the certificates of the admin endpoint",
        files_of(config),
        lambda: server_context(config, "operators'"),
    )


def subject_of(connection: ssl.SSLObject) -> str:
    """Return the subject of a client's certificate; "" without a verified certificate."""
    certificate = connection.getpeercert(binary_form=True)
    if not certificate or connection.context.verify_mode is ssl.CERT_NONE:
        return ""
    try:
        return subject_in(certificate)
    except DerError:
        return ""
