"""The part of the housekeeping that ends jobs which expire while they wait in "deferred".

Only jobs whose entries in ``expiries`` are due are read. Invariants:

- All state in memory can be read from the queue again: `begin` clears this state.
- One call of `expire` makes at most `MULTIS_AT_ONCE` multis, so that other duties have their turn.
- An entry whose job is not in "deferred" any more is removed when it is due.

This module imports `zoolet.jobs.queue`, `zoolet.jobs.records`, `zoolet.jobs.znodes` and other
modules of its package.
"""

from collections.abc import Callable
from typing import Final

from zoolet.jobs.housekeeping.due_buckets import DueBuckets
from zoolet.jobs.queue.moves import Move
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.queue.taking import EXPIRED
from zoolet.jobs.records.transitions import Event, Place
from zoolet.jobs.znodes.deferred_index import bucket_of, bucket_path, expiry_path
from zoolet.jobs.znodes.layout import EXPIRIES
from zoolet.jobs.znodes.multis import JOBS_AT_ONCE

MULTIS_AT_ONCE: Final = 20
_TRIES: Final = 3
"""The tries for a job. A refusal means that another program has moved the job."""


class Expirer:
    """Ends the jobs of a queue that expire in "deferred".

    Args:
        jobs: the queue.
        wake: called by any thread when `expire` must be called before the time that it returned.
    """

    def __init__(self, jobs: JobQueue, wake: Callable[[], None]) -> None:
        self._jobs = jobs
        self._layout = jobs.layout
        self._due = DueBuckets(jobs.layout, EXPIRIES, wake)

    def begin(self) -> None:
        """Clear the state in memory."""
        self._due.begin()

    def expire(self) -> float | None:
        """End jobs that have expired, and return the time, in seconds, until the next call.

        Returns 0 if more jobs can be ended now, and None if only ``wake`` requires another call.
        """
        # A job may still start at the time of its expiry, and not later.
        before_ms = self._jobs.clock_ms() - 1
        self._due.list_begun(before_ms)
        for _ in range(MULTIS_AT_ONCE):
            some = self._due.take(JOBS_AT_ONCE, before_ms)
            if not some:
                break
            paths = {
                entry.name: f"{bucket_path(self._layout, bucket_of(entry.not_before_ms), EXPIRIES)}"
                f"/{entry.child}"
                for entry in some
            }
            for _ in range(_TRIES):
                paths = self._end(paths)
                if not paths:
                    break
        return 0.0 if self._due.has_collected else self._due.next_in_s(before_ms)

    def _end(self, paths: dict[str, str]) -> dict[str, str]:
        """End the jobs of these entries; return the entries whose jobs were moved meanwhile."""
        names = list(paths)
        now_ms = self._jobs.clock_ms()
        moves: list[Move] = []
        for name, job in zip(names, self._layout.read_each(Place.DEFERRED, names), strict=True):
            if job is None or job.is_stand_in or expiry_path(self._layout, job) != paths[name]:
                self._layout.znodes.delete(paths[name])
            else:
                moves.append(Move(Event.EXPIRE, Place.DEFERRED, job, job.ended_by(now_ms, EXPIRED)))
        made = {move.before.name for move in self._jobs.mover.move(moves)}
        return {m.before.name: paths[m.before.name] for m in moves if m.before.name not in made}
