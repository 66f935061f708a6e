"""Lets a long task use a small part of the event loop's thread while the thread is busy.

The task has many short steps. After each step it asks for a pause, whose length depends on how busy
the thread is with other work. On an idle thread there are no pauses.
"""

import time
from collections.abc import Callable
from typing import Final

BUSY_PAUSE: Final = 100.0
"""The pause after a step on a thread that is always busy, as a multiple of the step's duration."""

LONGEST_STEP_S: Final = 0.002
"""A step that takes longer should end."""

IDLE: Final = 0.2
"""A thread that is busy for at most this part of the time counts as idle."""

_KEPT: Final = 0.8
"""The weight of the earlier measurements of how busy the thread is, after each further one."""

_LEAST_PAUSE_S: Final = 0.0005


class Pace:
    """Measures the steps of one task and the other work of the thread, and makes the pauses."""

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], object],
        wall_s: Callable[[], float] = time.perf_counter,
        work_s: Callable[[], float] = time.thread_time,
    ) -> None:
        """Begin to measure.

        Args:
            call_later: calls a function after a number of seconds, on the same thread.
            wall_s: a monotonic clock, in seconds.
            work_s: the time that the thread has worked, in seconds.
        """
        self._call_later = call_later
        self._wall_s = wall_s
        self._work_s = work_s
        self._began_s = 0.0
        self._step_s = 0.0
        self._ended_s = wall_s()
        self._ended_work_s = work_s()
        self._waited_s = 0.0
        self._worked_s = 0.0

    def begin(self) -> None:
        """Note that a step begins; the time since the last step was other work."""
        self._began_s = self._wall_s()
        self._waited_s = self._waited_s * _KEPT + self._began_s - self._ended_s
        self._worked_s = self._worked_s * _KEPT + self._work_s() - self._ended_work_s

    def has_time(self) -> bool:
        """Return whether the step that began last may do more work."""
        return self._wall_s() - self._began_s < LONGEST_STEP_S

    def end(self) -> None:
        """Note that the step has ended."""
        self._ended_s = self._wall_s()
        self._ended_work_s = self._work_s()
        self._step_s = self._ended_s - self._began_s

    def go_on(self, step: Callable[[], None]) -> None:
        """Call the next step, either before this call returns or after a pause."""
        pause_s = self._step_s * BUSY_PAUSE * self._busy() - (self._wall_s() - self._ended_s)
        if pause_s < _LEAST_PAUSE_S:
            step()
        else:
            self._call_later(pause_s, step)

    def _busy(self) -> float:
        """Return how busy the thread is with other work: 0 if it is idle, 1 if it always works."""
        if self._waited_s <= 0:
            return 0.0
        return min(1.0, max(0.0, (self._worked_s / self._waited_s - IDLE) / (1 - IDLE)))
