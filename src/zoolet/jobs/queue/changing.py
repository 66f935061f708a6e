"""Changes of all jobs that a filter selects: retry, cancel, pause. Each job is changed one time.

Invariants:

- A change has a znode while it is in progress, with its filter and the time when it began
  (`zoolet.jobs.records.job_changes`). If the same change is made again after an interruption, it
  continues: it leaves out jobs that were submitted, retried or ended after this time. So a job that
  was changed, and that somebody has changed back, is not changed again.
- Each job is moved with the version that was read. A job that another program has changed since
  then is left out, and counted as skipped.
- The jobs are read in small parts, so the memory that a change needs does not depend on their
  number.

This module imports `zoolet.jobs.errors`, `zoolet.jobs.records`, `zoolet.jobs.signing`,
`zoolet.jobs.znodes` and other modules of its package.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from zoolet.jobs.errors import JobError, SignatureError
from zoolet.jobs.queue.moves import Move
from zoolet.jobs.queue.pausing import jobs_pause_name, note_cancellation
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_changes import ChangeRecord, JobChange
from zoolet.jobs.records.job_filters import JobFilter
from zoolet.jobs.records.job_names import JobName
from zoolet.jobs.records.job_values import TIME_LIMIT_MS, WAITS_FOR_BATCH, WAITS_FOR_LIMIT
from zoolet.jobs.records.transitions import Event, JobState, Place
from zoolet.jobs.signing.signer import renewed
from zoolet.jobs.znodes.batch_log import read_chunks, read_record
from zoolet.jobs.znodes.deadlines import TIMEOUT_S
from zoolet.jobs.znodes.edge import MissingError
from zoolet.jobs.znodes.layout import CHANGES, RETRIES
from zoolet.jobs.znodes.multis import JOBS_AT_ONCE
from zoolet.jobs.znodes.operations import Create, RefusedError, SetData

log = logging.getLogger(__name__)

UNFINISHED_SHOWN = 100
"""The most unfinished changes of a kind that are listed."""
_TRIES = 20
"""The tries to note a change. A refusal means that another program noted or ended the change."""
_ROUNDS = 3
"""The most times that the waiting jobs are searched: jobs can move back while they are searched."""


class ChangeProgress(NamedTuple):
    """How far a change, or the count of the jobs for it, has come.

    Attributes:
        looked_at: the number of jobs that were looked at; a job may be looked at twice.
        jobs: the number of jobs that were changed, or counted.
        skipped: the number of selected jobs that were left out: another program has changed the
            job meanwhile, or its signature is not valid, or its batch waits for another batch.
    """

    looked_at: int = 0
    jobs: int = 0
    skipped: int = 0


class ChangedJobs(NamedTuple):
    """What a change has done.

    Attributes:
        jobs: the number of jobs that were changed.
        skipped: the number of selected jobs that were left out (`ChangeProgress`).
        began_ms: the time when the change began; earlier than the call if an interrupted change was
            continued. Jobs that came into the queue, ended or were retried later were left out.
        is_continued: whether an interrupted change was continued.
    """

    jobs: int
    skipped: int
    began_ms: int
    is_continued: bool


class JobCount(NamedTuple):
    """The number of jobs that a change would change.

    Attributes:
        jobs: the number of jobs.
        at_ms: the time before the count, by the server's clock. A change that gets it as
            ``began_ms`` leaves out jobs that were submitted, retried or ended later.
    """

    jobs: int
    at_ms: int


class UnfinishedChange(NamedTuple):
    """A change that is in progress, or that was interrupted.

    Attributes:
        id: identifies the change in its queue.
        change: the change.
        selected: the filter; None if its value is invalid.
        began_ms: the time when the change began.
    """

    id: str
    change: JobChange
    selected: JobFilter | None
    began_ms: int


class _Until(NamedTuple):
    """The times after which jobs are left out.

    Attributes:
        changed_ms: jobs that ended or were retried later are left out.
        submitted_ms: jobs that were submitted later are left out. The program that submits a job
            writes its time, and its clock may be wrong. So a change that was not counted first, and
            that is not continued, has no such limit.
    """

    changed_ms: int
    submitted_ms: int = TIME_LIMIT_MS


OnProgress = Callable[[ChangeProgress], object]
OnChanged = Callable[[Job], object]


def _ignore(_: object) -> None:
    pass


class JobChanges:
    """Changes of all jobs of a queue that a filter selects.

    Every method has ``timeout_s``, the time limit of each request in seconds; None: no limit.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._layout = queue.layout
        self._znodes = queue.layout.znodes

    def count(
        self,
        change: JobChange,
        selected: JobFilter,
        on_progress: OnProgress = _ignore,
        *,
        timeout_s: float | None = TIMEOUT_S,
    ) -> JobCount:
        """Return how many jobs a change would change now. This reads all jobs that it may change.

        Raises:
            UnknownBatchError: the queue does not have the batch of the filter.
        """
        with self._znodes.within(timeout_s, "count the jobs", each_request=True):
            self._layout.check()
            at_ms = self._queue.server_time_ms()
            found = ChangeProgress()
            for looked_at, jobs in self._selected(change, selected, _Until(at_ms, at_ms)):
                can_move = sum(_can_move(change, job) for job in jobs)
                found = _plus(found, looked_at, can_move, len(jobs) - can_move)
                on_progress(found)
            return JobCount(found.jobs, at_ms)

    def make(
        self,
        change: JobChange,
        selected: JobFilter,
        on_progress: OnProgress = _ignore,
        *,
        began_ms: int | None = None,
        on_changed: OnChanged = _ignore,
        timeout_s: float | None = TIMEOUT_S,
    ) -> ChangedJobs:
        """Change all jobs that the filter selects; continue the same change if it was interrupted.

        Args:
            change: the change.
            selected: which jobs are changed.
            on_progress: called after each part of the jobs. If it raises an error, the change is
                interrupted: the same call continues it.
            began_ms: the time of the count (`JobCount`); None: now. An interrupted change keeps
                the time when it began.
            on_changed: called with each job after its change.
            timeout_s: the time limit of each request.

        Raises:
            UnknownBatchError: the queue does not have the batch of the filter.
            InvalidJobError: the queue has too many limits for another pause.
        """
        unknown = "some jobs may have been changed"
        with self._znodes.within(timeout_s, f"{change} jobs", unknown=unknown, each_request=True):
            if selected.batch is not None:
                read_record(self._layout, selected.batch)
            path = self._path(change, selected)
            is_counted = began_ms is not None
            if change is JobChange.PAUSE and not self._znodes.exists(path):
                # Before the record: if a program finds a record without a pause, a user ended it.
                self._queue.pauses.add_jobs(selected)
            began_ms, is_continued = self._begin(path, change, selected, began_ms)
            is_limited = is_counted or is_continued
            until = _Until(began_ms, began_ms) if is_limited else _Until(began_ms)
            if change is JobChange.PAUSE and not self._has_pause(selected):
                self._znodes.delete(path)
                return ChangedJobs(0, 0, began_ms, is_continued)
            found = self._make_all(change, selected, until, on_progress, on_changed)
            self._znodes.delete(path)
            return ChangedJobs(found.jobs, found.skipped, began_ms, is_continued)

    def unfinished(self, *, timeout_s: float | None = TIMEOUT_S) -> list[UnfinishedChange]:
        """Return up to 200 changes that are in progress or were interrupted, the oldest first."""
        found: list[UnfinishedChange] = []
        with self._znodes.within(timeout_s, "list the changes", each_request=True):
            for parent in (RETRIES, CHANGES):
                try:
                    names = sorted(self._znodes.children(self._znodes.path(parent)))
                except MissingError:
                    continue
                names = names[:UNFINISHED_SHOWN]
                znodes = self._znodes.get_all([self._znodes.path(parent, name) for name in names])
                for name, znode in zip(names, znodes, strict=True):
                    record = None if znode is None else ChangeRecord.decode(znode.data)
                    if record is not None:
                        found.append(UnfinishedChange(f"{parent}/{name}", *_parts(record)))
        return sorted(found, key=lambda one: one.began_ms)

    def forget(
        self, change: JobChange, selected: JobFilter, *, timeout_s: float | None = TIMEOUT_S
    ) -> None:
        """Give up an interrupted change; the jobs that it has changed stay changed."""
        with self._znodes.within(timeout_s, "give up a change", unknown="it may be given up"):
            self._znodes.delete(self._path(change, selected))

    # --- The record of a change

    def _path(self, change: JobChange, selected: JobFilter) -> str:
        if change is JobChange.RETRY:
            # Only FAILED jobs can be retried, so both filters are the same retry.
            selected = dataclasses.replace(selected, state=selected.state or JobState.FAILED)
            return self._znodes.path(RETRIES, selected.id)
        return self._znodes.path(CHANGES, f"{change}-{selected.id}")

    def _begin(
        self, path: str, change: JobChange, selected: JobFilter, began_ms: int | None
    ) -> tuple[int, bool]:
        """Note that the change is in progress; return when it began, and if it is continued."""
        self._layout.check()
        self._znodes.ensure(path.rpartition("/")[0])
        for _ in range(_TRIES):
            found = self._znodes.get(path)
            old = None if found is None else ChangeRecord.decode(found.data)
            if old is not None:
                return old.began_ms, True
            now_ms = self._queue.server_time_ms()
            record = ChangeRecord(change, selected, now_ms if began_ms is None else began_ms)
            data = record.encode()
            write = Create(path, data) if found is None else SetData(path, data, found.version)
            try:
                self._znodes.multi([write], landed=lambda: False)
            except RefusedError:
                # Another program noted the same change, or the reply of the first try was lost.
                continue
            return record.began_ms, False
        raise JobError(
            f"the jobs were not changed ({change}): other programs start the same change all the"
            " time. Try again"
        )

    def _has_pause(self, selected: JobFilter) -> bool:
        """Return whether the pause of the jobs exists; a user may have ended it."""
        name = jobs_pause_name(selected)
        return any(pause.name == name for pause in self._queue.pauses.all())

    # --- The jobs

    def _make_all(
        self,
        change: JobChange,
        selected: JobFilter,
        until: _Until,
        on_progress: OnProgress,
        on_changed: OnChanged,
    ) -> ChangeProgress:
        looked_at = changed = refused = 0
        # What ends later than the change began is left out, so one round is enough for a retry.
        for _ in range(1 if change is JobChange.RETRY else _ROUNDS):
            before, left_out = changed, 0
            for count, jobs in self._selected(change, selected, until):
                moves = self._moves(change, selected, jobs)
                made = self._queue.mover.move(moves)
                if change is JobChange.CANCEL and any(one.place is Place.OWNED for one in made):
                    note_cancellation(self._znodes)
                for move in made:
                    on_changed(move.after)
                looked_at += count
                changed += len(made)
                refused += len(moves) - len(made)
                left_out += len(jobs) - len(moves)
                on_progress(ChangeProgress(looked_at, changed, refused + left_out))
            if changed == before:
                break
        return ChangeProgress(looked_at, changed, refused + left_out)

    def _moves(self, change: JobChange, selected: JobFilter, jobs: Sequence[Job]) -> list[Move]:
        now_ms = self._queue.clock_ms()
        pause = jobs_pause_name(selected) if change is JobChange.PAUSE else ""
        found = [
            self._move_of(change, job, now_ms, pause) for job in jobs if _can_move(change, job)
        ]
        return [move for move in found if move is not None]

    def _move_of(self, change: JobChange, job: Job, now_ms: int, pause: str) -> Move | None:
        """Return the move of a job; None if its signature is not valid."""
        if change is JobChange.CANCEL:
            return Move(Event.CANCEL, job.place, job, job.ended_by(now_ms, "it was cancelled"))
        if change is JobChange.PAUSE:
            event = Event.DEFER if job.place is Place.UNOWNED else Event.RELEASE
            return Move(event, job.place, job, job.held_by(pause))
        try:
            return Move(Event.RETRY, Place.DONE, job, renewed(job, self._queue.signer, now_ms))
        except SignatureError as error:
            log.warning("%s", error)
            return None

    def _selected(
        self, change: JobChange, selected: JobFilter, until: _Until
    ) -> Iterator[tuple[int, list[Job]]]:
        """Yield the selected jobs, some at a time, each time with how many were looked at."""
        pause = jobs_pause_name(selected) if change is JobChange.PAUSE else ""
        # A job that the batch joined has another batch in its value.
        wanted = dataclasses.replace(selected, batch=None)
        for place, names in self._pages(change, selected):
            for start in range(0, len(names), JOBS_AT_ONCE):
                some = names[start : start + JOBS_AT_ONCE]
                jobs = self._layout.read(place, some)
                yield (
                    len(some),
                    [job for job in jobs if _is_wanted(change, job, wanted, until, pause)],
                )

    def _pages(
        self, change: JobChange, selected: JobFilter
    ) -> Iterator[tuple[Place, Sequence[str]]]:
        """Yield the names of the jobs that may be selected, some at a time."""
        if selected.batch is None:
            for place in change.places:
                for page in self._layout.iterate_parts(place):
                    yield place, [name.name for name in page if _may_be(selected, name)]
            return
        chunks = read_chunks(self._layout, read_record(self._layout, selected.batch))
        for place in change.places:
            for chunk in chunks:
                yield place, [name for name, _ in chunk]


