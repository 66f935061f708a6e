"""Limits how often an attempt reports its progress; the last value is always reported.

Imports `zoolet.jobs.records`.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from zoolet.jobs.records.progress import Progress

EVERY_S: Final = 0.5
"""The least time between two reports of an attempt, in seconds."""


class ProgressReports:
    """Reports the progress of one attempt. Any thread may call the methods.

    If a value comes too early, a thread reports it later, unless a newer value replaces it first.
    So an executor's process has a second thread for up to `EVERY_S`, only with such a task.

    Args:
        report: called with the values to report, in order, by one thread at a time.
        clock: returns the time in seconds.
    """

    def __init__(
        self, report: Callable[[Progress], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._clock = clock
        self._lock = threading.Lock()
        self._next_at = 0.0
        self._waiting: Progress | None = None
        self._timer: threading.Timer | None = None
        self._has_ended = False

    def add(self, progress: Progress) -> None:
        """Report a value now or soon; after `end`, this does nothing."""
        with self._lock:
            if self._has_ended:
                return
            left_s = self._next_at - self._clock()
            if left_s <= 0:
                self._send(progress)
                return
            self._waiting = progress
            if self._timer is None:
                self._timer = threading.Timer(left_s, self._send_waiting)
                self._timer.daemon = True
                self._timer.start()

    def end(self) -> None:
        """Report the value that waits. Later values are not reported."""
        with self._lock:
            self._has_ended = True
            if self._timer is not None:
                self._timer.cancel()
            if self._waiting is not None:
                self._send(self._waiting)

    def _send_waiting(self) -> None:
        with self._lock:
            self._timer = None
            if self._waiting is not None and not self._has_ended:
                self._send(self._waiting)

    def _send(self, progress: Progress) -> None:
        self._waiting = None
        self._next_at = self._clock() + EVERY_S
        self._report(progress)
