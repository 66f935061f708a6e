"""What the event loop calls on a connection: an exception ends this connection alone."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from tests.support.rawclient import RawClient
from tests.support.waiting import WAIT_S
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode, Xid
from zoolet.server.admission import AcceptedSocket, Admission, Limits
from zoolet.server.connection import Connection
from zoolet.server.processor import RequestProcessor
from zoolet.testing import EmbeddedServer
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

PEER = ("127.0.0.1", 4711)


class Transport(asyncio.Transport):
    """A transport whose answers a test chooses."""

    def __init__(self, **info: Any) -> None:
        super().__init__(info)
        self.is_aborted = False
        self.is_closed = False
        self.written = b""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: Any) -> None:
        self.written += data

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def abort(self) -> None:
        self.is_aborted = True

    def close(self) -> None:
        self.is_closed = True


class BrokenSocket:
    """A socket whose peer is gone."""

    def setsockopt(self, *_arguments: object) -> None:
        raise OSError(22, "Invalid argument")


def accepted() -> tuple[Admission, AcceptedSocket]:
    admission = Admission(Limits(0, 0, 0), lambda: 0)
    return admission, admission.enter(cast("socket.socket", None), PEER)


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(
        settings={"clientTcpKeepAlive": "true", "4lw.commands.whitelist": "*"}
    ) as running:
        yield running


@pytest.fixture
def processor(server: EmbeddedServer) -> RequestProcessor:
    return server._running()._processor


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


class GoodSocket:
    """A socket that takes options."""

    def setsockopt(self, *_arguments: object) -> None:
        pass


GOOD = {"peername": PEER, "socket": GoodSocket()}


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (GOOD | {"peername": None}, "the client reset it"),
        (GOOD | {"peername": ()}, "cannot be served"),
        (GOOD | {"socket": BrokenSocket()}, "Invalid argument"),
        (GOOD | {"socket": None}, "cannot be served"),
        (GOOD | {"ssl_object": object()}, "cannot be served"),
    ],
)
def test_what_fails_when_a_connection_is_made_closes_it(
    server: EmbeddedServer,
    processor: RequestProcessor,
    logged: pytest.LogCaptureFixture,
    info: dict[str, Any],
    message: str,
) -> None:
    admission, entered = accepted()
    transport = Transport(**info)

    def scenario() -> Connection:
        connection = Connection(processor, entered)
        connection.connection_made(transport)
        was_open = connection.is_open
        connection.connection_lost(None)
        assert not was_open
        return connection

    connection = server._thread.call(scenario)
    assert transport.is_aborted
    assert connection not in processor.connections
    assert not admission.open
    assert admission.per_address == {}
    assert [line for line in logged.messages if message in line]


def test_the_end_of_a_connection_is_counted_once(
    server: EmbeddedServer, processor: RequestProcessor
) -> None:
    admission, entered = accepted()

    def scenario() -> None:
        connection = Connection(processor, entered)
        connection.connection_made(Transport(**GOOD))
        assert connection in processor.connections
        assert len(admission.open) == 1
        for _ in range(2):
            connection.connection_lost(ConnectionResetError())
            entered.closed()
        assert connection not in processor.connections
        assert not admission.open

    server._thread.call(scenario)


def test_the_end_of_the_input_closes(server: EmbeddedServer, processor: RequestProcessor) -> None:
    def scenario() -> None:
        connection = Connection(processor)
        connection.connection_made(Transport(**GOOD))
        assert not connection.eof_received()
        connection.connection_lost(None)

    server._thread.call(scenario)


@pytest.mark.parametrize("word", [b"srvr", b"cons", b"dump"])
def test_a_word_whose_sender_stops_sending_is_answered_when_the_disk_is_slow(
    server: EmbeddedServer, word: bytes
) -> None:
    """Like ``echo srvr | nc -N``: the answer waits for a sync, the end of the input does not."""
    with RawClient(server.port) as writer, RawClient(server.port) as bystander:
        writer.connect()
        bystander.connect()
        server.disk.hold_syncs()
        body = pack_ustring("/a") + pack_buffer(b"") + pack_acl(OPEN_ACL) + INT.pack(0)
        writer.send(OpCode.CREATE, body)
        server.disk.wait_for_sync()
        with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as asking:
            asking.sendall(word)
            asking.shutdown(socket.SHUT_WR)
            for _ in range(10):  # in the meantime the server has seen the end of the input
                bystander.request(OpCode.PING, xid=Xid.PING)
            server.disk.release_syncs()
            answer = b"".join(iter(lambda: asking.recv(1000), b""))
        assert writer.read_reply().err == 0
    assert len(answer) > 50
