"""What recipes need of asyncio: events, time limits, timers, work in the background.

`thread_client/primitives.py` has the same names for threads; both are written by hand. This module
imports asyncio and what both clients share of a time limit only.
"""

import asyncio
import inspect
from asyncio import Event
from collections import deque
from collections.abc import Callable
from typing import Any, Final

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

_background: Final[set[asyncio.Task[object]]] = set()
"""The event loop has only weak references to its tasks."""


class Deadline(BaseDeadline):
    """The end of a wait; None as ``timeout_s`` is a wait without an end."""

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


async def is_set_within(event: Event, timeout_s: float | None) -> bool:
    """Wait until an event is set; return whether it is in time."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True


class Mutex:
    """A lock between the tasks of one event loop."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def acquire(self, deadline: Deadline) -> None:
        """Wait for the lock.

        Raises:
            DeadlineError: the lock was not free in time.
        """
        if self.try_acquire():
            return
        left_s = deadline.left_s()
        freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(freed)
        try:
            async with asyncio.timeout(left_s):
                await freed
        except BaseException as error:
            if freed.done() and not freed.cancelled():
                self.release()  # it was given to this task, which does not wait any more
            else:
                self._waiters.remove(freed)
            if isinstance(error, TimeoutError):
                raise deadline.error() from None
            raise

    def try_acquire(self) -> bool:
        """Take the lock if it is free; return whether it was."""
        if self._is_taken:
            return False
        self._is_taken = True
        return True

    def release(self) -> None:
        """Free the lock; another task than the one that took it may do so."""
        while self._waiters:
            freed = self._waiters.popleft()
            if not freed.done():
                freed.set_result(None)
                return
        self._is_taken = False


class Timer:
    """Calls a function once, later."""

    def __init__(self, delay_s: float, function: Callable[[], None]) -> None:
        self._handle = asyncio.get_running_loop().call_later(max(delay_s, 0.0), function)

    def cancel(self) -> None:
        """Do not call the function any more."""
        self._handle.cancel()


def in_background(function: Callable[..., Any], *arguments: object) -> None:
    """Run a coroutine function as a task that nobody waits for."""
    task = asyncio.get_running_loop().create_task(called(function, *arguments))
    _background.add(task)
    task.add_done_callback(_background.discard)


async def called(function: Callable[..., object], *arguments: object) -> object:
    """Call a function of the program, or a coroutine function; return its result."""
    result = function(*arguments)
    return await result if inspect.isawaitable(result) else result


class Holder:
    """The task in the ``async with`` block of a lock, which is cancelled when the lock is lost."""

    def __init__(self, *, is_cancelled: bool = False) -> None:
        """Note the task at `begin`; ``is_cancelled`` says whether `cancel` cancels it."""
        self._is_wanted = is_cancelled
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._has_cancelled = False

    def begin(self) -> None:
        """Note the present task, which enters the block."""
        self._has_cancelled = False
        if self._is_wanted:
            self._task = asyncio.current_task()
            self._cancelling = 0 if self._task is None else self._task.cancelling()

    def cancel(self) -> None:
        """Cancel the task, because the lock is lost."""
        task, self._task = self._task, None
        if task is not None:
            self._has_cancelled = True
            task.cancel()

    async def end(self, error: BaseException | None) -> bool:
        """Note the end of the block; return whether it ended because of `cancel`."""
        self._task = None
        task = asyncio.current_task()
        if not self._has_cancelled or task is None or task.uncancel() > self._cancelling:
            return False
        if error is None:
            # The block may have ended before its task was cancelled.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                return True
        return isinstance(error, asyncio.CancelledError)
