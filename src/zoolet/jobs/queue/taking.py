"""Takes jobs from unowned for workers, and moves the jobs aside that cannot start.

This module imports `zoolet.jobs.errors`, `zoolet.jobs.limits`, `zoolet.jobs.records`,
`zoolet.jobs.znodes` and other modules of its package.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple, final

from zoolet.jobs.errors import JobTakenError, LimitReachedError
from zoolet.jobs.limits.admission import Admission
from zoolet.jobs.limits.gate import Gate
from zoolet.jobs.queue.moves import Move, Mover
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.transitions import Event, Place
from zoolet.jobs.znodes import batch_log
from zoolet.jobs.znodes.job_znodes import read_job
from zoolet.jobs.znodes.layout import Layout

EXPIRED = "it expired before a worker could start it"
"""The error of a job that expires."""
LEFT_MS = 500
"""How much longer than other workers a worker leaves a job whose task it could not import, in ms.

So another worker can take the job first.
"""


Screen = Callable[[Job], str | None]
"""A function that returns None for a job that may run. It returns LEAVE for a job that stays in
unowned for other workers, and otherwise the error with which the job is FAILED."""
LEAVE: Final = ""


class TakeResult(NamedTuple):
    """The jobs that a worker tried to take, by outcome.

    Jobs that had left unowned, that expired, or that another worker took first are in no list.

    Attributes:
        owned: the jobs that the worker owns now.
        deferred: the jobs that cannot start yet and are in deferred now.
        unreadable: the jobs whose values are invalid; they are in done now, as FAILED.
        left: the jobs that stay in unowned for other workers, because this worker could not import
            their task a short time ago.
        spare: the jobs that could start and stay in unowned, because ``most`` jobs were taken, or
            because another worker has just claimed a limit of the job.
        unsuitable: the jobs that stay in unowned for other workers, because this worker lacks a tag
            that they require, or does not allow their task or loader.
    """

    owned: list[Job]
    deferred: list[Job]
    unreadable: list[Job]
    left: list[Job]
    spare: list[Job]
    unsuitable: list[Job]


@final
class Taker:
    """Takes jobs for workers.

    Attributes:
        screen: says which jobs this worker refuses; None: it refuses none.
        gate: decides which jobs may start under the limits of the queue.
    """

    def __init__(self, layout: Layout, mover: Mover, clock_ms: Callable[[], int]) -> None:
        self._layout = layout
        self._mover = mover
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._last_ms = 0
        self.screen: Screen | None = None
        self.gate = Gate(layout, clock_ms)

    def time_ms(self) -> int:
        """Return the time for `Job.taken`, which is later than at each earlier call.

        So two takes of a job by the same worker differ, even within a millisecond.
        """
        with self._lock:
            self._last_ms = max(self._last_ms + 1, self._clock_ms())
            return self._last_ms

    def take_one(self, job: Job, worker: str) -> Job:
        """Take a job that was read in unowned, and return it in state STAGING.

        Raises:
            JobTakenError: another program moved or took the job first.
            LimitReachedError: a limit of the queue has no room for the job.
            WorkerGoneError: the worker is not registered, or not any more.
        """
        admission = self.gate.admission([job])
        move = Move(Event.TAKE, Place.UNOWNED, job, job.taken(worker, self.time_ms()))
        if admission is not None:
            limit, slots, claims = admission.judge(job)
            if limit is not None:
                raise LimitReachedError(
                    f"{job.name} cannot start now: the limit {limit} is reached"
                )
            move = move._replace(after=move.after._replace(slots=slots), claims=claims)
        if not self._mover.move([move], worker):
            raise JobTakenError(f"{job.name}: another program moved or took the job first")
        return move.after

    def take(
        self,
        names: Sequence[str],
        worker: str,
        most: int | None = None,
        tags: Collection[str] | None = None,
    ) -> TakeResult:
        """Take up to ``most`` of the named jobs in unowned that can start; None: no limit.

        ``tags`` are the tags of the worker; None: it takes jobs whatever tags they require.

        Jobs that have expired, are unreadable or are refused are moved to done, as FAILED. Jobs
        that cannot start yet are moved to deferred: a limit has no room for them. Older versions
        also create jobs in unowned that wait for a time or a batch.

        Raises:
            WorkerGoneError: the worker is not registered, or not any more.
        """
        now_ms = self.time_ms()
        job_paths = self._layout.job_paths
        paths_of = [job_paths.job(Place.UNOWNED, name) for name in names]
        picked = TakeResult([], [], [], [], [], [])
        znodes = {
            name: znode
            for name, znode in zip(names, self._layout.znodes.get_all(paths_of), strict=True)
            if znode is not None
        }
        found = [read_job(Place.UNOWNED, name, znode) for name, znode in znodes.items()]
        held = self._held_batches(found)
        ready: list[Move] = []
        others: list[Move] = []
        for job in found:
            if job.is_stand_in:
                picked.unreadable.append(job)
                others.append(Move(Event.UNREADABLE, Place.UNOWNED, job, job.gave_up(now_ms)))
            elif job.expires_ms is not None and now_ms > job.expires_ms:
                after = job.ended_by(now_ms, EXPIRED)
                others.append(Move(Event.EXPIRE, Place.UNOWNED, job, after))
            elif job.chained and job.batch in held:
                others.append(Move(Event.DEFER, Place.UNOWNED, job, job.held()))
            elif (job.not_before_ms or 0) > now_ms:
                others.append(Move(Event.DEFER, Place.UNOWNED, job, job.put_off(now_ms)))
            elif job.import_worker == worker and now_ms < (job.not_before_ms or 0) + LEFT_MS:
                picked.left.append(job)
            elif job.tags and tags is not None and not set(job.tags) <= set(tags):
                picked.unsuitable.append(job)
            elif self.screen is None or (refusal := self.screen(job)) is None:
                # The multi that moved the job to unowned has created the znode.
                after = job.taken(worker, now_ms, znodes[job.name].created_ms)
                ready.append(Move(Event.TAKE, Place.UNOWNED, job, after))
            elif refusal == LEAVE:
                picked.unsuitable.append(job)
            else:
                after = job.ended_by(now_ms, refusal)
                others.append(Move(Event.REFUSE, Place.UNOWNED, job, after))
        self._take_ready(ready, worker, most, picked, others)
        return picked

    def _take_ready(
        self,
        ready: list[Move],
        worker: str,
        most: int | None,
        picked: TakeResult,
        others: list[Move],
    ) -> None:
        """Make the moves ``others``, and take up to ``most`` jobs that the limits let start."""
        admission = self.gate.admission([move.before for move in ready]) if ready else None
        if admission is None:
            moves = ready if most is None else ready[:most]
            picked.spare.extend([move.before for move in ready[len(moves) :]])
        else:
            moves = self._admitted(ready, most, admission, picked, others)
        made = self._mover.move(others)
        picked.deferred.extend([m.after for m in made if m.after.waits_for is not None])
        taken = self._mover.move(moves, worker)
        picked.owned.extend([move.after for move in taken])
        if admission is not None:
            owned = {move.after.name for move in taken}
            picked.spare.extend(
                [m.before for m in moves if m.claims and m.before.name not in owned]
            )

    def _admitted(
        self,
        ready: Sequence[Move],
        most: int | None,
        admission: Admission,
        picked: TakeResult,
        others: list[Move],
    ) -> list[Move]:
        """Return the moves that take up to ``most`` jobs which the limits let start.

        Adds the moves of jobs that must wait for a limit to ``others``.
        """
        moves: list[Move] = []
        for move in ready:
            job = move.before
            if len(moves) == most:
                picked.spare.append(job)
                continue
            limit, slots, claims = admission.judge(job)
            if limit is not None:
                others.append(Move(Event.DEFER, Place.UNOWNED, job, job.held_by(limit)))
            else:
                after = move.after._replace(slots=slots)
                moves.append(Move(Event.TAKE, Place.UNOWNED, job, after, claims))
        return moves

    def _held_batches(self, jobs: Sequence[Job]) -> set[str]:
        """Return the names of the jobs' batches that still wait for another batch."""
        chained = list({job.batch for job in jobs if job.chained and job.batch is not None})
        if not chained:
            return set()
        wanted = [batch_log.chain_path(self._layout, batch) for batch in chained]
        exist = self._layout.znodes.which_exist(wanted)
        return {batch for batch, is_held in zip(chained, exist, strict=True) if is_held}
