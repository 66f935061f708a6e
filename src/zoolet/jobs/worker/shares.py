"""Divides the first waiting jobs among the workers that try to take the same jobs.

If each worker tried to take the first jobs, all workers except the fastest would try in vain. So,
for a while after a lost try, a worker prefers the jobs of its share: every n-th job of the first
jobs. Invariants:

- A worker passes over only jobs of the same priority as the jobs that it tries to take.
- A worker that has room for more jobs than its share has waits `LEAVE_S`, and then also takes the
  first jobs of the other shares. So no job waits for long, even if its worker is busy. A worker
  whose share has no job does not wait.
- A worker without rivals takes jobs in their order.

This module imports other modules of its package.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from zoolet.jobs.worker.selection import Candidate

LEAVE_S: Final = 0.003
"""How long a worker with room leaves the jobs of other shares to other workers, in seconds."""
CONTENDED_S: Final = 1.0
"""How long a worker prefers its share after a lost try, in seconds."""
NAMES_HOLD_S: Final = 5.0
"""Time, in seconds, after which a worker lists the workers of the queue again."""
SHARES_MOST: Final = 4
"""The most shares. A worker chooses from this many times the number of jobs that it can take. If
there are more workers, a worker does not list them: it chooses a share at random for each try."""

_CHANCE = random.Random()  # noqa: S311 -- not the shared one, which a task may have seeded


class Share(NamedTuple):
    """A worker's share of the jobs: share ``number``, from 0, of ``of``."""

    number: int = 0
    of: int = 1


_ALL: Final = Share()


class Shares:
    """Knows which share a worker prefers now.

    Args:
        list_workers: returns the ids of the workers of the queue.
    """

    def __init__(self, list_workers: Callable[[], Sequence[str]]) -> None:
        self._list_workers = list_workers
        self._contended_until = 0.0
        self._fill_at: float | None = None
        """When the worker may take the jobs that it has left to others; None: it has left none."""
        self._listed_until = 0.0
        self._workers: list[str] = []

    def note_lost(self, now: float) -> None:
        """Record a try to take jobs that other workers have taken."""
        self._contended_until = now + CONTENDED_S

    def divide(
        self, chosen: Sequence[Candidate], count: int, share: Share, now: float
    ) -> tuple[list[Candidate], list[Candidate], float | None]:
        """Return the jobs to try to take, the other jobs, and when to choose again (`split`).

        The time is None if the worker leaves no job that it has room for.
        """
        may_fill = self._fill_at is not None and now >= self._fill_at
        picked, others = split(chosen, count, share, may_fill=may_fill)
        if share.of == 1 or may_fill or not others or len(picked) == count:
            self._fill_at = None
        elif self._fill_at is None:
            self._fill_at = now + LEAVE_S
        return picked, others, self._fill_at

    def current(self, worker: str, worker_count: int, now: float) -> Share:
        """Return the share of a worker. ``worker_count`` is the number of workers of the queue."""
        if now >= self._contended_until:
            return _ALL
        if worker_count > SHARES_MOST:
            return Share(_CHANCE.randrange(SHARES_MOST), SHARES_MOST)
        if now >= self._listed_until:
            self._listed_until = now + NAMES_HOLD_S
            self._workers = sorted(self._list_workers())
        count = max(1, min(SHARES_MOST, len(self._workers)))
        if worker not in self._workers:
            return Share(_CHANCE.randrange(count), count)
        return Share(self._workers.index(worker) % count, count)


def split(
    chosen: Sequence[Candidate], count: int, share: Share, *, may_fill: bool = True
) -> tuple[list[Candidate], list[Candidate]]:
    """Return up to ``count`` of the chosen jobs to try to take, and the other jobs; both in order.

    ``chosen`` are the first jobs, in order. ``may_fill`` is whether the worker takes jobs of other
    shares if its own share has fewer than ``count``.
    """
    if share.of == 1:
        return list(chosen[:count]), list(chosen[count:])
    priority = chosen[0].job.priority if chosen else 0
    alike = next((n for n, one in enumerate(chosen) if one.job.priority != priority), len(chosen))
    if alike <= count and may_fill:
        return list(chosen[:count]), list(chosen[count:])
    own = [n for n in range(alike) if chosen[n].job.sequence % share.of == share.number]
    picked = set(own[:count])
    # A worker without own jobs does not wait: the other workers may not know these jobs yet.
    for number in range(alike if may_fill or not own else 0):
        if len(picked) == count:
            break
        picked.add(number)
    return (
        [one for n, one in enumerate(chosen) if n in picked],
        [one for n, one in enumerate(chosen) if n not in picked],
    )
