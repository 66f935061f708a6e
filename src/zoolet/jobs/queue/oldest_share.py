"""The share of the oldest jobs: the protection of low priorities from starvation.

A queue's setting ``oldest_share_percent`` says how many of 100 jobs are the oldest ones, whatever
their priority. Workers use it for the jobs that they take, and the housekeeping for the jobs of
each key that wait for a limit. Invariants of `OldestShare`:

- Of n jobs that were taken one after the other, at least ``n * percent / 100``, rounded down, were
  the oldest ones. Oldest jobs that other workers took first are still owed.
- If no job waits, nothing is owed, except less than one job. So a share that could not be used is
  not made up for later.

This module imports `zoolet.jobs.errors`, `zoolet.jobs.records` and `zoolet.jobs.znodes`.
"""

import logging
import random
from collections.abc import Callable
from typing import Final

from zoolet.jobs.errors import UnreadableJobError
from zoolet.jobs.records.settings import QueueSettings
from zoolet.jobs.znodes.layout import SETTINGS, Layout

log = logging.getLogger(__name__)

_CHANCE: Final = random.Random()  # noqa: S311 -- not the shared one, which a task may have seeded
_WHOLE: Final = 100


class OldestShare:
    """Counts how many of the next jobs must be the oldest ones.

    Args:
        credit: the share that is owed at the start, in hundredths of a job, 0 to 99. None: a random
            number. So the first oldest job also comes if workers end after a few jobs each.
    """

    def __init__(self, credit: int | None = None) -> None:
        self._credit = _CHANCE.randrange(_WHOLE) if credit is None else credit

    def due(self, count: int, percent: int) -> int:
        """Return how many of the next ``count`` jobs must be the oldest ones."""
        return min(count, (self._credit + percent * count) // _WHOLE)

    def note(self, taken: int, settled: int, percent: int) -> None:
        """Record that jobs were taken, after `due` was called.

        ``settled`` is how many of the oldest jobs that were due are not owed any more: all except
        those that other workers took first.
        """
        self._credit = max(0, self._credit + percent * taken - _WHOLE * settled)


class ShareSetting:
    """The setting of a queue: read once, and again when a watch reports a change.

    Args:
        layout: the layout of the queue.
        wake: called by any thread when the setting may have changed.
    """

    def __init__(self, layout: Layout, wake: Callable[[], None]) -> None:
        self._layout = layout
        self._wake = wake
        self._is_stale = True
        self._percent = 0

    def percent(self) -> int:
        """Return ``oldest_share_percent``; the last valid value if the settings are invalid."""
        if self._is_stale:
            # A change after this line sets the flag again.
            self._is_stale = False
            try:
                self._percent = self._read()
            except BaseException:
                self._is_stale = True
                raise
        return self._percent

    def _read(self) -> int:
        znodes = self._layout.znodes
        found = znodes.get(znodes.path(SETTINGS), self._stir)
        if found is None:
            return 0
        try:
            return QueueSettings.decode(found.data).oldest_share_percent
        except UnreadableJobError as error:
            log.warning("%s", error)
            return self._percent

    def _stir(self, _: object) -> None:
        self._is_stale = True
        self._wake()
