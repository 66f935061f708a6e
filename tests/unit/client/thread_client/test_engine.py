"""Which thread reads, who is woken, and the background thread, on a server of the test."""

import contextlib
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from tests.support.interpreted import interpreted_only
from tests.support.outcomes import Noted, Running
from tests.support.scripted_server import (
    Accepted,
    Asked,
    ScriptedServer,
    data_frame,
    event_frame,
    reply_frame,
)
from tests.support.waiting import WAIT_S, wait_until
from zoolet.client import (
    Client,
    ClientClosedError,
    ClientOptions,
    ConnectionLossError,
    DeadlineError,
    SessionState,
)
from zoolet.client.protocol.session_id import SessionId
from zoolet.model.codes import EventType, OpCode, Xid
from zoolet.testing.received_requests.frames import REQUEST_HEADER

FOREVER_S = 1000.0
"""Longer than the time limit of a test."""


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


def begun(
    server: ScriptedServer, *, grant: dict[str, int] | None = None, **options: Any
) -> tuple[Client, Accepted]:
    """Return a started client, and the server's end of its connection."""
    wanted = {"call_timeout_s": WAIT_S, "connect_timeout_s": WAIT_S, **options}
    client = Client(server.hosts, ClientOptions(**wanted))
    starting = Running(client.start)
    connection = server.granted(**(grant or {}))
    starting.end()
    return client, connection


def end(client: Client, connection: Accepted) -> None:
    """Close a client; the server replies."""
    closing = Running(client.close)
    connection.serve()
    closing.end()


