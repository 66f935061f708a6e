"""One `Client` in many threads, with forks, restarts and large znodes."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.forks import in_child
from tests.support.outcomes import Noted, Running
from tests.support.waiting import WAIT_S, wait_until
from zoolet.client import (
    Client,
    ClientClosedError,
    ClientOptions,
    ConnectionLossError,
    Event,
    ForkedClientError,
    SessionState,
    ZooKeeperError,
)
from zoolet.client.protocol.watches import DATA, Watcher
from zoolet.model.codes import OpCode
from zoolet.testing import EmbeddedServer, ServerProcess
from zoolet.testing.servers.process import ExternalServer


def options(**changes: Any) -> ClientOptions:
    return ClientOptions(**{"connect_timeout_s": WAIT_S, "call_timeout_s": WAIT_S, **changes})


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[Client]:
    with Client(server.hosts, options()) as started:
        yield started


def test_eight_threads_call(any_server: ExternalServer) -> None:
    with Client(any_server.hosts, options()) as client:

        def call(number: int) -> None:
            path = f"/{number}"
            client.create(path)
            for n in range(200):
                data = str(n).encode()
                assert client.set(path, data).version == n + 1
                futures = [client.futures.get(path) for _ in range(3)]
                assert client.get(path).data == data
                assert [future.result().data for future in futures] == [data] * 3

        for thread in [Running(call, number) for number in range(8)]:
            thread.end()


def test_a_server_restarts_while_eight_threads_call(any_server: ExternalServer) -> None:
    with Client(any_server.hosts, options()) as client:
        states, stops = Noted(), threading.Event()
        client.add_listener(states)
        client.create("/a", b"0")
        session = client.session_id

        def call() -> int:
            lost = 0
            while not stops.is_set():
                try:
                    assert client.get("/a").data == b"0"
                except ConnectionLossError:
                    lost += 1
            return lost

        threads = [Running(call) for _ in range(8)]
        for count in (1, 2):
            any_server.restart()
            wait_until(
                lambda count=count: states.all.count(SessionState.CONNECTED) >= count,  # type: ignore[misc]
                "the client connects again",
            )
        stops.set()
        # A call ends with an error at most once for each end of a connection.
        for thread in threads:
            assert thread.end() <= states.all.count(SessionState.SUSPENDED)
        assert client.session_id == session
        assert client.get("/a").data == b"0"


def test_all_calls_end_when_another_thread_closes(server: EmbeddedServer) -> None:
    client = Client(server.hosts, options(call_timeout_s=0.0))
    client.start()
    began = [threading.Event() for _ in range(8)]

    def call(number: int) -> None:
        while True:
            began[number].set()
            if number % 2:
                client.get("/")
            else:
                client.futures.get("/").result()

    threads = [Running(call, number) for number in range(8)]
    for each in began:
        assert each.wait(WAIT_S)
    client.close()
    for thread in threads:
        assert isinstance(thread.wait(), ClientClosedError | ConnectionLossError)


def test_all_calls_end_when_the_client_closes_on_a_paused_server(server: EmbeddedServer) -> None:
    client = Client(server.hosts, options(call_timeout_s=0.0, max_outstanding_bytes=200))
    client.start()
    server.pause()
    threads = [Running(client.get, "/") for _ in range(20)]
    futures = [client.futures.get("/") for _ in range(20)]
    engine = client._engine
    wait_until(lambda: len(engine.session._waiting) > 20, "calls wait to be sent")
    client.close(0.05)
    for thread in threads:
        assert isinstance(thread.wait(), ClientClosedError | ConnectionLossError)
    for future in futures:
        with pytest.raises((ClientClosedError, ConnectionLossError)):
            future.result()
    server.resume()


def test_an_event_comes_before_the_reply_that_shows_the_change(client: Client) -> None:
    client.create("/a", b"0")
    shown: list[int] = [0]

    def note(_: object) -> None:
        shown[0] += 1

    client.add_watch("/a", note)
    stops = threading.Event()

    def look() -> None:
        while not stops.is_set():
            version = client.get("/a").stat.version
            assert shown[0] >= version
            version = client.futures.get("/a").result().stat.version
            assert shown[0] >= version

    threads = [Running(look) for _ in range(4)]
    for n in range(500):
        version = client.set("/a", str(n).encode()).version
        assert shown[0] >= version
    stops.set()
    for thread in threads:
        thread.end()
    assert shown[0] == 500


def test_large_data_beside_small_calls(tmp_path: Path) -> None:
    settings = {"jute.maxbuffer": 16 << 20}
    with (
        ServerProcess(tmp_path / "server", settings) as server,
        Client(server.hosts, options()) as client,
    ):
        client.create("/small", b"small")
        stops = threading.Event()

        def call() -> int:
            count = 0
            while not stops.is_set():
                assert client.get("/small").data == b"small"
                count += 1
            return count

        def move(number: int) -> None:
            path, data = f"/big-{number}", bytes([number]) * (5 << 20)
            client.create(path)
            for _ in range(4):
                client.set(path, data)
                assert client.get(path).data == data
                both = client.futures.set(path, data), client.futures.get(path)
                assert both[1].result().data == data
                both[0].result()

        small = [Running(call) for _ in range(3)]
        for each in [Running(move, number) for number in range(2)]:
            each.end()
        stops.set()
        assert all(each.end() > 0 for each in small)
        assert client.state is SessionState.CONNECTED


def test_a_request_that_the_server_refuses_to_read_ends_the_connection(client: Client) -> None:
    with pytest.raises(ConnectionLossError):
        client.create("/a", bytes(3 << 20))  # above jute.maxbuffer
    assert client.exists("/a") is None


def test_nothing_is_left_of_fifty_clients(server: EmbeddedServer) -> None:
    def use(number: int) -> None:
        client = Client(server.hosts, options(renews_session=number % 2 == 0))
        client.start()
        client.get("/", watch=print)
        client.futures.get("/")
        if number % 5 == 1:
            with contextlib.suppress(ZooKeeperError), server.faults.on(OpCode.EXISTS).expire():
                client.exists("/")
        elif number % 5 == 2:
            with contextlib.suppress(ZooKeeperError):
                client.add_auth("no-such-scheme", "x")
        client.close()

    use(0)
    threads, descriptors = threading.active_count(), count_descriptors()
    for number in range(50):
        use(number)
    wait_until(lambda: count_descriptors() <= descriptors, "the server closes its ends")
    assert threading.active_count() == threads
    # A refused login and an expiry end the connection, not always the session.
    assert len(server.inside.sessions()) <= 20


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- Functions of the program


def test_functions_for_watches(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.create("/a")
    noted, futures = Noted(), []

    def fail(_: object) -> None:
        raise ValueError("a fault of the program")

    def call(_: object) -> None:
        client.get("/a")

    def ask(event: object) -> None:
        futures.append(client.futures.get("/a"))
        noted(event)

    for function in (fail, call, ask):
        client.get("/a", watch=function)
    client.set("/a", b"1")
    assert isinstance(noted.until(lambda what: what), Event)
    assert futures[0].result().data == b"1"
    errors = [repr(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert len(errors) == 2
    assert "ValueError" in errors[0]
    assert "RuntimeError('a function for watches" in errors[1]


def test_listeners(server: EmbeddedServer, client: Client) -> None:
    noted = Noted()

    def fail(_: object) -> None:
        raise ValueError("a fault of the program")

    def leave(_: object) -> None:
        client.remove_listener(leave)

    for listener in (fail, leave, noted):
        client.add_listener(listener)
    server.faults.cut(client.session_id.id)
    noted.until(lambda state: state is SessionState.CONNECTED)
    assert noted.all == [SessionState.SUSPENDED, SessionState.CONNECTED]
    client.remove_listener(noted)
    client.close()
    assert len(noted.all) == 2


def test_a_watch_ends_with_its_client(server: EmbeddedServer) -> None:
    client = Client(server.hosts, options())
    client.start()
    watch = client.watch("/")
    watch.start()
    reading = Running(list, watch)
    client.set("/", b"x")
    client.close()
    assert [event.path for event in reading.end()] == ["/"]


def test_a_watch_ends_if_the_client_closes_while_it_is_set(client: Client) -> None:
    class ClosingEngine:
        """Closes the client after each call."""

        def __getattr__(self, name: str) -> Any:
            return getattr(client._engine, name)

        def run(self, call: Any, timeout_s: float | None) -> None:
            client._engine.run(call, timeout_s)
            client.close()

    watch = client.watch("/")
    watch._engine = cast("Any", ClosingEngine())
    assert Running(list, watch).end() == []


# --- Forks


def assert_useless(client: Client, future: Any) -> None:
    """Check that a child of a fork can call nothing."""
    for call in (
        lambda: client.get("/"),
        lambda: client.futures.get("/"),
        lambda: client.add_auth("digest", "a:b"),
        lambda: client.change_hosts("127.0.0.1:1"),
        client.start,
        future.result,
        future.cancel,
    ):
        try:
            call()
        except ForkedClientError:
            continue
        sys.exit(f"{call} did not raise ForkedClientError")
    client.close()
    assert not client._engine.discard(Watcher("/", DATA, "/", print))


def test_a_child_cannot_call_and_the_parent_goes_on(server: EmbeddedServer) -> None:
    with Client(server.hosts, options()) as client:
        states = Noted()
        client.add_listener(states)
        with server.faults.on(OpCode.EXISTS).delay(0.2):
            future = client.futures.exists("/none")
            wait_until(lambda: len(server.inside.requests(client.session_id.id)) > 1, "it is sent")
            assert in_child(lambda: assert_useless(client, future)) == 0
            assert future.result() is None
        assert client.get("/").data == b""
        assert states.all == []


def test_a_child_may_use_a_client_of_its_own(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "server") as server, Client(server.hosts, options()) as client:

        def use_another() -> None:
            with Client(server.hosts, options()) as other:
                other.create("/child")

        assert in_child(use_another) == 0
        assert client.exists("/child") is not None


def test_forks_while_other_threads_call(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "server") as server, Client(server.hosts, options()) as client:
        states, stops = Noted(), threading.Event()
        client.add_listener(states)

        def call() -> None:
            while not stops.is_set():
                client.futures.get("/")
                client.get("/")

        threads = [Running(call) for _ in range(4)]
        future = client.futures.get("/")
        statuses = [in_child(lambda: assert_useless(client, future)) for _ in range(30)]
        with client._engine.lock:  # another thread cannot have it in the child
            statuses.append(in_child(lambda: Running(assert_useless, client, future).end()))
        stops.set()
        for thread in threads:
            thread.end()
        assert statuses == [0] * 31
        assert client.get("/").data == b""
        assert states.all == []


def test_a_client_that_is_not_started_survives_a_fork(server: EmbeddedServer) -> None:
    client = Client(server.hosts, options())

    def use() -> None:
        with client:
            client.get("/")

    assert in_child(use) == 0
    with client:
        assert client.get("/").data == b""


# --- Interrupts


def test_a_keyboard_interrupt_leaves_a_client_that_works(client: Client) -> None:
    client.create("/a", b"0")
    stops = threading.Event()
    ended: list[object] = []

    def call() -> None:
        while not stops.is_set():
            try:
                ended.append(client.get("/a").data)
            except ConnectionLossError as error:
                ended.append(error)

    threads = [Running(call) for _ in range(3)]
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        for _ in range(40):
            count = len(ended)
            wait_until(lambda count=count: len(ended) > count + 5, "calls end")  # type: ignore[misc]
            signal.pthread_kill(main, signal.SIGINT)
            interrupted.acquire(timeout=WAIT_S)

    interrupted = threading.Semaphore(0)
    interrupting = Running(interrupt)
    end_s = time.monotonic() + WAIT_S
    count = 0
    while count < 40:
        assert time.monotonic() < end_s
        try:
            while True:
                with contextlib.suppress(ConnectionLossError):
                    client.get("/a")
        except KeyboardInterrupt:
            count += 1
            interrupted.release()
    interrupting.end()
    stops.set()
    for thread in threads:
        thread.end()
    assert client.get("/a").data == b"0"
