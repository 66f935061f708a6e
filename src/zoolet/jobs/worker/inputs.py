"""Reads the results of other jobs for jobs that receive them (`Job.receives`).

A thread of its own reads, because the result store may be slow. The thread is started with the
first such job. Invariant: a job gets its inputs only if it is still in hand, so a job that the
worker has lost is not attempted. This module imports `zoolet.jobs.errors`, `zoolet.jobs.execution`,
`zoolet.jobs.queue`, `zoolet.jobs.records`, `zoolet.jobs.results`, `zoolet.jobs.znodes` and other
modules of its package.
"""

import json
import queue
from collections.abc import Callable, Iterator
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
from zoolet.jobs.records.dependencies import is_job
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.transitions import JobState, Place
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.worker.jobs_in_hand import JobInHand
from zoolet.jobs.znodes.batch_log import read_chunks, read_record
from zoolet.jobs.znodes.edge import READ_AT_ONCE

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
    """Return the results of the jobs for which the job's batch waited; None for a FAILED job.

    The results are in the order of the batch's dependencies, and within a batch in the order of
    submission.

    Raises:
        UnknownBatchError: the job's batch, or a batch for which it waited, was removed.
        JobNotFoundError: a job was removed, was retried and has not ended, or there are too many.
        ResultStoreError: the store has no such result, or is down.
    """
    found: list[Any] = []
    size_bytes = 0
    for names in _names(job, jobs):
        if len(found) + len(names) > INPUTS_MOST:
            raise JobNotFoundError(f"there are more than {INPUTS_MOST} results")
        ended = jobs.layout.read_each(Place.DONE, names)
        for name, one in zip(names, ended, strict=True):
            if one is None:
                raise JobNotFoundError(f"{name} is not in done: it was removed or retried")
            is_failed = one.state is JobState.FAILED
            found.append(None if is_failed else results.complete(one).result)
            size_bytes += len(json.dumps(found[-1]))
            if size_bytes > INPUTS_LIMIT_BYTES:
                raise JobNotFoundError(f"they have more than {INPUTS_LIMIT_BYTES} bytes of JSON")
    return found


def _names(job: Job, jobs: JobQueue) -> Iterator[list[str]]:
    """Yield the names of the jobs whose results a job receives, some at a time."""
    layout = jobs.layout
    record = read_record(layout, job.batch or "")
    dependencies = record.dependencies
    for name in () if dependencies is None else dependencies.after:
        if is_job(name):
            yield [name]
            continue
        for chunk in read_chunks(layout, read_record(layout, name)):
            names = [one for one, _ in chunk]
            for start in range(0, len(names), READ_AT_ONCE):
                yield names[start : start + READ_AT_ONCE]
