"""Repeats a request to the store until it succeeds, and ends an archiver in time."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from zoolet.archive.errors import ArchiveError
from zoolet.archive.store.places import needs_user
from zoolet.archive.writing.status import State, Status, log

T = TypeVar("T")

_FIRST_DELAY_S: Final = 0.5
_MOST_DELAY_S: Final = 30.0
_FACTOR: Final = 2.0
_LOG_INTERVAL_S: Final = 60.0
_WATCH_S: Final = 1.0


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

    def pause(self, duration_s: float) -> None:
        """Return after this time; raises StoppedError when the time for the uploads is over."""
        end_s = time.monotonic() + duration_s
        while (left_s := end_s - time.monotonic()) > 0:
            if not self.is_asked:
                self.wait(left_s)
            elif (until_s := self._deadline_s - time.monotonic()) > 0:
                time.sleep(min(left_s, until_s))
            else:
                raise StoppedError

    @contextlib.contextmanager
    def enforced(self, limit_s: float, end: Callable[[], object]) -> Iterator[None]:
        """Call ``end`` if the block still runs ``limit_s`` after ``ask``.

        A request to a store that hangs cannot be interrupted: only the end of the process helps.
        """
        is_left = threading.Event()

        def watch() -> None:
            while not self._is_asked.wait(_WATCH_S):
                if is_left.is_set():
                    return
            if not is_left.wait(limit_s):
                end()

        threading.Thread(target=watch, name="zoolet-stop", daemon=True).start()
        try:
            yield
        finally:
            is_left.set()


class Retrier:
    """Repeats requests to the store, with a delay that grows."""

    def __init__(
        self,
        stopping: Stopping,
        status: Status,
        wait: Callable[[float], object] | None = None,
        limit_s: float | None = None,
    ) -> None:
        """Repeat requests as long as they fail, or up to ``limit_s``.

        ``wait`` waits for a number of seconds, or until the archiver stops.
        """
        self._limit_s = limit_s
        self._stopping = stopping
        self._status = status
        self._wait = wait if wait is not None else stopping.wait

    def call(
        self,
        what: str,
        request: Callable[[], T],
        failed: Callable[[], None] = lambda: None,
        *,
        at_start: bool = False,
    ) -> T:
        """Return the result of ``request``; repeat it as long as it raises OSError.

        ``what`` names the request for the log; ``failed`` is called after each failure. Raises
        StoppedError if the archiver stops meanwhile, FileExistsError, and every error that is no
        OSError. Raises ArchiveError if the limit of the time is over, and with ``at_start`` for
        an error that only a user can correct.
        """
        delay_s, began_s = _FIRST_DELAY_S, time.monotonic()
        logged_s = -_LOG_INTERVAL_S
        while True:
            before = self._status.state
            try:
                result = request()
            except FileExistsError:
                raise
            except OSError as error:
                self._check_hope(what, error, began_s, at_start=at_start)
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

    def _check_hope(self, what: str, error: OSError, began_s: float, *, at_start: bool) -> None:
        """Raise ArchiveError if the request is not repeated."""
        if at_start and needs_user(error):
            raise ArchiveError(
                f"{what} failed: {error}. Correct the URL or the credentials, or give this user"
                " the permission to list, read, write and delete there."
            ) from error
        if self._limit_s is not None and time.monotonic() - began_s >= self._limit_s:
            raise ArchiveError(
                f"{what} has failed for {self._limit_s:.0f} s: {error}. Not everything is"
                " archived. Run the command again when the store works."
            ) from error

    def ending(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the pieces; raises StoppedError when the time of a stopping archiver is over."""
        for piece in pieces:
            if self._stopping.is_over:
                raise StoppedError
            yield piece
