"""Notes of jobs that have become FAILED: for each job, why and when.

The multi that moves jobs to done writes such a note, if a worker has hooks for failures
(`zoolet.jobs.znodes.failure_log`). This module imports `zoolet.jobs.records` only.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from zoolet.jobs.records import job_names
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import TIME_LIMIT_MS
from zoolet.jobs.records.json_values import decode_object
from zoolet.jobs.records.transitions import Event


class FailureReason(StrEnum):
    """Why a job has become FAILED."""

    ATTEMPT = "attempt"
    """Its last permitted attempt has failed, or its task must not be attempted again."""
    NO_TASK = "no task"
    """Its task could not be imported."""
    WORKER_LOST = "worker lost"
    """The session of its worker has ended during the last permitted attempt."""
    EXPIRED = "expired"
    """It was not started before its ``expires_ms``."""
    SKIPPED = "skipped"
    """The condition of its batch cannot become true any more."""
    REFUSED = "refused"
    """A worker with keys has found no valid signature."""
    UNREADABLE = "unreadable"
    """Its value in the queue is invalid."""


REASONS: Final[Mapping[Event, FailureReason]] = {
    Event.FAIL: FailureReason.ATTEMPT,
    Event.NO_TASK: FailureReason.NO_TASK,
    Event.LOSE_WORKER: FailureReason.WORKER_LOST,
    Event.EXPIRE: FailureReason.EXPIRED,
    Event.SKIP: FailureReason.SKIPPED,
    Event.REFUSE: FailureReason.REFUSED,
    Event.UNREADABLE: FailureReason.UNREADABLE,
}
"""The reasons by event. A job that is cancelled has no note: the canceller knows its end."""


class JobFailure(NamedTuple):
    """A job that has become FAILED.

    Attributes:
        job: the job as it is stored in done, with the errors of its attempts.
        reason: why it is FAILED.
        queue: the path of the job's queue, as the worker got it.
    """

    job: Job
    reason: FailureReason
    queue: str


class NotedFailure(NamedTuple):
    """What a note says of a job.

    Attributes:
        reason: why the job is FAILED.
        finished_ms: when it became FAILED, in ms since the epoch. A job that was retried, and has
            failed again, has another time.
    """

    reason: FailureReason
    finished_ms: int


def encode_note(failures: Mapping[str, NotedFailure]) -> bytes:
    """Return the value of a note: a JSON object with the job names as keys."""
    return json.dumps(failures).encode()


def decode_note(data: bytes) -> dict[str, NotedFailure]:
    """Return the failures in a note by job name; invalid parts are left out."""
    return {
        name: NotedFailure(FailureReason(value[0]), value[1])
        for name, value in decode_object(data).items()
        if job_names.parse(name) is not None and _is_failure(value)
    }


def _is_failure(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and value[0] in set(FailureReason)
        and type(value[1]) is int
        and 0 <= value[1] < TIME_LIMIT_MS
    )