def descriptors() -> set[str]:
    """Return the open descriptors and what they are."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor of this list
            found.add(f"{each.name} {each.readlink()}")
    return found


def with_watch(client: Client, connection: Accepted, function: Callable[[object], None]) -> None:
    """Set a watch on /watched."""
    getting = Running(client.get, "/watched", watch=function)
    connection.send(data_frame(connection.request().xid))
    getting.end()


def until_a_call_reads(client: Client, connection: Accepted) -> None:
    """Wait until a call that is outstanding reads, and not the background thread."""
    connection.send(event_frame(EventType.NODE_CREATED, "/unwatched"))
    engine = client._engine
    wait_until(lambda: engine.reader not in {0, engine.followers.background}, "a call reads")


CHANGED = event_frame(EventType.NODE_DATA_CHANGED, "/watched")


def test_a_program_may_hold_its_lock_while_it_calls(server: ScriptedServer) -> None:
    client, connection = begun(server)
    lock, runs = threading.Lock(), threading.Event()

    def note_change(_: object) -> None:
        runs.set()
        with lock:
            pass

    with_watch(client, connection, note_change)
    with lock:
        reading = Running(client.get, "/a")
        asked = connection.request()
        until_a_call_reads(client, connection)
        connection.send(CHANGED)
        assert runs.wait(WAIT_S)
        with pytest.raises(DeadlineError):
            client.get("/b", timeout_s=0.1)
        connection.send(data_frame(asked.xid))
    reading.end()
    end(client, connection)


def test_two_threads_wait_for_one_future(server: ScriptedServer) -> None:
    client, connection = begun(server)
    reading = Running(client.get, "/a")
    first = connection.request()
    until_a_call_reads(client, connection)
    future = client.futures.get("/b")
    both = [Running(future.result) for _ in range(2)]
    wait_until(lambda: len(client._engine.followers.waiters) == 2, "two threads wait")
    connection.send(data_frame(first.xid), data_frame(connection.request().xid, b"b"))
    assert [each.end().data for each in both] == [b"b", b"b"]
    reading.end()
    end(client, connection)


def test_a_cancel_wakes_the_threads_that_wait(server: ScriptedServer) -> None:
    client, connection = begun(server)
    reading = Running(client.get, "/a")
    first = connection.request()
    until_a_call_reads(client, connection)
    future = client.futures.get("/b")
    second = connection.request()
    waiting = Running(future.result)
    wait_until(lambda: bool(client._engine.followers.waiters), "a thread waits")
    assert not future.cancel()  # it was sent
    assert isinstance(waiting.wait(), CancelledError)
    connection.send(data_frame(first.xid), data_frame(second.xid))
    reading.end()
    end(client, connection)


def test_a_function_for_watches_must_not_wait(server: ScriptedServer) -> None:
    client, connection = begun(server)
    old = client.futures.get("/old")
    connection.send(data_frame(connection.request().xid))
    assert old.result().data == b""
    sent: list[Any] = []
    outcomes: list[object] = []

    def try_all(_: object) -> None:
        sent.append(client.futures.get("/sent"))
        calls: list[Callable[[], object]] = [
            lambda: client.get("/a"),
            lambda: client.add_auth("digest", "a:b"),
            sent[0].result,
            client.close,
            old.result,
        ]
        for call in calls:
            try:
                outcomes.append(call())
            except RuntimeError as error:
                outcomes.append(str(error))

    with_watch(client, connection, try_all)
    connection.send(CHANGED)
    connection.send(data_frame(connection.request().xid, b"sent"))
    wait_until(lambda: len(outcomes) == 5, "the function has ended")
    refusal = "a function for watches or states must not wait for the client"
    assert outcomes == [refusal] * 4 + [old.result()]
    assert sent[0].result().data == b"sent"
    end(client, connection)


@pytest.mark.parametrize("is_idle", [False, True], ids=["read by a call", "read by the background"])
def test_an_exit_in_a_function_of_the_program(server: ScriptedServer, is_idle: bool) -> None:
    client, connection = begun(server)
    ran = threading.Event()

    def leave(_: object) -> None:
        ran.set()
        sys.exit(3)

    with_watch(client, connection, leave)
    if is_idle:
        wait_until(
            lambda: client._engine.reader == client._engine.followers.background,
            "the background thread reads",
        )
        connection.send(CHANGED)
        assert ran.wait(WAIT_S)
    else:
        reading = Running(client.get, "/a")
        first = connection.request()
        until_a_call_reads(client, connection)
        following = Running(client.get, "/b")
        second = connection.request()
        wait_until(lambda: bool(client._engine.followers.waiters), "a thread waits")
        connection.send(CHANGED, data_frame(first.xid, b"a"), data_frame(second.xid, b"b"))
        assert reading.end().data == b"a"
        assert following.end().data == b"b"
        assert ran.is_set()
    getting = Running(client.get, "/c")
    connection.send(data_frame(connection.request().xid))
    getting.end()
    end(client, connection)


def test_the_outcomes_before_invalid_bytes_are_passed_on(server: ScriptedServer) -> None:
    client, connection = begun(server)
    reading = Running(client.get, "/a")
    first = connection.request()
    until_a_call_reads(client, connection)
    following = Running(client.get, "/b")
    connection.request()
    wait_until(lambda: bool(client._engine.followers.waiters), "a thread waits")
    connection.send(data_frame(first.xid, b"a"), reply_frame(12345))
    assert reading.end().data == b"a"
    assert isinstance(following.wait(), ConnectionLossError)
    end(client, server.granted())


def test_a_client_moves_to_other_servers_while_it_is_idle(server: ScriptedServer) -> None:
    client, connection = begun(server)
    with ScriptedServer() as other:
        other.serve_all()
        wait_until(
            lambda: client._engine.reader == client._engine.followers.background,
            "the background thread reads",
        )
        client.change_hosts(other.hosts)
        assert connection.read_frame() == b""
        assert client.get("/a").data == b""
        assert str(client.address) == other.hosts
        client.close()


def test_a_client_moves_to_other_servers_while_a_thread_reads(server: ScriptedServer) -> None:
    client, connection = begun(server)
    with ScriptedServer() as other:
        other.serve_all()
        reading = Running(client.get, "/a")
        connection.request()
        until_a_call_reads(client, connection)
        client.change_hosts(other.hosts)
        assert isinstance(reading.wait(), ConnectionLossError)
        assert client.get("/a").data == b""
        client.close()


def test_a_close_without_a_server_does_not_wait_for_one(server: ScriptedServer) -> None:
    client, connection = begun(server, call_timeout_s=0.0)
    server.close()
    connection.close()
    wait_until(lambda: client.state is SessionState.SUSPENDED, "the connection is lost")
    calling = [Running(client.get, "/a") for _ in range(3)]
    waiting = [client.futures.get("/a") for _ in range(3)]
    client.close(FOREVER_S)
    assert client.state is SessionState.CLOSED
    for each in calling:
        assert isinstance(each.wait(), ClientClosedError)
    for future in waiting:
        with pytest.raises(ClientClosedError):
            future.result()


def test_a_close_ends_calls_that_wait_to_be_sent(server: ScriptedServer) -> None:
    client, connection = begun(server, call_timeout_s=0.0, max_outstanding_bytes=1)
    calling = [Running(client.get, "/a") for _ in range(4)]
    connection.request()
    wait_until(lambda: len(client._engine.session._waiting) == 3, "three calls wait")
    client.close(0.0)
    assert client.state is SessionState.CLOSED
    errors = {type(each.wait()) for each in calling}
    assert errors <= {ClientClosedError, ConnectionLossError}


@interpreted_only
def test_the_thread_that_reads_frees_the_descriptor_of_a_closed_client(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, connection = begun(server)
    engine = client._engine
    transport, read_until = engine.transport, engine._read_until
    assert transport is not None
    has_read, may_go_on = threading.Event(), threading.Event()

    def read_and_wait(*args: Any) -> None:
        read_until(*args)
        has_read.set()
        assert may_go_on.wait(WAIT_S)

    monkeypatch.setattr(engine, "_read_until", read_and_wait)
    reading = Running(client.get, "/a")
    asked = connection.request()
    until_a_call_reads(client, connection)
    connection.send(data_frame(asked.xid))
    assert has_read.wait(WAIT_S)
    client.close(0.0)
    may_go_on.set()
    reading.end()
    assert transport.fileno() == -1


def test_threads_may_close_at_the_same_time(server: ScriptedServer) -> None:
    before = descriptors()
    client, connection = begun(server)
    closing = [Running(client.close) for _ in range(4)]
    connection.serve()
    for each in closing:
        each.end()
    client.close()
    connection.close()
    assert descriptors() <= before


def test_a_session_that_ends_frees_the_descriptors(server: ScriptedServer) -> None:
    before = descriptors()
    client, connection = begun(server, renews_session=False)
    states = Noted()
    client.add_listener(states)
    connection.close()
    server.granted(session_id=0, timeout_ms=0).close()
    states.until(lambda state: state is SessionState.EXPIRED)
    client.close()
    assert client.state is SessionState.CLOSED
    assert descriptors() <= before


def test_a_resumed_session_that_has_expired_is_told_at_once(server: ScriptedServer) -> None:
    options = ClientOptions(
        session=SessionId(5, bytes(16)), renews_session=False, connect_timeout_s=FOREVER_S
    )
    starting = Running(Client(server.hosts, options).start)
    server.granted(session_id=0, timeout_ms=0).close()
    assert "SessionExpiredError" in repr(starting.wait())


def test_no_pause_comes_before_the_next_session(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, connection = begun(server)
    pauses = itertools.count()
    monkeypatch.setattr(client._engine.order, "pause_s", lambda: next(pauses) * 0.0)
    getting = Running(client.get, "/a")
    connection.send(data_frame(connection.request().xid))
    getting.end()
    connection.close()
    server.granted(session_id=0, timeout_ms=0).close()
    connection = server.granted(session_id=8)
    assert next(pauses) == 0, "the client has paused"
    end(client, connection)


def test_a_close_during_the_start_ends_it(server: ScriptedServer) -> None:
    client = Client(server.hosts, ClientOptions(connect_timeout_s=FOREVER_S))
    starting = Running(client.start)
    connection = server.next()
    client.close()
    assert isinstance(starting.wait(), ClientClosedError)
    connection.close()


def test_a_server_that_closes_at_once_is_not_asked_without_pauses() -> None:
    with ScriptedServer(closes_at_once=True) as server:
        client = Client(server.hosts, ClientOptions(connect_timeout_s=1.0))
        with pytest.raises(Exception, match=r"closed the connection|reset by peer"):
            client.start()
        # The pauses are 25 ms at least, and double.
        assert 1 <= server.accepted_count <= 40


def test_a_silent_server_does_not_take_the_time_of_the_next_one(server: ScriptedServer) -> None:
    with ScriptedServer() as silent:
        server.serve_all()
        hosts = ",".join([silent.hosts] * 3 + [server.hosts])
        with Client(hosts, ClientOptions(connect_timeout_s=2.0)) as client:
            assert client.get("/a").data == b""


def test_pings_are_sent_while_a_call_waits(server: ScriptedServer) -> None:
    client, connection = begun(server, grant={"timeout_ms": 2000})
    waiting = Running(client.get, "/a")
    asked = connection.request()
    for _ in range(3):
        header = Asked(*REQUEST_HEADER.unpack_from(connection.read_frame()))
        assert header == (Xid.PING.value, OpCode.PING.value)
        connection.send(reply_frame(Xid.PING.value))
    connection.send(data_frame(asked.xid, b"late"))
    assert waiting.end().data == b"late"
    assert client.state is SessionState.CONNECTED
    end(client, connection)


def test_tries_go_on_after_a_long_outage(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, connection = begun(server)
    order = client._engine.order
    tries = itertools.count()
    monkeypatch.setattr(order, "pause_s", lambda: next(tries) * 0.0)
    server.close()
    connection.close()
    wait_until(lambda: next(tries) > 20, "the client has tried often")
    assert client.state is SessionState.SUSPENDED
    client.close()


def test_a_call_that_nobody_waits_for_ends_in_time_without_a_server(
    server: ScriptedServer,
) -> None:
    client, connection = begun(server)
    server.close()
    connection.close()
    wait_until(lambda: client.state is SessionState.SUSPENDED, "the connection is lost")
    future = client.futures.get("/a", timeout_s=0.01)
    wait_until(future.done, "the call has ended")
    with pytest.raises(DeadlineError, match="the request was not sent"):
        future.result()
    client.close()


def test_a_fault_of_the_background_thread_ends_all_calls(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client, connection = begun(server, call_timeout_s=0.0)

    def fail(*_: object) -> None:
        raise LookupError("a fault of the client")

    monkeypatch.setattr(client._engine.order, "next", fail)
    calling = Running(client.get, "/a")
    connection.request()
    connection.close()
    assert isinstance(calling.wait(), ConnectionLossError)
    wait_until(lambda: client.state is SessionState.CLOSED, "the client has ended")
    with pytest.raises(ClientClosedError):
        client.get("/a")
    client.close()
    assert "the client's background thread has failed" in caplog.text
