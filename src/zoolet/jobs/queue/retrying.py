"""Retries the FAILED jobs that a filter selects (`zoolet.jobs.queue.changing`).

This module imports `zoolet.jobs.records` and other modules of its package.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from zoolet.jobs.queue.changing import JobChanges
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_changes import JobChange
from zoolet.jobs.records.job_filters import JobFilter
from zoolet.jobs.records.transitions import JobState


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
    # The state of the filter has no effect: only FAILED jobs can be retried.
    selected = dataclasses.replace(selected, state=JobState.FAILED)
    made = JobChanges(queue).make(JobChange.RETRY, selected, on_changed=on_retried)
    return RetriedJobs(made.jobs, made.began_ms, made.is_continued)
