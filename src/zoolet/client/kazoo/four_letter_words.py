"""Sends four-letter words to a server and returns the reply, which may have any length.

kazoo's own ``command`` returns only the bytes of the first read. Imports kazoo.
"""

from kazoo.client import KazooClient

_READ_BYTES = 65536


def ask(client: KazooClient, host: str, port: int, word: str, timeout_s: float) -> str:
    """Send a word over a new connection with the client's TLS settings; return the reply.

    Raises:
        OSError: the server cannot be reached or does not reply in time.
    """
    connection = client.handler.create_connection(
        (host, port),
        hostname=host,
        timeout=timeout_s,
        use_ssl=client.use_ssl,
        ca=client.ca,
        certfile=client.certfile,
        keyfile=client.keyfile,
        keyfile_password=client.keyfile_password,
        verify_certs=client.verify_certs,
        check_hostname=client.check_hostname,
    )
    with connection:
        connection.settimeout(timeout_s)
        connection.sendall(word.encode())
        parts = []
        while part := connection.recv(_READ_BYTES):
            parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")
