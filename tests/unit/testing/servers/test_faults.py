"""Each fault, as a real kazoo client meets it."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kazoo.client import KazooState
from kazoo.exceptions import (
    BadVersionError,
    ConnectionClosedError,
    ConnectionLoss,
    KazooException,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)
from kazoo.recipe.watchers import DataWatch

from tests.support.states import States
from tests.support.waiting import WAIT_S
from zoolet.testing import EmbeddedServer, ErrorCode, FaultError, OpCode

CONNECTED, SUSPENDED, LOST = KazooState.CONNECTED, KazooState.SUSPENDED, KazooState.LOST

Connect = Callable[..., Any]


@pytest.fixture
def connect(zookeeper: EmbeddedServer) -> Iterator[Connect]:
    """Starts more clients."""
    clients: list[Any] = []

    def start(**options: Any) -> Any:
        client = zookeeper.client(**options)
        client.start()
        clients.append(client)
        return client

    yield start
    zookeeper.heal()
    for client in clients:
        client.stop()
        client.close()


# --- Sessions and connections


def test_a_lock_is_lost_when_its_holders_session_expires(
    zookeeper: EmbeddedServer, connect: Connect
) -> None:
    holder, waiter = connect(), connect()
    states = States(holder)
    assert holder.Lock("/lock", "holder").acquire()
    waiting = waiter.Lock("/lock", "waiter")
    assert not waiting.acquire(blocking=False)
    zookeeper.faults.expire(holder)
    assert waiting.acquire(timeout=WAIT_S)
    states.wait_for(LOST, CONNECTED)
    assert waiting.contenders() == ["waiter"]


def test_a_cut_client_comes_back_to_its_session(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    states, before = States(zookeeper_client), zookeeper_client.client_id
    zookeeper_client.create("/e", ephemeral=True)
    zookeeper.faults.cut(zookeeper_client)
    states.wait_for(SUSPENDED, CONNECTED)
    assert zookeeper_client.client_id == before
    assert LOST not in states.seen
    zookeeper.inside.assert_path("/e", ephemeral=True)


def test_a_watch_is_set_again_after_reconnection(
    zookeeper: EmbeddedServer, connect: Connect
) -> None:
    watcher, writer = connect(), connect(hosts=zookeeper.open_addresses(2).split(",")[1])
    writer.create("/a", b"old")
    values: list[bytes] = []
    has_new = threading.Event()

    @DataWatch(watcher, "/a")  # type: ignore[untyped-decorator]
    def note(value: bytes, _: object) -> None:
        values.append(value)
        if value == b"new":
            has_new.set()

    states = States(watcher)
    zookeeper.addresses[0].stop()
    states.wait_for(SUSPENDED)
    assert zookeeper.inside.watches(watcher) == []
    writer.set("/a", b"new")
    zookeeper.addresses[0].start()
    assert has_new.wait(WAIT_S)
    assert values == [b"old", b"new"]
    (watch,) = zookeeper.inside.watches(watcher)
    assert (watch.path, watch.kind) == ("/a", "data")


def test_a_plain_watch_is_gone_after_a_cut(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    """kazoo tells a watcher of the cut, and leaves it to it to watch again."""
    events: list[str] = []
    zookeeper_client.create("/a")
    zookeeper_client.get("/a", watch=lambda event: events.append(event.type))
    states = States(zookeeper_client)
    zookeeper.faults.cut(zookeeper_client)
    states.wait_for(SUSPENDED, CONNECTED)
    zookeeper_client.set("/a", b"unheard")
    zookeeper.inside.wait_until_quiet()
    zookeeper.inside.assert_no_watches()
    assert events == ["NONE"]


def test_a_partitioned_client_hears_nothing_and_is_not_heard(
    zookeeper: EmbeddedServer, connect: Connect
) -> None:
    cut_off, other = connect(), connect()
    with zookeeper.faults.partition(cut_off):
        asked = cut_off.create_async("/a")
        other.create("/b")
        assert other.exists("/a") is None
        assert not asked.ready()
    assert asked.get(timeout=WAIT_S) == "/a"


def test_a_partition_outlives_the_session_on_a_clock_that_is_moved(
    zookeeper: EmbeddedServer, connect: Connect
) -> None:
    cut_off, other = connect(timeout=30.0), connect(timeout=30.0)
    states = States(cut_off)
    cut_off.create("/e", ephemeral=True)
    other.create("/f", ephemeral=True)
    zookeeper.faults.partition(cut_off, for_s=40)
    zookeeper.clock.move(29)
    zookeeper.inside.assert_path("/e")
    zookeeper.clock.move(2)
    zookeeper.inside.assert_path("/e", exists=False)
    # It cannot know yet; the other client has pinged in those 31 s.
    assert states.seen == []
    zookeeper.inside.assert_path("/f", ephemeral=True)
    zookeeper.clock.move(10)
    states.wait_for(SUSPENDED, LOST, CONNECTED)


def test_a_client_that_reconnects_is_partitioned_still(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    states = States(zookeeper_client)
    with zookeeper.faults.partition(zookeeper_client):
        zookeeper.faults.cut(zookeeper_client)
        states.wait_for(SUSPENDED)
        asked = zookeeper_client.sync_async("/")
        zookeeper.inside.wait_until_quiet()
        assert not asked.ready()
        assert CONNECTED not in states.seen
    states.wait_for(SUSPENDED, CONNECTED)
    assert LOST not in states.seen


def test_what_cannot_happen_is_said(zookeeper: EmbeddedServer) -> None:
    never_started = zookeeper.client()
    with pytest.raises(FaultError, match="start the client"):
        zookeeper.faults.cut(never_started)
    with pytest.raises(FaultError, match="0x5 cannot expire"):
        zookeeper.faults.expire(5)
    with pytest.raises(FaultError, match="0x5 has no connection"):
        zookeeper.faults.cut(5)
    with pytest.raises(ValueError, match="times=0"):
        zookeeper.faults.on(times=0)
    with pytest.raises(FaultError, match="connect request"):
        zookeeper.faults.on(OpCode.CREATE_SESSION).answer(ErrorCode.NO_AUTH)
    assert zookeeper.faults.story == ()


# --- Requests


def test_a_create_whose_reply_is_lost_was_made(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    zookeeper.faults.on(OpCode.CREATE, "/a").drop_reply()
    with pytest.raises(ConnectionLoss):
        zookeeper_client.create("/a", b"mine")
    zookeeper.inside.assert_path("/a", b"mine")
    with pytest.raises(NodeExistsError):
        zookeeper_client.retry(zookeeper_client.create, "/a", b"mine")


def test_a_retried_create_meets_its_own_znode(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    zookeeper.faults.on(OpCode.CREATE, "/a").drop_reply()
    with pytest.raises(NodeExistsError):
        zookeeper_client.retry(zookeeper_client.create, "/a")
    zookeeper.faults.on(OpCode.CREATE, "/s-").drop_reply()
    zookeeper_client.retry(zookeeper_client.create, "/s-", sequence=True)
    assert zookeeper.inside.paths() == ["/a", "/s-0000000001", "/s-0000000002"]


def test_a_lock_finds_its_znode_after_a_lost_reply(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    zookeeper_client.ensure_path("/lock")
    lost = zookeeper.faults.on(OpCode.CREATE, "/lock/*").drop_reply()
    with zookeeper_client.Lock("/lock"):
        assert lost.count == 1
        assert len(zookeeper.inside.paths("/lock")) == 1


def test_a_lost_request_was_never_taken(zookeeper: EmbeddedServer, zookeeper_client: Any) -> None:
    zookeeper.faults.on(OpCode.CREATE).lose_request()
    with pytest.raises(ConnectionLoss):
        zookeeper_client.create("/a")
    zookeeper.inside.assert_path("/a", exists=False)
    assert zookeeper_client.retry(zookeeper_client.create, "/a") == "/a"


def test_a_request_is_answered_with_an_error(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    zookeeper_client.create("/a", b"1")
    zookeeper.faults.on(OpCode.SET_DATA).answer(ErrorCode.BAD_VERSION)
    with pytest.raises(BadVersionError):
        zookeeper_client.set("/a", b"2")
    zookeeper.inside.assert_path("/a", b"1")
    zookeeper_client.set("/a", b"3")
    zookeeper.inside.assert_path("/a", b"3")


def test_an_answer_in_the_servers_place_keeps_its_turn(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    zookeeper.faults.on(OpCode.EXISTS, "/b").answer(ErrorCode.NO_NODE)
    zookeeper.disk.hold_syncs()
    created = zookeeper_client.create_async("/a")
    missing = zookeeper_client.exists_async("/b")
    behind = zookeeper_client.exists_async("/c")
    zookeeper.disk.wait_for_sync()
    assert not missing.ready()
    zookeeper.disk.release_syncs()
    assert behind.get(timeout=WAIT_S) is missing.get(timeout=WAIT_S) is None
    assert created.get(timeout=WAIT_S) == "/a"


def test_a_reply_is_delayed_on_the_servers_clock_and_nothing_else_is(
    zookeeper: EmbeddedServer, connect: Connect
) -> None:
    slow, other = connect(), connect()
    zookeeper.clock.freeze()
    delayed = zookeeper.faults.on(OpCode.CREATE, session=slow).delay(30)
    first = slow.create_async("/a")
    second = slow.create_async("/b")
    delayed.wait()
    other.sync("/")
    assert other.exists("/a")
    zookeeper.clock.move(29)
    assert not first.ready()
    assert not second.ready()
    zookeeper.clock.move(1)
    assert [first.get(timeout=WAIT_S), second.get(timeout=WAIT_S)] == ["/a", "/b"]


def test_a_short_delay_ends_by_itself(zookeeper: EmbeddedServer, zookeeper_client: Any) -> None:
    zookeeper.faults.on(OpCode.CREATE).delay(0.01)
    assert zookeeper_client.create("/a") == "/a"


def test_a_session_expires_at_a_request(zookeeper: EmbeddedServer, zookeeper_client: Any) -> None:
    states = States(zookeeper_client)
    zookeeper.faults.on(OpCode.CREATE, "/a").expire()
    with pytest.raises((ConnectionLoss, SessionExpiredError)):
        zookeeper_client.create("/a")
    states.wait_for(LOST, CONNECTED)
    zookeeper.inside.assert_path("/a", exists=False)


def test_a_partition_begins_behind_a_request(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    begun = zookeeper.faults.on(OpCode.CREATE, "/a").partition()
    created = zookeeper_client.create_async("/a")
    begun.wait()
    zookeeper.inside.wait_until_quiet()
    zookeeper.inside.assert_path("/a")
    assert not created.ready()
    zookeeper.faults.clear()
    assert created.get(timeout=WAIT_S) == "/a"


def test_a_partition_behind_a_request_ends_in_time(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    zookeeper.clock.freeze()
    begun = zookeeper.faults.on(OpCode.CREATE, "/a").partition(for_s=5)
    created = zookeeper_client.create_async("/a")
    begun.wait()
    zookeeper.clock.move(5)
    assert created.get(timeout=WAIT_S) == "/a"


# --- Whom, and how often


def outcomes(client: Any, path: str, count: int) -> str:
    """Set a znode so often; return a letter for each: done, or error."""
    letters = []
    for _ in range(count):
        try:
            client.set(path, b"")
        except KazooException:
            letters.append("e")
        else:
            letters.append("d")
    return "".join(letters)


def test_a_fault_happens_so_often(zookeeper: EmbeddedServer, zookeeper_client: Any) -> None:
    zookeeper_client.create("/a")
    error = ErrorCode.BAD_VERSION
    fault = zookeeper.faults.on(OpCode.SET_DATA, times=2).answer(error)
    assert outcomes(zookeeper_client, "/a", 4) == "eedd"
    assert fault.count == 2
    with zookeeper.faults.on(OpCode.SET_DATA, times=None).answer(error):
        assert outcomes(zookeeper_client, "/a", 4) == "eeee"
    assert outcomes(zookeeper_client, "/a", 1) == "d"


def test_a_fault_happens_to_whom_it_is_meant_for(
    zookeeper: EmbeddedServer, connect: Connect
) -> None:
    one, two = connect(), connect()
    one.create("/a")
    one.create("/b")
    faults, error = zookeeper.faults, ErrorCode.BAD_VERSION
    with faults.on(session=two, path="/a", times=None).answer(error):
        assert outcomes(one, "/a", 1) + outcomes(two, "/b", 1) + outcomes(two, "/a", 1) == "dde"
    with faults.on({OpCode.MULTI, OpCode.DELETE}, "/?", times=None).answer(error):
        parts = one.transaction()
        parts.check("/x/y", -1)
        parts.set_data("/b", b"")
        with pytest.raises(BadVersionError):
            parts.commit()
        assert outcomes(one, "/b", 1) == "d"


def test_chance_is_the_same_again_with_its_seed(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    zookeeper_client.create("/a")

    def run(seed: int) -> str:
        faults = zookeeper.faults.on(OpCode.SET_DATA, times=None, chance=0.5, seed=seed)
        with faults.answer(ErrorCode.BAD_VERSION):
            return outcomes(zookeeper_client, "/a", 30)

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert {"d", "e"} == set(run(1))


def test_pings_and_reconnections_are_not_meant_by_any_request(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    fault = zookeeper.faults.on(session=zookeeper_client).answer(ErrorCode.NO_AUTH)
    states = States(zookeeper_client)
    zookeeper.faults.cut(zookeeper_client)
    states.wait_for(SUSPENDED, CONNECTED)
    assert fault.count == 0


def test_the_reply_to_a_connect_may_be_lost(zookeeper: EmbeddedServer) -> None:
    lost = zookeeper.faults.on(OpCode.CREATE_SESSION).drop_reply()
    client = zookeeper.client()
    client.start()
    assert lost.count == 1
    # The client never heard of its first session: only its time will end it.
    assert len(zookeeper.inside.sessions()) == 2
    with pytest.raises(AssertionError, match=r"(?s)1 sessions are left.*not connected"):
        zookeeper.inside.assert_no_leaked_sessions(client)
    client.stop()
    client.close()


def test_what_was_injected_is_told(zookeeper: EmbeddedServer, zookeeper_client: Any) -> None:
    name = f"session 0x{zookeeper_client.client_id[0]:x}"
    states = States(zookeeper_client)
    zookeeper.faults.on(OpCode.CREATE, "/a", chance=0.999, seed=3).answer(ErrorCode.NO_NODE)
    with pytest.raises(NoNodeError):
        zookeeper_client.create("/a")
    zookeeper.faults.cut(zookeeper_client)
    states.wait_for(SUSPENDED, CONNECTED)
    assert zookeeper.faults.story == (
        f"answer NO_NODE: {name} CREATE /a",
        f"cut the connection of {name}",
    )


def test_waiting_for_a_fault_that_does_not_happen_tells_what_did(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    zookeeper_client.create("/a")
    fault = zookeeper.faults.on(OpCode.DELETE, "/a", chance=0.5, seed=7).drop_reply()
    with pytest.raises(TimeoutError, match=r"(?s)drop the reply on DELETE of /a .*seed 7.*CREATE"):
        fault.wait(timeout_s=0.01)


def test_a_closed_client_is_no_fault(zookeeper: EmbeddedServer, zookeeper_client: Any) -> None:
    zookeeper_client.stop()
    with pytest.raises(ConnectionClosedError):
        zookeeper_client.get("/")
    zookeeper.inside.assert_no_leaked_sessions()


def test_what_is_done_to_the_whole_server_is_told_too() -> None:
    with EmbeddedServer() as server:
        server.clock.freeze()
        server.clock.move(2)
        server.disk.hold_syncs()
        server.disk.fill()
        server.disk.fail_syncs()
        server.heal()
        server.pause()
        server.resume()
        server.restart()
        server.kill(seed=4)
        server.start()
        server.addresses[0].stop()
        assert server.faults.story == (
            "freeze the clock",
            "move the clock 2 s",
            "hold the syncs",
            "fill the disk",
            "fail the syncs: [Errno 5] Input/output error",
            "pause the server",
            "stop the server",
            "kill the server, seed 4",
            f"stop the address {server.hosts}",
        )
