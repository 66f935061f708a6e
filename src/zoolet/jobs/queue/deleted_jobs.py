"""Finds jobs that were deleted while a program waits for their end.

A watch fires when a job ends. No watch fires if the job is deleted, or if the batch's log, which
would name the job, is deleted. So a waiting program checks whether the jobs still exist, first
after `FIRST_S` and then less and less often. This module imports `zoolet.jobs.records` and other
modules of its package.
"""

import time
from collections.abc import Collection

from zoolet.jobs.records.transitions import Place
from zoolet.jobs.znodes.batch_log import batch_path
from zoolet.jobs.znodes.layout import Layout

FIRST_S = 1.0
LONGEST_S = 60.0
"""The shortest and longest time between an event, or a check of all jobs, and the next check."""
JOBS_AT_ONCE = 100
LOOK_SHARE = 20
"""The pause after a check is at least this many times as long as the check took."""


class Vanished:
    """Checks whether jobs of a batch still exist; ``batch`` is None for jobs outside a batch."""

    def __init__(self, layout: Layout, batch: str | None) -> None:
        self._layout = layout
        self._batch = batch
        self._pause_s = FIRST_S
        self._next_at = time.monotonic() + FIRST_S
        self._left: list[str] = []

    def due_in_s(self) -> float:
        """Return the number of seconds until the next check is due; 0 if it is due now."""
        return max(0.0, self._next_at - time.monotonic())

    def put_off(self) -> None:
        """Record an event of the batch: the next check is due after `FIRST_S`."""
        self._pause_s = FIRST_S
        self._next_at = time.monotonic() + FIRST_S

    def look(self, outstanding: Collection[str]) -> list[str]:
        """Check the next part of these jobs; return the jobs that are in done or do not exist.

        Returns all jobs if the batch was deleted.
        """
        began = time.monotonic()
        # Set before the requests: if a request fails, the next check is not made immediately.
        self._next_at = began + self._pause_s
        if self._batch is not None and not self._layout.znodes.exists(
            batch_path(self._layout, self._batch)
        ):
            self._batch = None
            return list(outstanding)
        if not self._left:
            self._left = list(outstanding)
        names = [name for name in self._left[-JOBS_AT_ONCE:] if name in outstanding]
        places = self._layout.where(names)
        del self._left[-JOBS_AT_ONCE:]
        took_s = time.monotonic() - began
        if self._left:
            self._next_at = time.monotonic() + max(FIRST_S, LOOK_SHARE * took_s)
        else:
            self._pause_s = min(LONGEST_S, 2 * self._pause_s)
            self._next_at = time.monotonic() + max(self._pause_s, LOOK_SHARE * took_s)
        return [
            name
            for name, place in zip(names, places, strict=True)
            if place is None or place == Place.DONE
        ]
