"""Retries the FAILED jobs that a filter selects, each of them one time, also if it is interrupted.

Invariant: a retry has a znode while it is in progress, with the time when it began. If the same
retry is started again, it continues: jobs that ended after this time are left out, because the
retry has perhaps let them wait again already, and they FAILED again. This module imports
`zoolet.jobs.errors`, `zoolet.jobs.records`, `zoolet.jobs.signing`, `zoolet.jobs.znodes` and other
modules of its package.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from zoolet.jobs.errors import JobError, SignatureError
from zoolet.jobs.queue.moves import Move
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_filters import JobFilter, RetryRecord
from zoolet.jobs.records.transitions import Event, JobState, Place
from zoolet.jobs.signing.signer import Signer, renewed
from zoolet.jobs.znodes.batch_log import read_chunks, read_record
from zoolet.jobs.znodes.layout import RETRIES
from zoolet.jobs.znodes.multis import JOBS_AT_ONCE
from zoolet.jobs.znodes.operations import Create, RefusedError, SetData

log = logging.getLogger(__name__)

_TRIES = 20
"""The tries to note a retry. A refusal means that another program noted or ended the retry."""


class RetriedJobs(NamedTuple):
    """What a retry has done.

    Attributes:
        jobs: the number of jobs that wait again.
        began_ms: the time when the retry began; earlier than the call if an interrupted retry was
            continued. Jobs that ended after this time were not retried.
        is_continued: whether an interrupted retry was continued.
    """

    jobs: int
    began_ms: int
    is_continued: bool


def retry_failed(
    queue: JobQueue,
    selected: JobFilter,
    on_retried: Callable[[Job], object] = lambda _: None,
) -> RetriedJobs:
    """Let the FAILED jobs that a filter selects wait again; their attempts start from 0.

    ``on_retried`` is called with each job that waits again.

    Raises:
        UnknownBatchError: the queue does not have the batch of the filter.
    """
    layout = queue.layout
    selected = dataclasses.replace(selected, state=JobState.FAILED)
    pages = _pages(queue, selected)
    path = layout.znodes.path(RETRIES, selected.id)
    began_ms, is_continued = _begin(queue, path, selected)
    # A job that the batch joined has another batch in its value.
    selected = dataclasses.replace(selected, batch=None)
    retried = 0
    for names in pages:
        for start in range(0, len(names), JOBS_AT_ONCE):
            some = layout.read(Place.DONE, names[start : start + JOBS_AT_ONCE])
            wanted = [job for job in some if _is_wanted(job, selected, began_ms)]
            moves = [move for job in wanted if (move := _move(job, queue.signer)) is not None]
            for move in queue.mover.move(moves):
                on_retried(move.after)
                retried += 1
    layout.znodes.delete(path)
    return RetriedJobs(retried, began_ms, is_continued)


def _is_wanted(job: Job, selected: JobFilter, began_ms: int) -> bool:
    is_old = job.finished_ms is None or job.finished_ms <= began_ms
    return is_old and not job.is_stand_in and selected.selects(job)


def _move(job: Job, signer: Signer | None) -> Move | None:
    """Return the move of a job that waits again; None if its signature is not valid."""
    try:
        return Move(Event.RETRY, Place.DONE, job, renewed(job, signer))
    except SignatureError as error:
        log.warning("%s", error)
        return None


def _pages(queue: JobQueue, selected: JobFilter) -> Iterator[Sequence[str]]:
    """Return the names of the jobs that may be selected, some at a time."""
    if selected.batch is None:
        return ([name.name for name in page] for page in queue.layout.iterate_names(Place.DONE))
    chunks = read_chunks(queue.layout, read_record(queue.layout, selected.batch))
    return iter([[name for name, _ in chunk] for chunk in chunks])


def _begin(queue: JobQueue, path: str, selected: JobFilter) -> tuple[int, bool]:
    """Note that the retry is in progress; return when it began, and whether it is continued."""
    znodes = queue.layout.znodes
    queue.layout.check()
    znodes.ensure(znodes.path(RETRIES))
    for _ in range(_TRIES):
        found = znodes.get(path)
        record = None if found is None else RetryRecord.decode(found.data)
        if record is not None:
            return record.began_ms, True
        record = RetryRecord(queue.server_time_ms())
        data = record.encode(selected)
        write = Create(path, data) if found is None else SetData(path, data, found.version)
        try:
            znodes.multi([write], landed=lambda: False)
        except RefusedError:
            # Another program noted the same retry, or the reply of the first try was lost.
            continue
        return record.began_ms, False
    raise JobError(
        "the retry was not started: other programs start the same retry all the time. Try again"
    )
