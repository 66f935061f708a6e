"""What a batch releases: a failure behind a sync ends one connection or answer, not the others."""

import asyncio
import itertools
import socket
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.rawclient import TIMEOUT_S, RawClient, connect_frame, request_frame
from tests.support.simulated import OpenTransport, default_config
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode, Xid
from zoolet.server.common.clock import SYSTEM_CLOCK
from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.common.scheduler import Scheduler
from zoolet.server.connections.batches import Batch
from zoolet.server.connections.connection import Connection
from zoolet.server.operator.answers import Answer
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.processor import RequestProcessor
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.storage.txn_log import TxnLog
from zoolet.testing import EmbeddedServer
from zoolet.testing.received_requests.frames import REPLY_HEADER, find_frames
from zoolet.testing.servers.memory_disk import MemoryDisk
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

FAILURES = [OSError(28, "No space left on device"), MemoryError(), RuntimeError("changed")]


def set_data(path: str) -> bytes:
    return pack_ustring(path) + pack_buffer(b"new") + INT.pack(-1)


def create(path: str) -> bytes:
    return pack_ustring(path) + pack_buffer(b"") + pack_acl(OPEN_ACL) + INT.pack(0)


class Loop:
    """The event loop's queue, and a log thread whose syncs return when the test says so."""

    def __init__(self) -> None:
        self.ready: deque[Callable[[], None]] = deque()
        self.syncing: deque[Callable[[], None]] = deque()
        self.failures: list[Exception] = []
        self.when_failed: Callable[[], None] = lambda: None

    def call_soon(self, call: Callable[..., None], *args: object) -> None:
        self.ready.append(lambda: call(*args))

    def submit(self, call: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        def sync() -> None:
            call()
            done(None)

        self.syncing.append(sync)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.failures.append(context["exception"])
        self.when_failed()

    def run(self) -> None:
        while self.ready:
            self.ready.popleft()()

    def release_syncs(self) -> None:
        while self.syncing:
            self.syncing.popleft()()
            self.run()


class Client(OpenTransport):
    """A connection of the server's parts, and its transport, which may fail."""

    def __init__(self, parts: "Parts") -> None:
        self.parts = parts
        self.received = b""
        self.write_error: Exception | None = None
        self.is_aborted = False
        self.connection = Connection(parts.processor)
        self.connection.connection_made(cast("Any", self))
        self._send(connect_frame())
        parts.loop.release_syncs()
        self.received = b""

    def request(self, op_code: int, body: bytes) -> None:
        """Send a request; its xid is its op code."""
        self._send(request_frame(op_code, op_code, body))

    def _send(self, frame: bytes) -> None:
        self.connection.data_received(frame)
        self.parts.loop.run()

    def xids(self) -> list[int]:
        """Return the xids of the frames that came."""
        bounds = find_frames(self.received).bounds
        return [REPLY_HEADER.unpack_from(self.received, start)[0] for start, _ in bounds]

    # --- As a transport

    def write(self, data: bytes) -> None:
        if self.write_error is not None:
            raise self.write_error
        self.received += data

    def abort(self) -> None:
        self.is_aborted = True

    close = pause_reading = resume_reading = abort


class Sink:
    """An operator's side of an answer, which may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.has_room = True
        self.chunks: list[bytes] = []
        self.is_ended = False
        self.is_aborted = False
        self.failure: Exception | None = None
        self._error = error

    def send_chunk(self, chunk: bytes) -> None:
        if self._error is not None:
            raise self._error
        self.chunks.append(chunk)

    def end_answer(self) -> None:
        self.is_ended = True

    def fail_answer(self, error: Exception) -> None:
        if self._error is not None:
            raise self._error
        self.failure = error

    def abort(self) -> None:
        self.is_aborted = True


class Parts:
    """A server's parts on a disk in memory; what fails fatally is in ``fatal``."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.fatal: list[Exception] = []
        self.synced: list[Batch] = []
        config = default_config(Path("/data"))
        machine = StateMachine(Tree.fresh(), SessionTable(1000))
        scheduler = Scheduler(self.loop.call_soon)
        self.commit = GroupCommit(
            TxnLog(MemoryDisk(), Path("/data"), 1 << 16),
            cast("DiskThread", self.loop),
            cast("asyncio.AbstractEventLoop", self.loop),
            machine.zxid,
            self.fatal.append,
            self.synced.append,
            config.rules.max_txn_bytes,
            scheduler,
        )
        self.processor = RequestProcessor(
            config, machine, self.commit, SYSTEM_CLOCK, 77, scheduler, self.fatal.append
        )

    def begin(self, sink: Sink, chunks: Iterator[bytes]) -> Answer:
        answer = self.processor.answers.new("dirs", chunks)
        answer.begin(sink)
        self.loop.run()
        return answer


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def clients(parts: Parts) -> list[Client]:
    """Return clients that each watch and write; a sync is held, and all wait for the same batch."""
    made = [Client(parts) for _ in range(5)]
    for number, client in enumerate(made):
        client.request(OpCode.CREATE, create(f"/{number}"))
        client.request(OpCode.EXISTS, pack_ustring("/watched") + b"\1")
    parts.loop.release_syncs()
    made[0].request(OpCode.SET_DATA, set_data("/0"))  # its sync is held: the next batch gathers
    for client in made:
        client.received = b""
    made[1].request(OpCode.CREATE, create("/watched"))
    for number, client in enumerate(made):
        client.request(OpCode.SET_DATA, set_data(f"/{number}"))
    assert [client.xids() for client in made] == [[]] * len(made)
    return made


def wanted(number: int) -> list[int]:
    """Return the xids of what the client with this number waits for."""
    own = {0: [OpCode.SET_DATA], 1: []}.get(number, [])
    event = [Xid.NOTIFICATION]
    created = [OpCode.CREATE] if number == 1 else []
    return [*own, *event, *created, OpCode.SET_DATA]


@pytest.mark.parametrize("broken", range(1, 5))
@pytest.mark.parametrize("error", FAILURES, ids=repr)
def test_a_connection_that_cannot_be_sent_to_ends_alone(
    parts: Parts, clients: list[Client], broken: int, error: Exception
) -> None:
    clients[broken].write_error = error
    sink = Sink()
    parts.begin(sink, iter([b"a"]))
    parts.loop.release_syncs()
    for number, client in enumerate(clients):
        assert client.is_aborted == (number == broken)
        if number != broken:
            assert sorted(client.xids()) == sorted(wanted(number))
    assert (sink.chunks, sink.is_ended) == ([b"a"], True)
    assert (parts.fatal, parts.loop.failures) == ([], [])
    assert parts.commit.is_idle


@pytest.mark.parametrize("error", FAILURES, ids=repr)
@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("fails_to", ["make", "send", "tell"])
def test_an_answer_that_fails_behind_a_sync_ends_alone(
    parts: Parts, clients: list[Client], fails_to: str, place: int, error: Exception
) -> None:
    """It cannot be made, or not be sent, or neither be made nor can the client be told."""

    def cannot_be_made() -> Iterator[bytes]:
        yield b""  # a pause
        raise error

    sinks = [Sink() for _ in range(3)]
    broken = sinks[place] = Sink(None if fails_to == "make" else error)
    for sink in sinks:
        is_made = sink is not broken or fails_to == "send"
        parts.begin(sink, iter([b"a", b"b"]) if is_made else cannot_be_made())
    assert not any(sink.chunks or sink.failure or sink.is_ended for sink in sinks)
    num_synced = len(parts.synced)
    parts.loop.release_syncs()
    if fails_to == "make":
        assert (broken.failure, broken.is_aborted) == (error, False)
    else:
        assert (broken.failure, broken.is_aborted) == (None, True)
    for sink in sinks:
        if sink is not broken:
            assert (sink.chunks, sink.is_ended) == ([b"a", b"b"], True)
    for number, client in enumerate(clients):
        assert sorted(client.xids()) == sorted(wanted(number))
    assert len(parts.synced) == num_synced + 2
    assert (parts.fatal, parts.loop.failures) == ([], [])


@pytest.mark.parametrize("is_fatal", [False, True])
def test_the_loop_is_told_of_any_other_callback_that_fails(
    parts: Parts, clients: list[Client], is_fatal: bool
) -> None:
    """What waits beside it is called, unless the loop's handler stops the server."""
    if is_fatal:
        parts.loop.when_failed = parts.commit.stop
    error = OSError("gone")
    called: list[int] = []

    def fails() -> None:
        raise error

    numbers = itertools.count()
    for callback in (lambda: called.append(next(numbers)), fails, lambda: called.append(-1)):
        parts.commit.when_durable(callback)
    num_synced = len(parts.synced)
    parts.loop.release_syncs()
    assert parts.loop.failures == [error]
    assert called == ([0] if is_fatal else [0, -1])
    assert len(parts.synced) == num_synced + (1 if is_fatal else 2)
    for number, client in enumerate(clients):
        assert sorted(client.xids()) == sorted(wanted(number))


def read_all(connection: socket.socket) -> bytes:
    with connection:
        return b"".join(iter(lambda: connection.recv(1000), b""))


def test_a_word_that_cannot_be_answered_leaves_the_rest_of_its_batch() -> None:
    """On a real server: ``dirs`` fails, since data in memory have no directory for the system."""
    settings = {"4lw.commands.whitelist": "*"}
    with EmbeddedServer(settings=settings) as server, RawClient(server.port) as writer:
        watchers = [RawClient(server.port) for _ in range(3)]
        writer.connect()
        for watcher in watchers:
            watcher.connect()
            watcher.request(OpCode.EXISTS, pack_ustring("/a") + b"\1")
        server.disk.hold_syncs()
        writer.send(OpCode.CREATE, create("/a"))
        server.disk.wait_for_sync()
        for watcher in watchers:
            watcher.send(OpCode.GET_DATA, pack_ustring("/a") + b"\0")
        asking = []
        for word in (b"srvr", b"dirs", b"mntr"):
            asking.append(socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S))
            asking[-1].sendall(word)
        server.disk.release_syncs()
        assert writer.read_reply().err == 0
        for watcher in watchers:
            assert watcher.read_reply().xid == Xid.NOTIFICATION
            assert watcher.read_reply().err == 0
            watcher.socket.close()
        answers = [read_all(connection) for connection in asking]
        assert b"Zxid: " in answers[0]
        assert b"could not be made" in answers[1]
        assert b"zk_znode_count" in answers[2]
        assert writer.request(OpCode.SET_DATA, set_data("/a")).err == 0
