"""Repeats a request to the store until it succeeds."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from zoolet.archive.writing.status import State, Status, log

T = TypeVar("T")

_FIRST_DELAY_S: Final = 0.5
_MOST_DELAY_S: Final = 30.0
_FACTOR: Final = 2.0
_LOG_INTERVAL_S: Final = 60.0


class StoppedError(Exception):
    """The archiver stops, and the request has not succeeded in time."""


class Stopping:
    """Tells the threads of an archiver that it stops, and until when they may finish their work."""

    def __init__(self, limit_s: float) -> None:
        """``limit_s`` is the time that the last uploads may take."""
        self._limit_s = limit_s
        self._is_asked = threading.Event()
        self._deadline_s = 0.0

    def ask(self) -> None:
        """Stop: begin no new work. May be called by a handler of a signal."""
        if not self._is_asked.is_set():
            self._deadline_s = time.monotonic() + self._limit_s
            self._is_asked.set()

    @property
    def is_asked(self) -> bool:
        """Whether the archiver stops."""
        return self._is_asked.is_set()

    @property
    def is_over(self) -> bool:
        """Whether the time for the last uploads is over."""
        return self.is_asked and time.monotonic() >= self._deadline_s

    def wait(self, timeout_s: float) -> bool:
        """Return True as soon as the archiver stops, or False after the timeout."""
        return self._is_asked.wait(timeout_s)


class Retrier:
    """Repeats requests to the store, with a delay that grows."""

    def __init__(
        self, stopping: Stopping, status: Status, wait: Callable[[float], object] | None = None
    ) -> None:
        """``wait`` waits for a number of seconds, or until the archiver stops."""
        self._stopping = stopping
        self._status = status
        self._wait = wait if wait is not None else stopping.wait

    def call(
        self,
        what: str,
        request: Callable[[], T],
        failed: Callable[[], None] = lambda: None,
        final: tuple[type[OSError], ...] = (FileExistsError,),
    ) -> T:
        """Return the result of ``request``; repeat it as long as it raises OSError.

        ``what`` names the request for the log; ``failed`` is called after each failure. Raises
        StoppedError if the archiver stops meanwhile, the errors in ``final``, and every error that
        is no OSError.
        """
        delay_s = _FIRST_DELAY_S
        logged_s = -_LOG_INTERVAL_S
        while True:
            before = self._status.state
            try:
                result = request()
            except final:
                raise
            except OSError as error:
                self._status.errors += 1
                failed()
                self._status.change(State.STORE_FAILS, f"{what}: {error}")
                if time.monotonic() - logged_s >= _LOG_INTERVAL_S:
                    log.warning("%s failed, and is tried again: %s", what, error)
                    logged_s = time.monotonic()
            else:
                if before is State.STORE_FAILS:
                    self._status.change(State.ARCHIVING, "the store works again")
                return result
            # While the archiver stops, few more tries are made.
            pause_s = delay_s * random.uniform(0.5, 1.0)  # noqa: S311 -- no secret
            if self._stopping.is_asked:
                if self._stopping.is_over:
                    raise StoppedError
                time.sleep(min(pause_s, _FIRST_DELAY_S))
            else:
                self._wait(pause_s)
            delay_s = min(_MOST_DELAY_S, delay_s * _FACTOR)

    def ending(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the pieces; raises StoppedError when the time of a stopping archiver is over."""
        for piece in pieces:
            if self._stopping.is_over:
                raise StoppedError
            yield piece
