"""Looks whether the jobs that a batch waits for can still end.

A watch tells that a job has ended. Nothing tells that it never will: because it was removed, or
because the batch's log was removed, which would name it. So whoever waits for long looks, first
after `FIRST_S` and then less and less often. Imports the job system's layout and batches.
"""

import time
from collections.abc import Collection

from zoolet.jobs.records.transitions import Place
from zoolet.jobs.znodes.batch_log import batch_path
from zoolet.jobs.znodes.layout import Layout

FIRST_S = 1.0
LONGEST_S = 60.0
"""How long after the last event, or the last look at all jobs, the next look begins."""
JOBS_AT_ONCE = 100
LOOK_SHARE = 20
"""Looking takes at most one of this many parts of the time."""


class Vanished:
    """Looks for jobs of a batch that no watch tells of; ``batch`` is None for a job on its own."""

    def __init__(self, layout: Layout, batch: str | None) -> None:
        self._layout = layout
        self._batch = batch
        self._pause_s = FIRST_S
        self._next_at = time.monotonic() + FIRST_S
        self._left: list[str] = []

    def due_in_s(self) -> float:
        """Return in how many seconds the next look is due."""
        return max(0.0, self._next_at - time.monotonic())

    def put_off(self) -> None:
        """Note that something happened to the batch: the next look is not due for a while."""
        self._pause_s = FIRST_S
        self._next_at = time.monotonic() + FIRST_S

    def look(self, outstanding: Collection[str]) -> list[str]:
        """Look at some of these jobs, in turn; return those that are done, or nowhere.

        Returns all of them if the batch was removed.
        """
        began = time.monotonic()
        # If a request fails, the next look is not made at once either.
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
