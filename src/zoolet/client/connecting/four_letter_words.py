"""Sends a four-letter word to a server and returns the reply, which may have any length.

Imports ``model`` and, if the server uses TLS, ssl.
"""

import socket
import time
from contextlib import ExitStack
from typing import Final

from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.model.addresses import Address

_READ_BYTES: Final = 65536
_NOT_SERVING: Final = "This ZooKeeper instance is not currently serving requests"


def is_refused(answer: str, word: str) -> bool:
    """Return whether the answer, or its first line, says that the server does not allow a word."""
    return answer.startswith(f"{word} is not executed because it is not in the whitelist")


def is_not_serving(answer: str) -> bool:
    """Return whether the answer, or its first line, says that the server has no leader."""
    return answer.startswith(_NOT_SERVING)


def refusal(address: Address, word: str) -> str:
    """Return the message about a server that does not allow a word."""
    return f"{address} does not allow {word}: add it to 4lw.commands.whitelist in its zoo.cfg"


def ask(
    address: Address,
    word: str,
    timeout_s: float,
    tls: TlsFiles | None = None,
    *,
    most_bytes: int | None = None,
) -> str:
    """Send a word over a new connection; return the reply.

    Raises:
        OSError: the server cannot be reached, or the reply is not complete in time, or it has more
            than ``most_bytes`` bytes.
    """
    end_s = time.monotonic() + timeout_s
    with ExitStack() as stack:
        connection = stack.enter_context(
            socket.create_connection((address.host, address.port), timeout_s)
        )
        if tls is not None:
            from zoolet.client.connecting.tls import context_of  # noqa: PLC0415 -- slow import

            context = context_of(tls)
            connection = stack.enter_context(
                context.wrap_socket(connection, server_hostname=address.host)
            )
        connection.sendall(word.encode())
        parts = []
        size_bytes = 0
        while part := connection.recv(_READ_BYTES):
            parts.append(part)
            size_bytes += len(part)
            if most_bytes is not None and size_bytes > most_bytes:
                raise OSError(f"the reply is longer than {most_bytes} bytes")
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"the reply is not complete within {timeout_s:g} s")
            connection.settimeout(left_s)
    return b"".join(parts).decode("utf-8", "replace")
