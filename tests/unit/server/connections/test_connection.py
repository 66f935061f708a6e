"""What the event loop calls on a connection: an exception ends this connection alone."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from tests.support.rawclient import RawClient, request_frame
from tests.support.waiting import WAIT_S, wait_until
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode, Xid
from zoolet.server.connections.connection import Connection
from zoolet.server.connections.unsent import CHUNK_BYTES
from zoolet.server.pipeline.processor import RequestProcessor
from zoolet.server.sockets.admission import AcceptedSocket, Admission, Limits
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


LONG_DATA = pack_ustring("/a") + pack_buffer(bytes(100_000)) + pack_acl(OPEN_ACL) + INT.pack(0)
NEW_DATA = pack_ustring("/d") + pack_buffer(b"new") + INT.pack(-1)
CHILDREN = pack_ustring("/d") + b"\0"


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ((OpCode.CREATE, LONG_DATA), (OpCode.GET_DATA, pack_ustring("/a") + b"\0")),
        ((OpCode.SET_DATA, NEW_DATA), (OpCode.GET_CHILDREN, CHILDREN)),
        ((OpCode.SET_DATA, NEW_DATA), (OpCode.GET_CHILDREN2, CHILDREN)),
    ],
)
@pytest.mark.parametrize("end", [OpCode.CLOSE_SESSION, OpCode.AUTH])
def test_long_replies_that_wait_for_the_disk_are_whole_when_the_connection_closes_behind_them(
    server: EmbeddedServer,
    change: tuple[OpCode, bytes],
    read: tuple[OpCode, bytes],
    end: OpCode,
) -> None:
    no_scheme = INT.pack(0) + pack_ustring("none") + pack_buffer(b"")
    with RawClient(server.port) as client, RawClient(server.port) as bystander:
        client.connect()
        bystander.connect()
        client.create("/d")
        for number in range(400):
            client.create(f"/d/{'n' * 200}{number}")
        assert client.request(OpCode.GET_CHILDREN, CHILDREN).err == 0  # the list is kept
        server.disk.hold_syncs()
        last = request_frame(3, end, no_scheme if end == OpCode.AUTH else b"")
        client.socket.sendall(request_frame(1, *change) + request_frame(2, *read) + last)
        server.disk.wait_for_sync()
        for _ in range(3):
            bystander.request(OpCode.PING, xid=Xid.PING)
        server.disk.release_syncs()
        replies = [client.read_reply() for _ in range(3)]
        assert [reply.xid for reply in replies] == [1, 2, 3]
        assert len(replies[1].body) > 65_536
        assert client.is_closed_by_server()


@pytest.mark.parametrize("first_bytes", [b"stmk", b"stmk\0\0\0"])
def test_half_a_word_with_an_argument_keeps_nobody_busy(
    server: EmbeddedServer, processor: RequestProcessor, first_bytes: bytes
) -> None:
    """It arrives while the scheduler has other work, and its rest arrives later."""
    scheduler = processor.scheduler
    is_over = False

    def steps() -> Iterator[int]:
        while not is_over:
            yield 1000

    with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as asking:
        wait_until(lambda: len(processor.connections) == 1, "the connection")
        (connection,) = processor.connections
        server._thread.call(lambda: scheduler.run("busy", steps()))
        asking.sendall(first_bytes)
        wait_until(lambda: bool(connection._unread), "the bytes")
        is_over = True
        wait_until(lambda: server._thread.call(lambda: scheduler.num_waiting) == 0, "quiet")
        asking.sendall(bytes(8 + len(b"stmk") - len(first_bytes)))
        assert b"".join(iter(lambda: asking.recv(100), b"")) == b"0"


def test_one_turn_sends_one_chunk(server: EmbeddedServer, processor: RequestProcessor) -> None:
    def scenario() -> None:
        connection = Connection(processor)
        transport = Transport(**GOOD)
        connection.connection_made(transport)
        body = bytes(range(256)) * 20_000
        for _ in range(2):
            connection.send_long([b"header", body, b"behind"])
        assert len(transport.written) == CHUNK_BYTES
        connection.pause_writing()
        connection.send_long([b"header", body, b"behind"])
        assert len(transport.written) == CHUNK_BYTES
        connection.resume_writing()  # others wait: not at once
        assert len(transport.written) == CHUNK_BYTES
        expected = 3 * (b"header" + body + b"behind")
        while len(transport.written) < len(expected):
            before = len(transport.written)
            connection._take_turn()
            assert len(transport.written) == min(before + CHUNK_BYTES, len(expected))
        assert transport.written == expected
        connection.connection_lost(None)

    server._thread.call(scenario)
