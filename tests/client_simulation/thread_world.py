"""A `Client` in the simulation: several threads on one client, which switch by chance."""

import contextlib
import functools
import gc
import random
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, Final, cast
from unittest import mock

import zoolet.client.thread_client
from tests.client_simulation.history import CallRecord
from tests.client_simulation.sockets import Sockets, modules_of
from tests.client_simulation.threads import Threads
from tests.client_simulation.world import CALL_S, SERVED_AGAIN_S, World
from zoolet.client import Client, NoServerError, SessionState, ZooKeeperError
from zoolet.client.protocol.calls import DROPPED, ENDED, Call
from zoolet.client.thread_client import (
    client,
    connection,
    engine,
    followers,
    mailbox,
    measured,
    primitives,
    read_write_search,
    retrying,
    transport,
)
from zoolet.model.codes import WatcherType

WORKERS: Final = 3
ROUNDS: Final = 10
SLACK_S: Final = 0.3
LIMIT_S: Final = 1000.0
CHECK_S: Final = 1.0
"""How late a call without a waiting thread may end: the background thread looks now and then."""

_FOLDER: Final = str(Path(zoolet.client.thread_client.__file__).parent)
_MODULES: Final = (
    client,
    connection,
    engine,
    followers,
    mailbox,
    measured,
    primitives,
    read_write_search,
    retrying,
    transport,
)


