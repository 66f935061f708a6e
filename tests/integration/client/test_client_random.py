"""Sixteen threads share one `Client`, on a network and a server that fail at random.

The threads also change one counter, each with the version that it has read. The model: each version
of the counter was made by the one call that succeeded with it, or by a call whose outcome the
client did not learn.
"""

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest

from tests.support.forks import in_child
from tests.support.outcomes import Noted, Running
from tests.support.proxy import Proxy
from tests.support.waiting import WAIT_S, wait_until
from zoolet.client import (
    BadVersionError,
    CallFuture,
    Client,
    ClientOptions,
    ConnectionLossError,
    CreateMode,
    DeadlineError,
    ForkedClientError,
    NoNodeError,
    SessionExpiredError,
    SessionState,
    ZooKeeperError,
)
from zoolet.testing import EmbeddedServer
from zoolet.testing.servers.faults import FaultError

THREADS = 16
CALL_S = 10.0

NORMAL = (ConnectionLossError, DeadlineError, SessionExpiredError, NoNodeError)
"""The errors that the faults may cause."""


class Story:
    """What the threads have seen.

    Attributes:
        made: the versions of the counter that successful calls have made.
        unknown: the versions that calls without an outcome may have made.
        unawaited: futures for which no thread waited.
        counts: how often each thing happened.
        watches: for each watch, what its function was called with.
        set_watches: those of the watches that are certainly set.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: list[int] = []
        self.unknown: list[int] = []
        self.unawaited: list[CallFuture[Any]] = []
        self.counts: Counter[str] = Counter()
        self.watches: list[list[object]] = []
        self.set_watches: list[list[object]] = []

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1


class Caller:
    """One of the threads."""

    def __init__(self, client: Client, story: Story, number: int, seed: int) -> None:
        self._client = client
        self._story = story
        self._number = number
        self._chance = random.Random(seed)

    def call_until(self, stops: threading.Event) -> None:
        acts: list[Callable[[], None]] = [
            self._increment,
            self._increment_with_future,
            self._read,
            self._watch,
            self._pipeline,
            self._cancel,
            self._forget,
            self._make_ephemeral,
        ]
        while not stops.is_set():
            act = self._chance.choice(acts)
            self._story.count("begun")
            try:
                act()
            except NORMAL as error:
                self._story.count(type(error).__name__)
            self._story.count("ended")

    def _timeout_s(self) -> float | None:
        return self._chance.choice([None, None, None, 0.3, 0.01, 0.001])

    def _increment(self) -> None:
        version = self._client.get("/counter").stat.version
        self._note_change(
            version, lambda: self._client.set("/counter", self._data(), version=version)
        )

    def _increment_with_future(self) -> None:
        version = self._client.futures.get("/counter").result().stat.version
        future = self._client.futures.set(
            "/counter", self._data(), version=version, timeout_s=self._timeout_s()
        )
        if self._chance.random() < 0.2:
            if not future.cancel():
                self._note_unknown(version)
            return
        self._note_change(version, future.result)

    def _data(self) -> bytes:
        return self._chance.randbytes(self._chance.choice([0, 10, 20_000]))

    def _note_change(self, version: int, change: Callable[[], Any]) -> None:
        try:
            made = change().version
        except (BadVersionError, SessionExpiredError):
            return
        except (ConnectionLossError, DeadlineError) as error:
            if "not sent" not in str(error):
                self._note_unknown(version)
            raise
        assert made == version + 1
        with self._story.lock:
            self._story.made.append(made)

    def _note_unknown(self, version: int) -> None:
        with self._story.lock:
            self._story.unknown.append(version + 1)

    def _read(self) -> None:
        timeout_s = self._timeout_s()
        assert self._client.exists("/counter", timeout_s=timeout_s) is not None
        assert "counter" in self._client.children("/", timeout_s=timeout_s).names

    def _watch(self) -> None:
        calls: list[object] = []
        with self._story.lock:
            self._story.watches.append(calls)
        self._client.get("/counter", watch=calls.append, timeout_s=self._timeout_s())
        with self._story.lock:
            self._story.set_watches.append(calls)

    def _pipeline(self) -> None:
        futures = [self._client.futures.get("/counter") for _ in range(self._chance.randrange(100))]
        versions = []
        for future in futures:
            with contextlib.suppress(*NORMAL):
                versions.append(future.result().stat.version)
        assert versions == sorted(versions)

    def _cancel(self) -> None:
        future = self._client.futures.get("/counter")
        waiting = self._chance.random() < 0.1 and Running(future.result)
        future.cancel()
        assert future.done()
        if waiting:
            error = waiting.wait()
            assert error is None or isinstance(error, (CancelledError, *NORMAL))

    def _forget(self) -> None:
        future = self._client.futures.get("/counter", timeout_s=self._timeout_s())
        with self._story.lock:
            self._story.unawaited.append(future)
        with contextlib.suppress(TimeoutError):
            future.result(0.0)

    def _make_ephemeral(self) -> None:
        mode = CreateMode.EPHEMERAL_SEQUENTIAL
        path = self._client.create(f"/e-{self._number}-", mode=mode).path
        self._client.delete(path)


class Faults:
    """Makes faults at random, one after another."""

    def __init__(self, server: EmbeddedServer, proxy: Proxy, client: Client, seed: int) -> None:
        self._server = server
        self._proxy = proxy
        self._client = client
        self._chance = random.Random(seed)
        self._never = threading.Event()

    def make(self, stops: threading.Event) -> None:
        acts: list[Callable[[], None]] = [
            self._proxy.cut,
            lambda: self._during(self._proxy.cut_off()),
            lambda: self._during(self._proxy.replies_lost()),
            lambda: self._during(self._proxy.replies_held()),
            self._expire,
            self._fork,
        ]
        while not stops.wait(self._chance.uniform(0.0, 0.2)):
            self._chance.choice(acts)()

    def _during(self, fault: contextlib.AbstractContextManager[None]) -> None:
        with fault:
            self._never.wait(self._chance.uniform(0.0, 0.2))

    def _expire(self) -> None:
        with contextlib.suppress(FaultError):
            self._server.faults.expire(self._client.session_id.id)

    def _fork(self) -> None:
        def call() -> None:
            with contextlib.suppress(ForkedClientError):
                self._client.get("/counter")
                raise AssertionError("the child could call")

        assert in_child(call) == 0


def check_counter(story: Story, version: int) -> None:
    """Check that the calls explain each version of the counter."""
    assert len(set(story.made)) == len(story.made), "two calls made the same version"
    assert max(story.made, default=0) <= version
    unexplained = set(range(1, version + 1)) - set(story.made) - set(story.unknown)
    assert not unexplained, f"no call made the versions {sorted(unexplained)}"


def check_nothing_is_left(client: Client, story: Story) -> None:
    """Check that the client is idle, and that each call has ended."""
    engine = client._engine
    wait_until(lambda: all(each.done() for each in story.unawaited), "each future is done")
    for future in story.unawaited:
        with contextlib.suppress(ZooKeeperError):
            future.result(0.0)
    wait_until(lambda: not engine.session.has_outstanding, "nothing is outstanding")
    wait_until(lambda: engine.reader == engine.followers.background, "the background reads")
    with engine.lock:
        assert not engine.followers.waiters
        assert not engine.followers.due
        assert not engine.unsent
        assert not engine.followers.program_runs_in
        assert engine.session.outstanding_bytes == 0
    assert story.counts["begun"] == story.counts["ended"]
    assert all(len(calls) <= 1 for calls in story.watches), "a watch was called twice"


def unless_failed(
    run: Callable[[threading.Event], None], stops: threading.Event, failed: threading.Event
) -> None:
    """Run until the end of the test; a failure ends it early."""
    try:
        run(stops)
    except BaseException:
        failed.set()
        raise


def test_sixteen_threads_share_a_client(request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("--client-seed") or random.randrange(1, 1 << 32)
    print(f"seed {seed}")
    story, stops, failed = Story(), threading.Event(), threading.Event()
    options = ClientOptions(
        session_timeout_ms=4000, connect_timeout_s=WAIT_S, call_timeout_s=CALL_S
    )
    with (
        EmbeddedServer() as server,
        Proxy(server.port) as proxy,
        Client(proxy.hosts, options) as client,
    ):
        states = Noted()
        client.add_listener(states)
        client.create("/counter")
        callers = [Caller(client, story, number, seed + number) for number in range(THREADS)]
        makers = [caller.call_until for caller in callers]
        makers.append(Faults(server, proxy, client, seed).make)
        threads = [Running(unless_failed, maker, stops, failed) for maker in makers]
        failed.wait(request.config.getoption("--client-threads-s"))
        stops.set()
        for each in threads:
            each.end()
        wait_until(lambda: client.state is SessionState.CONNECTED, "the client connects")
        check_counter(story, client.get("/counter").stat.version)
        client.set("/counter", b"the end")  # triggers the watches that are left
        wait_until(lambda: all(story.set_watches), "each watch is called")
        check_nothing_is_left(client, story)
        print(story.counts, Counter(states.all))
        assert len(story.made) > 10
