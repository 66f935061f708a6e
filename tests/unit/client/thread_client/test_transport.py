"""The connection of a `Client`: partial sends, TLS, and the end while another thread reads."""

import contextlib
import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import trustme

from tests.support.outcomes import Running
from tests.support.waiting import WAIT_S
from zoolet.client.thread_client.transport import RECEIVE_BYTES, Transport, connect

GLIBC_MMAP_THRESHOLD_BYTES = 128 << 10
BIG = bytes(range(256)) * (32 << 10)


class Pair(NamedTuple):
    """A connection: the client's end, and the server's."""

    client: Transport
    server: socket.socket


def go_on() -> None:
    """Do not end the wait for a connection."""


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


class Authority:
    """Makes the TLS contexts of both ends."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(self.client)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self.server)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(WAIT_S)
        yield listening


def opened(listener: socket.socket, authority: Authority | None) -> Pair:
    """Return a connection."""
    context = authority.client if authority else None
    client = Running(connect, *listener.getsockname(), WAIT_S, context, go_on)
    server, _ = listener.accept()
    server.settimeout(WAIT_S)
    if authority:
        server = authority.server.wrap_socket(server, server_side=True)
    return Pair(client.end(), server)


@pytest.fixture(params=["plain", "TLS"])
def pair(
    request: pytest.FixtureRequest, listener: socket.socket, authority: Authority
) -> Iterator[Pair]:
    both = opened(listener, authority if request.param == "TLS" else None)
    yield both
    both.client.close()
    both.server.close()


def read_all(connection: socket.socket, count: int) -> bytes:
    """Return ``count`` bytes, or what came before the end of the connection."""
    data = bytearray()
    while len(data) < count and (more := connection.recv(1 << 20)):
        data += more
    return bytes(data)


def test_bytes_come_and_go(pair: Pair) -> None:
    assert pair.client.receive(0.0, is_writing=False) is None
    assert pair.client.send(b"asked") == 5
    assert pair.server.recv(100) == b"asked"
    pair.server.sendall(b"replied")
    assert pair.client.receive(WAIT_S, is_writing=False) == b"replied"
    assert pair.client.receive(0.01, is_writing=False) is None


def test_a_time_longer_than_a_tick_may_end_early(pair: Pair) -> None:
    assert pair.client.receive(0.06, is_writing=False) is None


def test_the_end_of_the_connection_is_no_bytes(pair: Pair) -> None:
    with contextlib.suppress(OSError):
        pair.server.shutdown(socket.SHUT_RDWR)
    pair.server.close()
    try:
        data = pair.client.receive(WAIT_S, is_writing=False)
    except ssl.SSLEOFError:
        return  # TLS was not closed as its rules say
    assert data == b""


def test_a_peer_that_does_not_read_gets_a_part(pair: Pair) -> None:
    unsent = BIG
    while sent_bytes := pair.client.send(unsent):
        unsent = unsent[sent_bytes:]
    assert unsent, "the connection took everything"
    reading = Running(read_all, pair.server, len(BIG))
    while unsent:
        # Nothing comes: it waits until more bytes can be sent.
        assert pair.client.receive(WAIT_S, is_writing=True) is None
        unsent = unsent[pair.client.send(unsent) :]
    assert reading.end() == BIG


def test_one_thread_sends_while_another_one_reads(pair: Pair) -> None:
    received = bytearray()

    def read() -> None:
        while len(received) < len(BIG):
            received.extend(pair.client.receive(WAIT_S, is_writing=False) or b"")

    def send() -> None:
        unsent = BIG
        while unsent:
            unsent = unsent[pair.client.send(unsent[: 64 << 10]) :]

    both = [Running(read), Running(send)]
    # The server echoes; a connection has room for all that is on its way.
    count = 0
    while count < len(BIG):
        data = pair.server.recv(1 << 20)
        count += len(data)
        pair.server.sendall(data)
    for each in both:
        each.end()
    assert bytes(received) == BIG


@pytest.mark.parametrize("limit_s", [0.0, WAIT_S], ids=["poll", "block"])
@pytest.mark.parametrize("is_writing", [False, True])
def test_an_abort_ends_the_reading_of_another_thread(
    pair: Pair, limit_s: float, is_writing: bool
) -> None:
    began = threading.Event()

    def read_to_the_end() -> None:
        began.set()
        with contextlib.suppress(OSError):
            while pair.client.receive(limit_s, is_writing=is_writing) != b"":
                pass

    reading = Running(read_to_the_end)
    assert began.wait(WAIT_S)
    pair.client.abort()
    assert reading.wait() is None
    assert pair.client.fileno() != -1, "only the thread that reads may free the descriptor"
    pair.client.close()
    pair.client.close()
    pair.client.abort()
    assert pair.client.fileno() == -1


def test_after_an_abort_nothing_is_sent(pair: Pair) -> None:
    pair.client.abort()
    with pytest.raises(OSError):  # noqa: PT011 -- the kind depends on the system and on TLS
        pair.client.send(b"a secret")
    raw = socket.socket(fileno=pair.server.detach())
    with raw:
        raw.settimeout(WAIT_S)
        assert b"a secret" not in read_all(raw, 1 << 20)


def test_decrypted_bytes_are_not_forgotten(listener: socket.socket, authority: Authority) -> None:
    client, server = opened(listener, authority)
    client.receive_bytes = 4
    server.sendall(b"0123456789")
    assert client.receive(WAIT_S, is_writing=False) == b"0123"
    assert client.has_buffered()
    assert client.receive(0.0, is_writing=False) == b"4567"
    assert client.receive(0.0, is_writing=False) == b"89"
    assert not client.has_buffered()
    client.close()
    server.close()


def test_a_port_without_a_server_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ConnectionRefusedError) as caught:
        connect("127.0.0.1", port, WAIT_S, None, go_on)
    assert caught.value.errno == errno.ECONNREFUSED
    assert caught.value.strerror == "Connection refused"


def test_the_second_address_of_a_host_is_tried_too(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = listener.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()
    both = [
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", refusing),
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    client = connect("two.example", port, WAIT_S, None, go_on)
    assert client.send(b"x") == 1
    client.close()


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(socket.gaierror):
        connect("no-such-host.invalid", 1, WAIT_S, None, go_on)


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "ä..b"])
def test_a_name_that_cannot_be_encoded_is_an_error(host: str) -> None:
    with pytest.raises(socket.gaierror if host.isascii() else UnicodeError):
        connect(host, 1, WAIT_S, None, go_on)


def test_a_handshake_without_a_reply_ends(listener: socket.socket, authority: Authority) -> None:
    with pytest.raises(TimeoutError):
        connect("127.0.0.1", port_of(listener), 0.1, authority.client, go_on)


def test_a_check_ends_the_wait_for_a_connection(
    listener: socket.socket, authority: Authority
) -> None:
    def check() -> None:
        raise ConnectionAbortedError("the client is closed")

    with pytest.raises(ConnectionAbortedError, match="the client is closed"):
        connect("127.0.0.1", port_of(listener), 10 * WAIT_S, authority.client, check)


def greet(listener: socket.socket, greeting: bytes) -> Callable[[], None]:
    """Accept a connection in a thread, send something, and close it."""

    def accept() -> None:
        connection, _ = listener.accept()
        connection.settimeout(WAIT_S)
        with connection, contextlib.suppress(OSError):
            connection.recv(100)
            connection.sendall(greeting)

    return Running(accept).end


@pytest.mark.parametrize("greeting", [b"", b"no TLS"])
def test_tls_with_a_server_without_tls_is_an_os_error(
    listener: socket.socket, authority: Authority, greeting: bytes
) -> None:
    end = greet(listener, greeting)
    with pytest.raises(OSError):  # noqa: PT011 -- ssl.SSLError or ConnectionResetError
        connect("127.0.0.1", port_of(listener), WAIT_S, authority.client, go_on)
    end()


def test_an_unknown_authority_is_refused(listener: socket.socket, authority: Authority) -> None:
    def accept() -> None:
        connection, _ = listener.accept()
        connection.settimeout(WAIT_S)
        with contextlib.suppress(OSError):
            authority.server.wrap_socket(connection, server_side=True)
        connection.close()

    accepting = Running(accept)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect("127.0.0.1", port_of(listener), WAIT_S, Authority().client, go_on)
    accepting.end()


def test_glibc_maps_no_memory_for_a_read() -> None:
    """glibc maps a larger buffer for each read, and the kernel fills mapped memory with zeros."""
    assert RECEIVE_BYTES < GLIBC_MMAP_THRESHOLD_BYTES