class ThreadWorld(World):
    """One run."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, SLACK_S, is_exact=False)
        watched = _FOLDER if self.chance.random() < 0.3 else ""
        chance = random.Random(self.chance.random())
        self.threads = Threads(self.clock, chance, watched)
        self.sockets = Sockets(self.threads, self.network, chance)
        self.client: Client
        self._records: dict[int, CallRecord] = {}
        self._workers_left = WORKERS

    def run(self) -> None:
        """Run the program, and check everything."""
        gc.disable()  # it would end objects at other times when the run is repeated
        try:
            with self._simulated():
                self.clock.after(LIMIT_S, self._hangs)
                self.threads.run(self._program)
            assert not self.network.links, "a connection is left"
            assert not self.sockets.open, "a socket is left"
        finally:
            gc.enable()

    def _hangs(self) -> None:
        self.threads.fail(AssertionError("the program hangs"))

    @contextlib.contextmanager
    def _simulated(self) -> Iterator[None]:
        """Replace the threads, the clock and the sockets of the client."""
        modules = modules_of(self.threads, self.sockets)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.seeded())
            for module in _MODULES:
                for name, replacement in modules.items():
                    if hasattr(module, name):
                        stack.enter_context(mock.patch.object(module, name, replacement))
            yield

    def _program(self) -> None:
        self.client = made = Client(self.hosts, self.options())
        self._tap(made)
        made.add_listener(lambda state: self.history.tell(f"state {state.value}"))
        if self.chance.random() < 0.2:
            self.begin_faults()
        try:
            made.start()
        except NoServerError:
            self.history.tell("no server")
            self.heal()
            return
        self.begin_faults()
        for number in range(WORKERS):
            own = random.Random(self.chance.random())
            self.threads.start(f"worker {number}", functools.partial(self._work, own))
        self.threads.wait(lambda: not self._workers_left, None)
        if self.chance.random() < 0.8:
            self._settle()
        self._close()
        self._end_futures()
        self.history.check_end(is_served=False)

    def _settle(self) -> None:
        """Wait until the client is served without faults, and check what it has got."""
        self.heal()
        self.client.change_hosts(self.hosts.partition("/")[0])
        end_s = self.clock.now_s + SERVED_AGAIN_S
        while self.clock.now_s < end_s:
            with contextlib.suppress(ZooKeeperError):
                self.client.sync(self.base)
                self._sleep(2.0)  # events of changes before, and of removed watches
                self.client.sync(self.base)
                break
        self._sleep(CALL_S + 1.0)  # futures without a waiting thread end at their time limit
        assert self.client.state is SessionState.CONNECTED
        self._end_futures()
        self._check_idle()
        self.history.check_end(is_served=True)
        self.check_watches(self.client)

    def _check_idle(self) -> None:
        engine_ = self.client._engine
        assert not engine_.session.has_outstanding
        assert engine_.session.outstanding_bytes == 0
        assert engine_.reader == engine_.followers.background
        assert not engine_.followers.waiters
        assert not engine_.followers.due
        assert not engine_.followers.program_runs_in
        assert not engine_.unsent

    def _close(self) -> None:
        limit_s = self.chance.choice([0.0, 0.01, 5.0])
        begun_s = self.clock.now_s
        self.client.close(limit_s)
        assert self.clock.now_s <= begun_s + limit_s + 1.0, "close took too long"
        assert self.client.state in {SessionState.CLOSED, SessionState.EXPIRED}

    def _sleep(self, time_s: float) -> None:
        self.threads.wait(lambda: False, time_s)

    # The history.

    def _tap(self, made: Client) -> None:
        """Let the history see each call, and each watcher that is dropped."""
        tapped = cast("Any", made._engine)
        run, submit, wait = tapped.run, tapped.submit, tapped.wait
        cancel = tapped.cancel

        def begin(call: Call[object], timeout_s: float | None) -> CallRecord:
            record = self.history.begin(call, CALL_S if timeout_s is None else timeout_s)
            self._records[id(call)] = record
            return record

        def run_noted(call: Call[object], timeout_s: float | None) -> object:
            record = begin(call, timeout_s)
            try:
                return run(call, timeout_s)
            finally:
                if self.threads.failure is None:
                    self.history.end(record)

        def submit_noted(call: Call[object], timeout_s: float | None) -> None:
            limit_s = begin(call, timeout_s).limit_s
            submit(call, timeout_s)
            if limit_s < self.clock.now_s + LIMIT_S:
                self.clock.at(limit_s + CHECK_S, lambda: self._check_ended(call))

        def wait_noted(call: Call[object], timeout_s: float | None) -> None:
            record = self._records[id(call)]
            record.limit_s = max(record.limit_s, self.clock.now_s + SLACK_S)  # it has ended already
            begun_s = self.clock.now_s
            try:
                wait(call, timeout_s)
            finally:
                if self.threads.failure is None and timeout_s is not None:
                    assert self.clock.now_s <= begun_s + timeout_s + SLACK_S, "waited too long"
            self._end(call)

        def cancel_noted(call: Call[object]) -> bool:
            is_unsent = bool(cancel(call))
            if call.phase == DROPPED:  # it had not ended
                self.history.cancelled(self._records[id(call)])
            return is_unsent

        tapped.run, tapped.submit, tapped.wait = run_noted, submit_noted, wait_noted
        tapped.cancel = cancel_noted
        self.tap_watchers(tapped)

    def _check_ended(self, call: Call[object]) -> None:
        """Check that a call has ended in time, also if no thread waits for it."""
        assert call.phase >= ENDED, f"{self._records[id(call)]} has not ended in time"

    def _end(self, call: Call[object]) -> None:
        """Note the end of a call for which a thread has waited; several threads may wait."""
        record = self._records[id(call)]
        if not record.ends and not record.is_cancelled:
            self.history.end(record, is_awaited=False)

    def _end_futures(self) -> None:
        """Note the ends of the calls for which no thread has waited."""
        for record in self.history.calls:
            if not record.ends and not record.is_cancelled:
                assert record.call.phase >= ENDED, f"{record} has not ended"
                record.limit_s = float("inf")
                self.history.end(record, is_awaited=False)

    # The threads.

    def _work(self, chance: random.Random) -> None:
        acts: list[tuple[int, Callable[[], None]]] = [
            (10, lambda: self.request(self.client)),
            (6, lambda: self._futures(chance)),
            (4, lambda: self._watch(chance)),
            (2, lambda: self._protected(chance)),
            (1, self._remove_watches),
            (1, lambda: self.client.change_hosts(self.random_hosts())),
        ]
        for _ in range(ROUNDS):
            act = chance.choices([act for _, act in acts], [often for often, _ in acts])[0]
            with contextlib.suppress(ZooKeeperError):
                act()
            self._sleep(chance.choice([0.0, 0.0, 0.01, 0.3]) * chance.random())
        self._workers_left -= 1

    def _futures(self, chance: random.Random) -> None:
        """Make several calls; wait for some results, cancel some, and forget the others."""
        futures = [self.request(self.client.futures) for _ in range(chance.randrange(1, 8))]
        for future in chance.sample(futures, len(futures)):
            kind = chance.random()
            if kind < 0.2:
                future.cancel()
            if kind < 0.8:
                limit_s = chance.choice([None, None, 0.01, 0.5])
                with contextlib.suppress(ZooKeeperError, TimeoutError, CancelledError):
                    future.result(limit_s)

    def _watch(self, chance: random.Random) -> None:
        path = chance.choice([self.path(), self.base])
        watch = self.client.watch(path, recursive=chance.random() < 0.5)
        try:
            with watch:
                for _ in range(chance.randrange(4)):
                    with contextlib.suppress(TimeoutError):
                        watch.next(timeout_s=chance.random())
        finally:
            self.history.stopped(watch._mailbox)

    def _protected(self, chance: random.Random) -> None:
        prefix = f"{self.base.rstrip('/')}/p-"
        path = self.client.create_protected(prefix, timeout_s=chance.choice([None, 9.0]))
        assert path.startswith(self.base)

    def _remove_watches(self) -> None:
        path = self.path()
        self.history.removes(path, begins=True)
        try:
            self.client.remove_watches(path, WatcherType.ANY)
        finally:
            self.history.removes(path, begins=False)
