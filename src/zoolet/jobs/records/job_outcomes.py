"""The changes of a job at the end of an attempt that failed, was lost, or could not begin.

The functions return a new `Job`. The limits of the errors and the output that a job keeps are here.
This module imports other modules of its package.
"""

import hashlib

from zoolet.jobs.records.error_texts import KEPT_CHARACTERS
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import (
    BACKOFF_LIMIT_MS,
    IMPORT_BACKOFF_MOST_MS,
    IMPORT_BACKOFF_MS,
    IMPORT_PATIENCE_MS,
    LOSSES_LIMIT,
    MAX_ATTEMPTS_LIMIT,
    TIME_LIMIT_MS,
    AttemptError,
    AttemptOutput,
)
from zoolet.jobs.records.texts import cut_for_json
from zoolet.jobs.records.transitions import JobState

LOSSES_SHOWN = MAX_ATTEMPTS_LIMIT
"""The most losses in the list of a job's errors; later losses are only counted."""
ERROR_LIMIT_BYTES = 12 * 1024
"""The most bytes of an attempt's error in JSON; one character may take 12 bytes."""
OUTPUT_LIMIT_BYTES = 8 * 1024
"""The most bytes of the last lines of an attempt's output in JSON."""


def with_error(job: Job, message: str) -> Job:
    """Return the job after an attempt that failed with the error ``message``."""
    message = cut_for_json(message, KEPT_CHARACTERS, ERROR_LIMIT_BYTES)
    error = AttemptError(job.attempts + 1, job.worker or "", message)
    return job._replace(attempts=job.attempts + 1, errors=(*job.errors, error))


def with_output(job: Job, last_lines: str) -> Job:
    """Return the job with the last lines that the attempt that ends now printed or logged."""
    last_lines = cut_for_json(last_lines, KEPT_CHARACTERS, OUTPUT_LIMIT_BYTES)
    output = AttemptOutput(job.attempts + 1, job.worker or "", last_lines)
    return job._replace(output=(*job.output, output)[-MAX_ATTEMPTS_LIMIT:])


def failed(
    job: Job,
    now_ms: int,
    error: str,
    *,
    retry_in_ms: int | None = None,
    is_final: bool = False,
) -> Job:
    """Return the job after a failed attempt: it waits for a retry, or is FAILED.

    Args:
        job: the job before the end of the attempt.
        now_ms: the current time.
        error: the error of the attempt.
        retry_in_ms: the delay that the task has chosen; None: the delay of the back-off.
        is_final: whether the job is FAILED although it has attempts left.
    """
    ended = with_error(job, error)._replace(
        import_since_ms=None, import_tries=0, import_worker=None
    )
    if is_final or ended.attempts >= ended.max_attempts:
        return ended.gave_up(now_ms)
    if retry_in_ms is not None:
        ended = _not_before(ended, min(now_ms + retry_in_ms, TIME_LIMIT_MS))
    elif ended.backoff_ms:
        ended = _not_before(ended, now_ms + backoff_ms_of(ended))
    return ended.waiting().put_off(now_ms)


def _not_before(job: Job, time_ms: int) -> Job:
    """Return the job with another start time."""
    if job.signature is not None:
        # A time before the signed time would be invalid, and clocks differ by some milliseconds.
        time_ms = max(time_ms, job.not_before_ms or 0)
    return job._replace(not_before_ms=time_ms)


def backoff_ms_of(job: Job) -> int:
    """Return the delay after the last attempt of a job: it doubles with each attempt.

    The jitter shortens the delay by a part that depends on the job and the attempt only, so jobs
    that failed together do not all start again at the same time.
    """
    delay_ms = min(job.backoff_ms << (job.attempts - 1), BACKOFF_LIMIT_MS)
    if not job.jitter_percent:
        return delay_ms
    digest = hashlib.sha256(f"{job.name} {job.attempts}".encode()).digest()
    share = int.from_bytes(digest[:4], "big") / 2**32
    return delay_ms - int(delay_ms * job.jitter_percent / 100 * share)


def lost(job: Job, now_ms: int) -> Job:
    """Return the job after its worker was lost; only a RUNNING job has a failed attempt."""
    if job.state is JobState.RUNNING:
        return failed(job, now_ms, f"worker {job.worker} was lost while it ran the task")
    errors = job.errors
    if job.losses < LOSSES_SHOWN:
        message = f"worker {job.worker} was lost before it recorded the start; not an attempt"
        errors = (*errors, AttemptError(job.attempts, job.worker or "", message))
    losses = min(job.losses + 1, LOSSES_LIMIT)
    return job._replace(losses=losses, errors=errors).waiting()


def without_task(job: Job, now_ms: int, error: str) -> Job:
    """Return the job after a worker could not import its task. This is not an attempt.

    The job waits, longer each time, because another worker may have the code, or may get it.
    The job is FAILED if no worker could import the task for `IMPORT_PATIENCE_MS`.
    """
    since_ms = now_ms if job.import_since_ms is None else job.import_since_ms
    is_over = now_ms - since_ms >= IMPORT_PATIENCE_MS
    # All tries share one entry in ``errors``: each try replaces the entry of the try before.
    errors = job.errors if job.import_tries == 0 else job.errors[:-1]
    if is_over:
        error = f"{error}\nNo worker could import the task for {IMPORT_PATIENCE_MS // 1000} s."
    delay_ms = min(IMPORT_BACKOFF_MS << job.import_tries, IMPORT_BACKOFF_MOST_MS)
    after = job._replace(
        errors=(*errors, AttemptError(job.attempts, job.worker or "", error)),
        import_since_ms=since_ms,
        import_tries=job.import_tries + 1,
        import_worker=job.worker,
    )
    after = _not_before(after, now_ms + delay_ms)
    return after.gave_up(now_ms) if is_over else after.waiting().put_off(now_ms)
