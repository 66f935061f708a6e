"""A request that fails with MemoryError: before *apply* its connection ends, later the server.

Before *apply* a failed request changes nothing, so only its connection is closed. From *apply* on
the state in memory is unknown, so the server ends and acknowledges nothing more. Either way the
next start has every acknowledged write.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

import pytest

from tests.support.rawclient import RawClient
from tests.support.waiting import wait_until
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.server.common.clock import Clock
from zoolet.server.pipeline.processor import RequestProcessor
from zoolet.testing import EmbeddedServer
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

if TYPE_CHECKING:
    from zoolet.state_machine.record_table import RecordTable

SETTINGS = {"tickTime": 60_000}
"""Sessions are not looked at in a test, so that only requests read the clock."""

Request = tuple[OpCode, bytes]


def create(path: str, data: bytes = b"new") -> Request:
    acl_and_flags = pack_acl(OPEN_ACL) + INT.pack(0)
    return OpCode.CREATE, pack_ustring(path) + pack_buffer(data) + acl_and_flags


def set_data(path: str, data: bytes = b"new") -> Request:
    return OpCode.SET_DATA, pack_ustring(path) + pack_buffer(data) + INT.pack(-1)


def delete(path: str) -> Request:
    return OpCode.DELETE, pack_ustring(path) + INT.pack(-1)


def multi(*requests: Request) -> Request:
    parts = [INT.pack(op_code) + b"\0" + INT.pack(-1) + body for op_code, body in requests]
    return OpCode.MULTI, b"".join(parts) + INT.pack(-1) + b"\1" + INT.pack(-1)


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(settings=SETTINGS) as running:
        yield running


def processor_of(server: EmbeddedServer) -> RequestProcessor:
    return server._running()._processor


@contextmanager
def two_clients(
    server: EmbeddedServer, data: bytes = b"acknowledged"
) -> Iterator[tuple[RawClient, RawClient]]:
    """Connect two clients, and create a znode."""
    with RawClient(server.port) as one, RawClient(server.port) as other:
        one.connect()
        other.connect()
        assert other.create("/a", data).err == 0
        yield one, other


# --- Before apply


def fail_prepare(processor: RequestProcessor) -> None:
    """Let the next txn fail when *prepare* asks for its time."""
    changes = processor.local._changes
    clock = changes._clock

    def fail() -> int:
        changes._clock = clock
        raise MemoryError

    changes._clock = Clock(fail, clock.monotonic_ms)


def fail_monotonic(processor: RequestProcessor, calls_before: int) -> None:
    """Let one of the next readings of the monotonic clock fail."""
    changes = processor.local._changes
    clock = changes._clock
    calls = 0

    def fail() -> int:
        nonlocal calls
        calls += 1
        if calls <= calls_before:
            return clock.monotonic_ms()
        changes._clock = clock
        raise MemoryError

    changes._clock = Clock(clock.wall_ms, fail)


def fail_append(processor: RequestProcessor) -> None:
    """Let the next txn fail in GroupCommit.append, which begins a batch with the time."""
    fail_monotonic(processor, calls_before=0)


BEFORE_APPLY = [fail_prepare, fail_append]


@pytest.mark.parametrize("fail", BEFORE_APPLY)
@pytest.mark.parametrize(
    "request_of",
    [create("/new"), set_data("/a"), delete("/a"), multi(create("/new"), set_data("/a"))],
    ids=["create", "set", "delete", "multi"],
)
def test_a_request_that_fails_before_apply_ends_its_connection_alone(
    server: EmbeddedServer,
    caplog: pytest.LogCaptureFixture,
    fail: Callable[[RequestProcessor], None],
    request_of: Request,
) -> None:
    with two_clients(server, b"old") as (failing, other):
        zxid = server._thread.call(lambda: server._running().machine.zxid)
        server._thread.call(partial(fail, processor_of(server)))
        failing.send(*request_of)
        assert failing.is_closed_by_server()
        assert "its request failed and changed nothing: MemoryError()" in caplog.text
        assert server._thread.call(lambda: server._running().machine.zxid) == zxid
        assert other.create("/b", b"behind").err == 0
    server.restart()
    server.inside.assert_path("/a", b"old")
    server.inside.assert_path("/b", b"behind")
    server.inside.assert_path("/new", exists=False)


@pytest.mark.parametrize("seed", range(5))
def test_requests_that_fail_before_apply_leave_nothing_behind(
    server: EmbeddedServer, seed: int
) -> None:
    chance = random.Random(seed)
    expected: dict[str, bytes] = {}
    failures = 0
    with RawClient(server.port) as other:
        other.connect()
        for number in range(100):
            path, data = f"/{chance.randrange(10)}", b"%d" % number
            write = set_data if path in expected else create
            if chance.random() < 0.2:
                failures += 1
                kind = chance.choice((write, multi_of_two))
                fail_a_request(server, kind(path, data), chance.choice(BEFORE_APPLY))
            elif path in expected and chance.random() < 0.3:
                del expected[path]
                assert other.request(*delete(path)).err == 0
            else:
                expected[path] = data
                assert other.request(*write(path, data)).err == 0
    assert failures > 5
    server.kill(seed=seed)
    server.start()
    assert contents(server) == expected


def multi_of_two(path: str, data: bytes) -> Request:
    return multi(create("/new"), create(f"{path}-new", data))


def fail_a_request(
    server: EmbeddedServer, request: Request, fail: Callable[[RequestProcessor], None]
) -> None:
    """Let a request of a new client fail, and check that only its connection ends."""
    with RawClient(server.port) as failing:
        failing.connect()
        server._thread.call(partial(fail, processor_of(server)))
        failing.send(*request)
        assert failing.is_closed_by_server()


def contents(server: EmbeddedServer) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    for path in server.inside.paths():
        znode = server.inside.znode(path)
        assert znode is not None
        found[path] = znode.data
    return found


# --- From apply on


class FailingRecords:
    """The tree's records, in which every change fails: so *apply* stops half-way."""

    def __init__(self, records: "RecordTable") -> None:
        self.get = records.get
        self._records = records

    def __contains__(self, path: str) -> bool:
        return path in self._records

    def __getitem__(self, path: str) -> bytes:
        return self._records[path]

    def _fail(self, *_arguments: object) -> bytes:
        raise MemoryError

    __setitem__ = add = pop = _fail


