"""Reads the results of other jobs for jobs that receive them (`Job.receives`).

A thread of its own reads, because the result store may be slow. The thread is started with the
first such job. Invariant: a job gets its inputs only if it is still in hand, so a job that the
worker has lost is not attempted. This module imports `zoolet.jobs.errors`, `zoolet.jobs.execution`,
`zoolet.jobs.queue`, `zoolet.jobs.records`, `zoolet.jobs.results`, `zoolet.jobs.znodes` and other
modules of its package.
"""

import json
import queue
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from zoolet.jobs.errors import (
    DisconnectedError,
    JobError,
    JobNotFoundError,
    ResultStoreError,
    UnknownBatchError,
    UnreadableJobError,
)
from zoolet.jobs.execution.attempts import Outcome
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.batches import CHUNK_JOBS
from zoolet.jobs.records.dependencies import is_job
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.transitions import JobState, Place
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.worker.jobs_in_hand import JobInHand
from zoolet.jobs.znodes.batch_log import read_chunks, read_record
from zoolet.jobs.znodes.layout import Layout

INPUTS_MOST = 100_000
"""The most results that a job receives."""
INPUTS_LIMIT_BYTES = 256 * 1024 * 1024
"""The most bytes of JSON of all results that a job receives."""

_EXPECTED = (
    ResultStoreError,
    JobNotFoundError,
    UnknownBatchError,
    UnreadableJobError,
)


class InputReader:
    """Reads the inputs of jobs in hand.

    Args:
        jobs: the queue.
        results: the reader of large results.
        give: gives a job in hand to its executor, with its parameters.
        on_ended: called with the name of a job whose inputs cannot be read, the outcome of its
            attempt, and 0.
        start_thread: starts a thread of the worker.
    """

    def __init__(
        self,
        jobs: JobQueue,
        results: ResultReader,
        *,
        give: Callable[[JobInHand, dict[str, Any]], None],
        on_ended: Callable[[str, Outcome, float], None],
        start_thread: Callable[[Callable[[], None]], object],
    ) -> None:
        self._jobs = jobs
        self._results = results
        self._give = give
        self._on_ended = on_ended
        self._start_thread = start_thread
        self._wanted: queue.SimpleQueue[JobInHand | None] = queue.SimpleQueue()
        self._is_started = False

    def read(self, held: JobInHand) -> None:
        """Read the inputs of a job soon, in another thread, and give the job to its executor."""
        if not self._is_started:
            self._is_started = True
            self._start_thread(self._run)
        self._wanted.put(held)

    def close(self) -> None:
        """End the thread after the jobs that it was told about."""
        self._wanted.put(None)

    def _run(self) -> None:
        while (held := self._wanted.get()) is not None:
            job = held.job
            try:
                inputs = read_inputs(job, self._jobs, self._results)
            except DisconnectedError:
                raise
            except JobError as error:
                if not isinstance(error, _EXPECTED):
                    raise
                message = f"the results that the job receives cannot be read: {error}"
                self._on_ended(job.name, Outcome(error=message), 0.0)
            else:
                self._give(held, dict(job.parameters) | {str(job.receives): inputs})


def read_inputs(job: Job, jobs: JobQueue, results: ResultReader) -> list[Any]:
    """Return the results of the jobs for which the job's batch waited.

    The result of a job that is FAILED, or that has not ended, is None. A batch with
    `When.ONE_FAILED` starts before all of these jobs have ended, and a FAILED job may be retried.
    The results are in the order of the batch's dependencies, and within a batch in the order of
    submission.

    Raises:
        UnknownBatchError: the job's batch, or a batch for which it waited, was removed.
        JobNotFoundError: a job was removed, or there are too many.
        ResultStoreError: the store has no such result, or is down.
    """
    found: list[Any] = []
    size_bytes = 0
    for names in _names(job, jobs):
        if len(found) + len(names) > INPUTS_MOST:
            raise JobNotFoundError(f"there are more than {INPUTS_MOST} results")
        ended = _ended(jobs.layout, [name for name in names if name is not None])
        for name in names:
            one = None if name is None else ended.get(name)
            if one is None or one.state is JobState.FAILED:
                found.append(None)
            else:
                found.append(results.complete(one).result)
            size_bytes += len(json.dumps(found[-1]))
            if size_bytes > INPUTS_LIMIT_BYTES:
                raise JobNotFoundError(f"they have more than {INPUTS_LIMIT_BYTES} bytes of JSON")
    return found


def _ended(layout: Layout, names: Sequence[str]) -> dict[str, Job]:
    """Return by name the jobs that have ended; the others exist, and have not ended.

    Raises:
        JobNotFoundError: a job was removed.
    """
    ended = {job.name: job for job in layout.read(Place.DONE, names)}
    left = [name for name in names if name not in ended]
    for name in layout.ended_or_nowhere(left) if left else ():
        # The job has ended meanwhile, or it is moving, or it was removed.
        try:
            job = layout.find(name)
        except JobNotFoundError:
            raise JobNotFoundError(
                f"{name} was removed: keep ended jobs longer (--keep-done-ms, --keep-failed-ms)"
            ) from None
        if job.has_ended:
            ended[name] = job
    return ended


def _names(job: Job, jobs: JobQueue) -> Iterator[list[str | None]]:
    """Yield the names of the jobs whose results a job receives, some at a time.

    A job that is not submitted yet has the name None.
    """
    layout = jobs.layout
    record = read_record(layout, job.batch or "")
    dependencies = record.dependencies
    for name in () if dependencies is None else dependencies.after:
        if is_job(name):
            yield [name]
            continue
        other = read_record(layout, name)
        for number, chunk in enumerate(read_chunks(layout, other)):
            count = min(CHUNK_JOBS, other.jobs - number * CHUNK_JOBS)
            yield [one for one, _ in chunk] or [None] * count
