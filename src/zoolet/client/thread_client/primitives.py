"""What recipes need of threads: events, time limits, timers, work in the background.

`asyncio_client/primitives.py` has the same names for asyncio; both are written by hand. This module
imports the client's errors only.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from zoolet.client.errors import DeadlineError

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


class Deadline:
    """The end of a wait; None as ``timeout_s`` is a wait without an end."""

    def __init__(self, timeout_s: float | None, what: str, path: str) -> None:
        self._what = what
        self._path = path
        self._timeout_s = timeout_s
        self._end_s = None if timeout_s is None else time.monotonic() + timeout_s

    def left_s(self) -> float | None:
        """Return the seconds that are left; None if there is no end.

        Raises:
            DeadlineError: the time is over.
        """
        if self._end_s is None:
            return None
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise self.error()
        return min(left_s, threading.TIMEOUT_MAX)

    @contextmanager
    def of_call(self) -> Iterator[float]:
        """Yield the time limit of a call of the client; 0.0 if there is no end.

        The call is in the ``with`` block. If the time ends during the call, the error names what
        the program waits for, not this request: the program does not know the znodes of a recipe.
        And if this request was not sent, an earlier one of the recipe may have been applied.

        Raises:
            DeadlineError: the time is over.
        """
        left_s = self.left_s()
        try:
            yield left_s or 0.0
        except DeadlineError as late:
            if left_s is None:
                raise
            raise self.error("; the server has not replied") from late

    def error(self, addition: str = "") -> DeadlineError:
        """Return the error for the end of the time; ``addition`` is the end of its text."""
        detail = f"not done within {self._timeout_s:g} s{addition}"
        return DeadlineError(self._what, self._path, detail)


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
