"""Attacks on the secure port."""

import contextlib
import socket
import ssl
import time
from pathlib import Path

import trustme

from benchmarks.attack.arena import HOME, Arena, Options, attack
from zoolet.testing import ReservedPort

_PORT = ReservedPort()
_KEY_STORE = "server.pem"
_SETTINGS = {
    "secureClientPort": _PORT.number,
    "secureClientPortAddress": "127.0.0.1",
    "ssl.keyStore.location": f"{HOME}/{_KEY_STORE}",
    "ssl.clientAuth": "none",
}
_TIMEOUT_S = 30.0
_ANSWER_S = 0.02


def _key_store(directory: Path, options: Options) -> None:
    del options
    certificate = trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem
    certificate.write_to_path(directory.parents[1] / _KEY_STORE)


def _client_hello() -> bytes:
    """Return the first bytes of a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = ssl.create_default_context().wrap_bio(
        incoming, outgoing, server_hostname="localhost"
    )
    with contextlib.suppress(ssl.SSLWantReadError):
        handshake.do_handshake()
    return outgoing.read()


def _storm(arena: Arena, first_bytes: list[bytes]) -> None:
    """Begin many handshakes and leave each when the server has answered."""
    for number in range(arena.size(3000) // arena.connections):
        opened = []
        for _ in range(arena.connections):
            connection = socket.create_connection(("127.0.0.1", _PORT.number), _TIMEOUT_S)
            connection.sendall(first_bytes[number % len(first_bytes)])
            opened.append(connection)
        for connection in opened:
            connection.settimeout(_ANSWER_S)
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 14)
        if time.monotonic() > arena.deadline_s:
            arena.notes.append("not all handshakes were begun in time")
            break


@attack("3,000 TLS handshakes that are begun and left", prepare=_key_store, settings=_SETTINGS)
def tls_handshakes(arena: Arena) -> None:
    """Let the server sign for nothing."""
    _storm(arena, [_client_hello()])


@attack(
    "3,000 connections to the secure port that send no TLS", prepare=_key_store, settings=_SETTINGS
)
def tls_garbage(arena: Arena) -> None:
    """Fail in different ways; look at the server's log afterwards."""
    hello = _client_hello()
    _storm(arena, [b"ruok", arena.random.randbytes(300), hello[:100] + bytes(200), b"GET / HTTP"])
