"""The clock of a server in this process: it goes as the real one does, or as a test moves it.

Owns what time it is for the server, and what is to happen at which time. Everything but the reading
is done on the loop's thread. Knows nothing of sessions: the embedded server says what else happens
when the clock is moved.
"""

import heapq
import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from zoolet.server.common.clock import Clock
from zoolet.testing.loop_thread import LoopThread

if TYPE_CHECKING:
    import asyncio

Timer = tuple[int, int, Callable[[], None]]
"""When it is due, in ms of the clock that only rises; its number; what is to happen."""


class Look(Protocol):
    """What is done each time the clock was moved."""

    def __call__(self, *, clients_ping: bool) -> None:
        """Let expire what is over; first let the clients that are connected be heard, or not."""
        ...


class ServerClock:
    """What time it is for the server.

    A test may freeze it, move it, and let it go again. It is never set back while a server runs.
    """

    def __init__(self, thread: LoopThread, look: Look, note: Callable[[str], None]) -> None:
        """Go as the real clock does.

        ``look`` is called after each move; ``note`` is told what a test does to the clock.
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
        """The clock as the server reads it."""
        return Clock(wall_ms=self.wall_ms, monotonic_ms=self.now_ms)

    def now_ms(self) -> int:
        """Return the time in ms on the clock that only rises."""
        return _real_ms() + self._ahead_ms if self._frozen_ms is None else self._frozen_ms

    def wall_ms(self) -> int:
        """Return the time in ms since the epoch, as far off as the test has moved the clock."""
        return self.now_ms() + self._wall_ahead_ms

    # -- what a test does --------------------------------------------------------------------------

    def freeze(self) -> None:
        """Let the time stand still: nothing expires until the clock is moved or goes on."""
        self._note("freeze the clock")
        self._thread.call(self._freeze)

    def move(self, seconds: float, *, clients_ping: bool = True) -> None:
        """Let so much time pass now, with all that expires in it.

        The clients that are connected, and not partitioned, count as having pinged meanwhile, as
        they would have; with ``clients_ping=False`` no client was heard.
        """
        if seconds < 0:
            raise ValueError(f"the server's clock cannot be set back ({seconds:g} s)")
        self._note(f"move the clock {seconds:g} s")
        self._thread.call(lambda: self._move(round(seconds * 1000), clients_ping=clients_ping))

    def run(self) -> None:
        """Let the time go on, from where it stands."""
        self._thread.call(self._run)

    # -- on the loop's thread ----------------------------------------------------------------------

    def call_after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call once so much time has passed on this clock."""
        due_ms = self.now_ms() + round(seconds * 1000)
        heapq.heappush(self._timers, (due_ms, next(self._numbers), call))
        self._set_alarm()

    def begin(self) -> None:
        """Be later than at the last start of a server: session ids are made of the time."""
        self._wall_ahead_ms += max(0, self._began_wall_ms + 1 - self.wall_ms())
        self._began_wall_ms = self.wall_ms()

    def reset(self) -> None:
        """Go as the real clock does, with nothing to happen; for when no server runs."""
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
        """Wake up when the next timer is due, if the clock goes."""
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
