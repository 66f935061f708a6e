"""Passes the outcomes of a session on: wakes waiting threads, and calls functions.

Functions of the program run in a thread of their own, the handler, so that the client reads and
sends pings while a function blocks. The handler starts when it is needed, and ends when it has had
no work for a while. Functions of the client itself never block; the thread that reads calls them.

Invariants: outcomes are passed on in their order, by one thread at a time. A call is shown with its
result only after the functions for earlier outcomes have returned. The lock is free while a
function runs: the function may need a lock of the program, and the thread that has that lock may
wait for a call. Imports the client's protocol.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast, final

from zoolet.client.protocol.calls import ENDED, Call
from zoolet.client.protocol.session import Outcome
from zoolet.client.protocol.states import OnState, SessionState
from zoolet.client.protocol.watches import Notice

if TYPE_CHECKING:
    from zoolet.client.session_log import SessionLog

MAX_DUE: Final = 100_000
IDLE_S: Final = 10.0

SLOW_S: Final = 5.0
"""The log reports a function of the program that runs for longer than this time."""

_LOOK_S: Final = 0.05
"""The time between two looks of `Followers.stop`."""


@final
class _Run:
    """A function, and its argument."""

    def __init__(self, function: Callable[[Any], None], argument: Any) -> None:
        self.function = function
        self.argument = argument


@final
class _ForProgram:
    """A new state of the session that the listeners of the program are not told yet."""

    def __init__(self, state: SessionState) -> None:
        self.state = state


class Followers:
    """The threads that wait for the thread that reads, and the outcomes that are not passed on.

    Attributes:
        listeners: functions of the client itself that are called with each new state.
        program_listeners: functions of the program that are called with each new state.
        program_runs_in: the thread that calls functions; 0 if none does.
        due: the outcomes that are not passed on yet.
        waiters: the locks of the waiting threads that are not woken yet, in their order.
        background: the client's background thread, which no exception of a function ends.
        max_due: the most outcomes that wait for a function of the program; above it, the client
            disconnects.
        idle_s: the handler ends when it has had no work for this time.
    """

    def __init__(
        self, lock: "threading.Lock | threading.RLock", on_state: OnState, log: "SessionLog"
    ) -> None:
        """Share the lock of the engine, which calls ``on_state`` with the lock."""
        self.listeners: list[OnState] = []
        self.program_listeners: list[OnState] = []
        self.program_runs_in = 0
        self.background = 0
        self.max_due = MAX_DUE
        self.idle_s = IDLE_S
        self._lock = lock
        self._on_state = on_state
        self._log = log
        self.due: deque[Outcome | _ForProgram] = deque()
        self.waiters: dict[threading.Lock, None] = {}
        self._passed_on = threading.Condition(lock)
        self._handler: threading.Thread | None = None
        self._wake_handler = threading.Semaphore(0)
        self._work: list[_Run] = []
        self._running: _Run | None = None
        self._began_s = 0.0

    def note(self, outcomes: list[Outcome]) -> None:
        """Pass outcomes on, or keep them for `pass_on`. The caller holds the lock."""
        for outcome in outcomes:
            if isinstance(outcome, Call) and not self.due and not self.program_runs_in:
                if outcome.waiter is not None:
                    self._wake(outcome)
            else:
                self.due.append(outcome)

    def pass_on(self) -> None:
        """Pass the kept outcomes on. The caller does not hold the lock."""
        this_thread = threading.get_ident()
        if self.program_runs_in == this_thread:
            return
        while self.due:
            runs_here = False
            try:
                with self._lock:
                    if self.program_runs_in:
                        return  # that thread passes on what is due
                    work, is_program = self._next_work()
                    if is_program and self._hand_over(work):
                        return
                    runs_here = bool(work)
                    self.program_runs_in = this_thread if work else 0
                for run in work:
                    self._call(run)
            finally:
                # Only then: another thread may have handed work over to this one, the handler.
                if runs_here:
                    self.program_runs_in = 0

    def stop(self, limit_s: float) -> None:
        """Wait until all outcomes are passed on, at most for ``limit_s``; end the handler."""
        end_s = time.monotonic() + limit_s
        with self._passed_on:
            while self.due or self.program_runs_in not in {0, threading.get_ident()}:
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    break
                self._passed_on.wait(min(left_s, _LOOK_S))
        self._wake_handler.release()

    def report_slow(self, now_s: float) -> None:
        """Log a function of the program that runs for too long, once."""
        run = self._running
        if run is not None and now_s - self._began_s >= SLOW_S:
            self._running = None
            self._log.warning(
                "a function for watches or states has run for more than %g s; replies and events"
                " wait for its end: %r",
                SLOW_S,
                run.function,
            )

    def has_ended(self, call: Call[object]) -> bool:
        """Return whether the end of a call is passed on. The caller holds the lock."""
        return call.phase >= ENDED and (not self.due or call not in self.due)

    def join(self, call: Call[object]) -> threading.Lock:
        """Return a lock that is released when the call has ended, or when its thread shall read.

        The caller holds the client's lock.
        """
        waiter = threading.Lock()
        waiter.acquire()
        self.waiters[waiter] = None
        call.waiter = (*cast("tuple[threading.Lock, ...]", call.waiter or ()), waiter)
        return waiter

    def leave(self, call: Call[object], waiter: threading.Lock) -> None:
        """Forget a waiter. The caller holds the lock."""
        self.waiters.pop(waiter, None)
        others = cast("tuple[threading.Lock, ...]", call.waiter or ())
        call.waiter = tuple([other for other in others if other is not waiter]) or None

    def wake_first(self) -> None:
        """Wake the thread that waits for the longest time. The caller holds the lock."""
        for waiter in self.waiters:
            del self.waiters[waiter]
            waiter.release()
            return

    def wake_all(self) -> None:
        """Wake all waiting threads, which look at their calls again. The caller holds the lock."""
        while self.waiters:
            self.wake_first()

    def wake(self, call: Call[object]) -> None:
        """Wake the threads that wait for a call. The caller holds the lock."""
        if call.waiter is not None:
            self._wake(call)

    def _wake(self, call: Call[object]) -> None:
        for waiter in cast("tuple[threading.Lock, ...]", call.waiter):
            if self.waiters.pop(waiter, waiter) is None:  # it is not woken yet
                waiter.release()

    def _next_work(self) -> tuple[list[_Run], bool]:
        """Pass outcomes on up to the first one for which functions are to be called.

        Returns the calls of these functions, and whether the functions are the program's.
        """
        while self.due:
            outcome = self.due.popleft()
            if isinstance(outcome, Call):
                self.wake(outcome)
            elif isinstance(outcome, Notice):
                watcher = outcome.watcher
                return [_Run(watcher.notify, outcome.what)], not watcher.is_quick
            elif isinstance(outcome, _ForProgram):
                # Copies, because other threads add and remove listeners without the lock.
                listeners = tuple(self.program_listeners)
                if listeners:
                    return [_Run(listener, outcome.state) for listener in listeners], True
            else:
                self._on_state(outcome)
                self.due.appendleft(_ForProgram(outcome))
                listeners = tuple(self.listeners)
                if listeners:
                    return [_Run(listener, outcome) for listener in listeners], False
        return [], False

    def _hand_over(self, work: list[_Run]) -> bool:
        """Let the handler call functions; return False if there can be no handler.

        The caller holds the lock.
        """
        if self._handler is None:
            handler = threading.Thread(
                target=self._handle, name="zoolet-client-functions", daemon=True
            )
            try:
                handler.start()
            except RuntimeError:  # the interpreter ends
                return False
            self._handler = handler
        self._work = work
        self.program_runs_in = cast("int", self._handler.ident)
        self._wake_handler.release()
        return True

    def _handle(self) -> None:
        """Call functions of the program, as the handler."""
        while True:
            self._wake_handler.acquire(timeout=self.idle_s)
            with self._lock:
                work, self._work = self._work, []
                if not work:
                    self._handler = None
                    return
            for run in work:
                self._began_s = time.monotonic()
                self._running = run
                self._call(run)
                self._running = None
            with self._lock:
                self.program_runs_in = 0
                self._passed_on.notify_all()
            self.pass_on()

    def _call(self, run: _Run) -> None:
        try:
            run.function(run.argument)
        except BaseException as error:
            this_thread = threading.current_thread()
            is_own = this_thread.ident == self.background or this_thread is self._handler
            if not isinstance(error, Exception) and not is_own:
                raise  # an interrupt, or the end of the program's thread
            self._log.exception("a function of the program failed: %r", run.function)
