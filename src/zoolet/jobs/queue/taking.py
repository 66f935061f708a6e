"""Takes jobs from unowned for workers, and moves the jobs aside that cannot start.

This module imports `zoolet.jobs.records` and other modules of its package and of
`zoolet.jobs.znodes`.
"""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, final

from zoolet.jobs.queue.moves import Move, Mover
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.transitions import Event, Place
from zoolet.jobs.znodes import batch_log
from zoolet.jobs.znodes.layout import Layout, read_job

LEFT_MS = 500
"""How much longer than other workers a worker leaves a job whose task it could not import, in ms.

So another worker can take the job first.
"""


class TakeResult(NamedTuple):
    """The jobs that a worker tried to take, by outcome.

    Jobs that had left unowned, that expired, or that another worker took first are in no list.

    Attributes:
        owned: the jobs that the worker owns now.
        deferred: the jobs that cannot start yet and are in deferred now.
        unreadable: the jobs whose values are invalid; they are in done now, as FAILED.
        left: the jobs that stay in unowned for other workers, because this worker could not import
            their task a short time ago.
        spare: the jobs that could start and stay in unowned, because ``most`` jobs were taken.
    """

    owned: list[Job]
    deferred: list[Job]
    unreadable: list[Job]
    left: list[Job]
    spare: list[Job]


@final
class Taker:
    """Takes jobs for workers."""

    def __init__(self, layout: Layout, mover: Mover, clock_ms: Callable[[], int]) -> None:
        self._layout = layout
        self._mover = mover
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._last_ms = 0

    def time_ms(self) -> int:
        """Return the time for `Job.taken`, which is later than at each earlier call.

        So two takes of a job by the same worker differ, even within a millisecond.
        """
        with self._lock:
            self._last_ms = max(self._last_ms + 1, self._clock_ms())
            return self._last_ms

    def take(self, names: Sequence[str], worker: str, most: int | None = None) -> TakeResult:
        """Take up to ``most`` of the named jobs in unowned that can start; None: no limit.

        Jobs that have expired or are unreadable are moved to done, as FAILED. Jobs that cannot
        start yet are moved to deferred; only older versions create such jobs in unowned.

        Raises:
            WorkerGoneError: the worker is not registered, or not any more.
        """
        now_ms = self.time_ms()
        paths_of = [self._layout.unowned(name) for name in names]
        picked = TakeResult([], [], [], [], [])
        found = [
            read_job(Place.UNOWNED, name, znode)
            for name, znode in zip(names, self._layout.znodes.get_all(paths_of), strict=True)
            if znode is not None
        ]
        held = self._held_batches(found)
        moves: list[Move] = []
        others: list[Move] = []
        for job in found:
            if job.is_stand_in:
                picked.unreadable.append(job)
                others.append(Move(Event.UNREADABLE, Place.UNOWNED, job, job.gave_up(now_ms)))
            elif job.expires_ms is not None and now_ms > job.expires_ms:
                after = job.ended_by(now_ms, "it expired before a worker could start it")
                others.append(Move(Event.EXPIRE, Place.UNOWNED, job, after))
            elif job.chained and job.batch in held:
                others.append(Move(Event.DEFER, Place.UNOWNED, job, job.held()))
            elif (job.not_before_ms or 0) > now_ms:
                others.append(Move(Event.DEFER, Place.UNOWNED, job, job.put_off(now_ms)))
            elif job.import_worker == worker and now_ms < (job.not_before_ms or 0) + LEFT_MS:
                picked.left.append(job)
            elif len(moves) == most:
                picked.spare.append(job)
            else:
                moves.append(Move(Event.TAKE, Place.UNOWNED, job, job.taken(worker, now_ms)))
        made = self._mover.move(others)
        picked.deferred.extend(m.after for m in made if m.after.waits_for is not None)
        picked.owned.extend(move.after for move in self._mover.move(moves, worker))
        return picked

    def _held_batches(self, jobs: Sequence[Job]) -> set[str]:
        """Return the names of the jobs' batches that still wait for another batch."""
        chained = list({job.batch for job in jobs if job.chained and job.batch is not None})
        if not chained:
            return set()
        wanted = [batch_log.chain_path(self._layout, batch) for batch in chained]
        exist = self._layout.znodes.which_exist(wanted)
        return {batch for batch, is_held in zip(chained, exist, strict=True) if is_held}
