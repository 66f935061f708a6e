"""What recipes need of threads: events, time limits, timers, work in the background.

`asyncio_client/primitives.py` has the same names for asyncio; both are written by hand. This module
imports what both clients share of a time limit only.
"""

import threading
import time
from collections.abc import Callable
from threading import Event
from typing import Any

from zoolet.client.deadlines import BaseDeadline

__all__ = [
    "Deadline",
    "Event",
    "Holder",
    "Mutex",
    "Timer",
    "called",
    "in_background",
    "is_set_within",
]


class Deadline(BaseDeadline):
    """The end of a wait; None as ``timeout_s`` is a wait without an end."""

    def _now_s(self) -> float:
        return time.monotonic()

    def left_s(self) -> float | None:
        """Return the seconds that are left, as a time that a lock can wait; None without an end.

        Raises:
            DeadlineError: the time is over.
        """
        left_s = super().left_s()
        return None if left_s is None else min(left_s, threading.TIMEOUT_MAX)


def is_set_within(event: Event, timeout_s: float | None) -> bool:
    """Wait until an event is set; return whether it is in time."""
    return event.wait(timeout_s)


class Mutex:
    """A lock between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def acquire(self, deadline: Deadline) -> None:
        """Wait for the lock.

        Raises:
            DeadlineError: the lock was not free in time.
        """
        left_s = deadline.left_s()
        if not self._lock.acquire(timeout=-1 if left_s is None else left_s):
            raise deadline.error()

    def try_acquire(self) -> bool:
        """Take the lock if it is free; return whether it was."""
        return self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Free the lock; another thread than the one that took it may do so."""
        self._lock.release()


class Timer:
    """Calls a function once, later, in a thread of its own."""

    def __init__(self, delay_s: float, function: Callable[[], None]) -> None:
        self._timer = threading.Timer(max(delay_s, 0.0), function)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """Do not call the function any more."""
        self._timer.cancel()


def in_background(function: Callable[..., Any], *arguments: object) -> None:
    """Run a function in a thread that nobody waits for."""
    threading.Thread(target=function, args=arguments, name="zoolet-recipe", daemon=True).start()


def called(function: Callable[..., object], *arguments: object) -> object:
    """Call a function of the program; return its result."""
    return function(*arguments)


class Holder:
    """The thread in the ``with`` block of a lock. A thread cannot be cancelled."""

    def begin(self) -> None:
        """Note the thread that enters the block."""

    def cancel(self) -> None:
        """Do nothing: the thread must look at the event of the loss."""

    def end(self, error: BaseException | None) -> bool:  # noqa: ARG002 -- as in asyncio
        """Return whether the block ended because of `cancel`."""
        return False
