"""The attempts of a job as people look at them: the errors and the output of each.

No I/O. This module imports `zoolet.jobs.records`.
"""

from typing import NamedTuple

from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import AttemptError


class JobAttempt(NamedTuple):
    """What a job's value says about one of its attempts.

    Attributes:
        attempt: the number of the attempt, from 1; 0 for errors before the first attempt.
        worker: the id of the worker that made the attempt; "" if there is none.
        errors: the errors; several if the attempt failed and another event, such as a
            cancellation, followed.
        output: the last lines that the attempt printed and logged; "" if there are none.
    """

    attempt: int
    worker: str
    errors: tuple[AttemptError, ...]
    output: str


def attempts_of(job: Job) -> list[JobAttempt]:
    """Return the attempts of a job that have an error or output, in their order."""
    output = {one.attempt: one for one in job.output}
    errors: dict[int, list[AttemptError]] = {}
    for error in job.errors:
        errors.setdefault(error.attempt, []).append(error)
    return [
        JobAttempt(
            number,
            output[number].worker if number in output else errors[number][-1].worker,
            tuple(errors.get(number, ())),
            output[number].last_lines if number in output else "",
        )
        for number in sorted({*output, *errors})
    ]


def attempt_duration_ms(job: Job, now_ms: int) -> int | None:
    """Return the duration of the last attempt, until its end or until now; None if none began."""
    if job.started_ms is None:
        return None
    return max(0, (job.finished_ms or now_ms) - job.started_ms)