def fail_apply(server: EmbeddedServer) -> None:
    """Let the next change of the tree fail in *apply*."""

    def put() -> None:
        tree = server._running().machine.tree
        tree.records = cast("RecordTable", FailingRecords(tree.records))

    server._thread.call(put)


FATAL = "a change could not be completed in memory: MemoryError()"

CHANGES = {
    "create": create("/new"),
    "set": set_data("/a"),
    "delete": delete("/a"),
    "multi": multi(create("/new"), set_data("/a")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_request_that_fails_in_apply_ends_the_server(server: EmbeddedServer, name: str) -> None:
    with two_clients(server) as (failing, other):
        fail_apply(server)
        failing.send(*CHANGES[name])
        server.wait_until_ended()
        assert failing.is_closed_by_server()
        assert other.is_closed_by_server()
    assert FATAL in str(server.failure)
    assert "every acknowledged change is on disk" in str(server.failure)
    server.kill()
    server.start()
    server.inside.assert_path("/a", b"acknowledged")
    with RawClient(server.port) as client:
        client.connect()
        assert client.create("/b").err == 0


def test_a_session_that_fails_in_apply_ends_the_server(server: EmbeddedServer) -> None:
    with RawClient(server.port) as other:
        other.connect()
        assert other.create("/a", b"acknowledged").err == 0
        with RawClient(server.port) as failing:
            connections = processor_of(server).connections
            wait_until(lambda: len(connections) == 2, "the second connection")
            # The first reading is that of append, the second that of apply.
            server._thread.call(partial(fail_monotonic, processor_of(server), calls_before=1))
            with pytest.raises((EOFError, ConnectionResetError)):
                failing.connect()
        server.wait_until_ended()
    assert FATAL in str(server.failure)
    server.kill()
    server.start()
    server.inside.assert_path("/a", b"acknowledged")


def test_what_waits_for_its_sync_is_not_acknowledged_after_a_failed_apply(
    server: EmbeddedServer,
) -> None:
    with two_clients(server) as (failing, waiting):
        server.disk.hold_syncs()
        waiting.send(*create("/b"))
        server.disk.wait_for_sync()
        waiting.send(*create("/c"))
        waiting.send(OpCode.SYNC, pack_ustring("/"))
        fail_apply(server)
        failing.send(*set_data("/a"))
        # Not on the server's thread: it may wait for the disk already.
        wait_until(lambda: server.failure is not None, "the server's end")
        server.disk.release_syncs()
        server.wait_until_ended()
        assert waiting.is_closed_by_server()
        assert failing.is_closed_by_server()
    assert FATAL in str(server.failure)
    server.kill()
    server.start()
    server.inside.assert_path("/a", b"acknowledged")


@pytest.mark.parametrize("seed", range(3))
def test_no_acknowledged_write_is_lost_by_failures_in_apply(
    server: EmbeddedServer, seed: int
) -> None:
    chance = random.Random(seed)
    expected: dict[str, bytes] = {}
    for life in range(8):
        with RawClient(server.port) as client:
            client.connect()
            for number in range(chance.randrange(1, 20)):
                path, data = f"/{chance.randrange(10)}", b"%d-%d" % (life, number)
                write = set_data if path in expected else create
                assert client.request(*write(path, data)).err == 0
                expected[path] = data
            fail_apply(server)
            path = chance.choice(sorted(expected))
            client.send(*chance.choice((create("/new"), set_data(path), delete(path))))
            server.wait_until_ended()
            assert client.is_closed_by_server()
        assert FATAL in str(server.failure)
        server.kill(seed=chance.randrange(1000))
        server.start()
        # The failed change was in a batch that no disk got, so it is never there.
        assert contents(server) == expected