def _may_be(selected: JobFilter, name: JobName) -> bool:
    """Return whether a job of this name may be selected, so that it must be read."""
    return selected.dataset in {None, name.dataset}


def _is_wanted(change: JobChange, job: Job, selected: JobFilter, until: _Until, pause: str) -> bool:
    if change is JobChange.RETRY:
        is_right = job.state is JobState.FAILED and not job.is_stand_in
        is_old = (job.finished_ms or 0) <= until.changed_ms
    else:
        is_right = not job.has_ended
        is_old = (
            job.submitted_ms <= until.submitted_ms and (job.retried_ms or 0) <= until.changed_ms
        )
    is_paused = job.waits_for == WAITS_FOR_LIMIT and job.limit == pause
    return is_right and is_old and not is_paused and selected.selects(job)


def _can_move(change: JobChange, job: Job) -> bool:
    """Return whether a change can change a selected job.

    A batch that waits for another batch cannot start, so its jobs are not paused. When the batch
    starts, another program moves its jobs, which must find them as it has left them.
    """
    return change is not JobChange.PAUSE or job.waits_for != WAITS_FOR_BATCH


def _plus(before: ChangeProgress, looked_at: int, jobs: int, skipped: int) -> ChangeProgress:
    return ChangeProgress(
        before.looked_at + looked_at, before.jobs + jobs, before.skipped + skipped
    )


def _parts(record: ChangeRecord) -> tuple[JobChange, JobFilter | None, int]:
    return record.change, record.selected, record.began_ms
