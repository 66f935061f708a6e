"""Functions of the program that block, in `Client`: it goes on to read, and the order stays."""

import random
import threading
from collections.abc import Iterator

import pytest

from tests.support.outcomes import Noted, Running
from tests.support.waiting import WAIT_S, wait_until
from zoolet.client import Client, ClientOptions, Event, Resynced, SessionState
from zoolet.testing import EmbeddedServer, OpCode

OPTIONS = ClientOptions(connect_timeout_s=WAIT_S, call_timeout_s=WAIT_S)


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


class Blocking:
    """A function for watches that blocks until it may end."""

    def __init__(self) -> None:
        self.runs = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, _: object) -> None:
        self.runs.set()
        assert self.may_end.wait(WAIT_S)


def handlers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "zoolet-client-functions"]


def test_the_session_outlives_a_function_that_blocks() -> None:
    options = ClientOptions(session_timeout_ms=2000)
    with (
        EmbeddedServer(settings={"tickTime": 1000}) as server,
        Client(server.hosts, options) as client,
    ):
        assert client.session_timeout_ms == 2000
        pings = server.faults.on(OpCode.PING, times=None).delay(0.0)
        states, blocks = Noted(), Blocking()
        client.add_listener(states)
        client.create("/a")
        client.get("/a", watch=blocks)
        client.futures.set("/a", b"1")
        assert blocks.runs.wait(WAIT_S)
        session = client.session_id
        before = pings.count
        # The client sends at most three pings in each session timeout.
        wait_until(lambda: pings.count > before + 4, "the client sends pings")
        blocks.may_end.set()
        assert client.get("/a").data == b"1"
        assert client.session_id == session
        assert states.all == []


def test_replies_and_events_wait_for_a_function_in_their_order(server: EmbeddedServer) -> None:
    with Client(server.hosts, OPTIONS) as client:
        blocks, noted = Blocking(), Noted()
        client.create("/a")
        client.get("/a", watch=blocks)
        changes = client.watch("/a")
        changes.start()
        client.add_watch("/a", noted)
        client.futures.set("/a", b"1")
        assert blocks.runs.wait(WAIT_S)
        reading = Running(client.get, "/a")
        future = client.futures.get("/a")
        server.inside.wait_until_quiet()
        assert reading.goes_on
        assert not noted.all
        assert changes.take_waiting() == []
        blocks.may_end.set()
        assert reading.end().data == b"1"
        assert future.result().data == b"1"
        assert len(noted.all) == len(changes.take_waiting()) == 1


def test_there_is_no_thread_for_functions_without_functions(server: EmbeddedServer) -> None:
    before = handlers()
    with Client(server.hosts, OPTIONS) as client:
        client.create("/a")
        with client.watch("/a") as changes, client.lock("/lock"):
            client.set("/a", b"1")
            assert isinstance(changes.next(timeout_s=WAIT_S), Event)
            assert handlers() == before
        client.get("/a", watch=Noted())
        client.set("/a", b"2")
        assert len(handlers()) == len(before) + 1
    wait_until(lambda: handlers() == before, "the thread ends with its client")


def test_the_listeners_are_told_the_end_before_close_returns(server: EmbeddedServer) -> None:
    for _ in range(20):
        client, states = Client(server.hosts, OPTIONS), Noted()
        client.add_listener(states)
        client.start()
        client.close()
        assert states.all == [SessionState.CONNECTED, SessionState.CLOSED]


def test_too_many_events_behind_a_function_end_the_connection(server: EmbeddedServer) -> None:
    with Client(server.hosts, OPTIONS) as client, Client(server.hosts, OPTIONS) as other:
        client._engine.followers.max_due = 20
        blocks, noted = Blocking(), Noted()
        client.create("/a")
        client.get("/a", watch=blocks)
        client.add_watch("/a", noted)
        other.set("/a", b"1")
        assert blocks.runs.wait(WAIT_S)

        def is_cut() -> bool:
            other.set("/a", b"2")
            return len(server.inside.sessions()) < 2 or client.state is SessionState.SUSPENDED

        wait_until(is_cut, "the client disconnects")
        assert len(client._engine.followers.due) < 200
        blocks.may_end.set()
        noted.until(lambda what: isinstance(what, Resynced))
        version = other.set("/a", b"3").version
        wait_until(lambda: client.get("/a").stat.version == version, "the client goes on")


@pytest.mark.parametrize("seed", range(4))
def test_random_slow_functions_come_before_the_replies_that_show_their_change(
    server: EmbeddedServer, seed: int
) -> None:
    chance = random.Random(seed)
    with Client(server.hosts, OPTIONS) as client, Client(server.hosts, OPTIONS) as other:
        client.create("/a")
        seen: list[int] = []
        pauses = threading.Event()

        def note(event: Event | Resynced) -> None:
            assert isinstance(event, Event)
            pauses.wait(chance.choice([0.0, 0.0, 0.001, 0.02]))
            seen.append(len(seen) + 1)

        client.add_watch("/a", note)
        with client.watch("/a") as changes:
            stops = threading.Event()

            def read() -> None:
                events = 0
                while not stops.is_set():
                    version = client.get("/a").stat.version
                    assert len(seen) >= version
                    assert events + len(changes.take_waiting()) >= 0
                    events = version

            readers = [Running(read) for _ in range(3)]
            for number in range(1, 100):
                setter = chance.choice([client, other])
                assert setter.set("/a", b"").version == number
                if setter is client:
                    assert len(seen) >= number
            wait_until(lambda: len(seen) == 99, "all functions are called")
            stops.set()
            for reader in readers:
                reader.end()
