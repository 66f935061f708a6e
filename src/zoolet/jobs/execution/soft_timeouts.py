"""Raises `SoftTimeoutError` inside a task after its soft timeout.

The error comes from the handler of SIGALRM, so it interrupts also a task that waits in a system
call. Code in C that does not return to Python is not interrupted; the hard timeout ends it. This
works only in the main thread of a process. Imports `zoolet.jobs.errors`.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from zoolet.jobs.errors import SoftTimeoutError


@contextmanager
def soft_timeout(timeout_ms: int) -> Iterator[None]:
    """Raise SoftTimeoutError in the block after ``timeout_ms``, one time.

    A timer that the task has set with `signal.setitimer` or `signal.alarm` replaces the soft
    timeout.
    """
    is_running = True

    def raise_error(_: int, __: FrameType | None) -> None:
        # Python can call a handler after the block has ended, if the signal came at its end.
        if is_running:
            raise SoftTimeoutError(f"the task ran longer than its soft timeout of {timeout_ms} ms")

    before = signal.signal(signal.SIGALRM, raise_error)
    try:
        signal.setitimer(signal.ITIMER_REAL, timeout_ms / 1000)
        yield
    finally:
        is_running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
