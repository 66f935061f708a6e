"""The clock of an embedded server: it runs like the real clock until a test changes it.

This module contains the server's time and the timers of the network. The time may be read on any
thread; everything else runs on the loop's thread. This module does not depend on sessions: the
embedded server expires the sessions after each move of the clock.
"""

import heapq
import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from zoolet.server.common.clock import Clock

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

Timer = tuple[int, int, Callable[[], None]]
"""The due time in ms on the monotonic clock, the number of the timer, and the function to call."""


class LoopThread(Protocol):
    """The thread of an embedded server's event loop, `zoolet.testing.servers.loop_thread`."""

    loop: "asyncio.AbstractEventLoop"

    def call(self, function: Callable[[], T]) -> T:
        """Call a function on the thread; return its result or raise its exception."""
        ...


class Look(Protocol):
    """The function that a clock calls after each move."""

    def __call__(self, *, clients_ping: bool) -> None:
        """Expire everything that is due.

        If ``clients_ping`` is true, first treat connected clients as if they had sent a ping.
        """
        ...


class ServerClock:
    """The server's time.

    A test may freeze the clock, move it forward, and let it run again. The clock never goes back
    while a server runs.
    """

    def __init__(self, thread: LoopThread, look: Look, note: Callable[[str], None]) -> None:
        """Run like the real clock.

        The clock calls ``look`` after each move, and ``note`` with a text for each change that a
        test makes.
        """
        self._thread = thread
        self._look = look
        self._note = note
        self._ahead_ms = 0
        self._frozen_ms: int | None = None
        self._timers: list[Timer] = []
        self._numbers = itertools.count()
        self._alarm: asyncio.TimerHandle | None = None
        self._wall_ahead_ms = _real_wall_ms() - _real_ms()
        self._began_wall_ms = 0

    @property
    def reading(self) -> Clock:
        """The clock in the form that the server reads."""
        return Clock(wall_ms=self.wall_ms, monotonic_ms=self.now_ms)

    def now_ms(self) -> int:
        """Return the time in ms on the monotonic clock."""
        return _real_ms() + self._ahead_ms if self._frozen_ms is None else self._frozen_ms

    def wall_ms(self) -> int:
        """Return the time in ms since the epoch, including all moves of the clock by the test."""
        return self.now_ms() + self._wall_ahead_ms

    # --- Calls of a test

    def freeze(self) -> None:
        """Stop the clock: nothing expires until ``move`` or ``run`` is called."""
        self._note("freeze the clock")
        self._thread.call(self._freeze)

    def move(self, seconds: float, *, clients_ping: bool = True) -> None:
        """Move the clock forward, and expire everything that is due in this time.

        The server treats connected clients that are not partitioned as if they had sent pings in
        this time. With ``clients_ping=False`` it does not.
        """
        if seconds < 0:
            raise ValueError(f"the server's clock cannot be set back ({seconds:g} s)")
        self._note(f"move the clock {seconds:g} s")
        self._thread.call(lambda: self._move(round(seconds * 1000), clients_ping=clients_ping))

    def run(self) -> None:
        """Let the clock run again, from its current time."""
        self._thread.call(self._run)

    # --- On the loop's thread

    def call_after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call a function when this time has passed on this clock."""
        due_ms = self.now_ms() + round(seconds * 1000)
        heapq.heappush(self._timers, (due_ms, next(self._numbers), call))
        self._set_alarm()

    def begin(self) -> None:
        """Make the time later than at the last start of a server: session ids contain the time."""
        self._wall_ahead_ms += max(0, self._began_wall_ms + 1 - self.wall_ms())
        self._began_wall_ms = self.wall_ms()

    def reset(self) -> None:
        """Run like the real clock, without timers; must be called only when no server runs."""
        self._timers.clear()
        self._frozen_ms = None
        self._ahead_ms = 0
        self._wall_ahead_ms = _real_wall_ms() - _real_ms()
        self._set_alarm()

    def _freeze(self) -> None:
        self._frozen_ms = self.now_ms()
        self._set_alarm()

    def _run(self) -> None:
        self._ahead_ms = self.now_ms() - _real_ms()
        self._frozen_ms = None
        self._set_alarm()

    def _move(self, by_ms: int, *, clients_ping: bool) -> None:
        target_ms = self.now_ms() + by_ms
        while self._timers and self._timers[0][0] <= target_ms:
            due_ms, _, call = heapq.heappop(self._timers)
            self._set(max(due_ms, self.now_ms()))
            self._look(clients_ping=clients_ping)
            call()
        self._set(target_ms)
        self._look(clients_ping=clients_ping)
        self._set_alarm()

    def _set(self, now_ms: int) -> None:
        if self._frozen_ms is None:
            self._ahead_ms = max(self._ahead_ms, now_ms - _real_ms())
        else:
            self._frozen_ms = now_ms

    def _set_alarm(self) -> None:
        """Schedule a call for the time at which the next timer is due, if the clock runs."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._timers and self._frozen_ms is None:
            wait_s = max(0, self._timers[0][0] - self.now_ms()) / 1000
            self._alarm = self._thread.loop.call_later(wait_s, self._call_due)

    def _call_due(self) -> None:
        self._alarm = None
        while self._timers and self._timers[0][0] <= self.now_ms():
            heapq.heappop(self._timers)[2]()
        self._set_alarm()


def _real_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _real_wall_ms() -> int:
    return time.time_ns() // 1_000_000
