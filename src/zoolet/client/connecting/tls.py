"""The TLS context of a client. It is a module of its own, because importing ssl takes 10 ms."""

import ssl

from zoolet.client.connecting.tls_files import TlsFiles


def context_of(files: TlsFiles) -> ssl.SSLContext:
    """Return the context for the files of a client.

    Raises:
        OSError: a file cannot be read, or is not what it should be (``ssl.SSLError``).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.ca)
    if files.cert is not None:
        context.load_cert_chain(files.cert, files.key)
    return context
