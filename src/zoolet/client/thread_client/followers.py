"""Passes the outcomes of a session on: wakes waiting threads, and calls functions of the program.

Invariants: outcomes are passed on in their order, by one thread at a time. A call is shown as ended
only after the functions for earlier outcomes have returned, or when its time limit is over. The
lock is free while a function of the program runs: the function may need a lock of the program, and
the thread that has that lock may wait for a call. Imports the client's protocol.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from zoolet.client.protocol.calls import ENDED, Call
from zoolet.client.protocol.session import Outcome
from zoolet.client.protocol.states import OnState
from zoolet.client.protocol.watches import Notice

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

T = TypeVar("T")

log = logging.getLogger("zoolet.client")


class Followers:
    """The threads that wait for the thread that reads, and the outcomes that are not passed on.

    Attributes:
        listeners: functions of the program that are called with each new state.
        program_runs_in: the thread that runs a function of the program; 0 if none does.
        due: the outcomes that are not passed on yet.
        waiters: the locks of the waiting threads that are not woken yet, in their order.
        background: the client's background thread, which no exception of the program ends.
    """

    def __init__(self, lock: "AbstractContextManager[bool]", on_state: OnState) -> None:
        """Share the lock of the engine, which calls ``on_state`` with the lock."""
        self.listeners: list[OnState] = []
        self.program_runs_in = 0
        self.background = 0
        self._lock = lock
        self._on_state = on_state
        self.due: deque[Outcome] = deque()
        self.waiters: dict[threading.Lock, None] = {}

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
            try:
                with self._lock:
                    if self.program_runs_in:
                        return  # that thread passes on what is due
                    functions = self._next_functions()
                    self.program_runs_in = this_thread if functions else 0
                for function in functions:
                    function()
            finally:
                if self.program_runs_in == this_thread:
                    self.program_runs_in = 0

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

    def _next_functions(self) -> list[Callable[[], None]]:
        """Pass outcomes on up to the first one for which functions are to be called."""
        while self.due:
            outcome = self.due.popleft()
            if isinstance(outcome, Call):
                self.wake(outcome)
            elif isinstance(outcome, Notice):
                return [partial(self._call_program, outcome.watcher.notify, outcome.what)]
            else:
                self._on_state(outcome)
                # A copy, because other threads add and remove listeners without the lock.
                listeners = tuple(self.listeners)
                if listeners:
                    return [partial(self._call_program, one, outcome) for one in listeners]
        return []

    def _call_program(self, function: Callable[[T], None], argument: T) -> None:
        try:
            function(argument)
        except BaseException as error:
            if not isinstance(error, Exception) and threading.get_ident() != self.background:
                raise  # an interrupt, or the end of the program's thread
            log.exception("a function of the program failed: %r", function)
