"""The signer of one queue: signs and verifies its jobs and schedules with the current keys.

Invariant: a signer never signs a job or schedule that someone without a key has written. Its
callers sign only what their own program asks for, or what has a valid signature already. This
module imports `zoolet.jobs.errors`, `zoolet.jobs.records` and other modules of its package.
"""

from dataclasses import replace
from typing import final

from zoolet.jobs.errors import SignatureError
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.schedules import Schedule
from zoolet.jobs.signing.keys import KeysPath, SigningKeys
from zoolet.jobs.signing.signatures import (
    problem_of_job,
    problem_of_schedule,
    sign_job,
    sign_schedule,
    signed_not_before_ms,
)


@final
class Signer:
    """Signs and verifies for one queue.

    Args:
        keys: the file of keys.
        queue: the whole path of the queue's root, also above the client's chroot.

    Attributes:
        accepts_unsigned: whether jobs without a signature run, and schedules without a signature
            submit jobs, which then have none either.

    Raises:
        SigningKeyError: the file of keys cannot be used.
    """

    def __init__(self, keys: KeysPath, queue: str) -> None:
        self._keys = SigningKeys(keys)
        self._queue = queue
        self.accepts_unsigned = False

    def signed(self, job: Job) -> Job:
        """Return the job with a signature by the first key."""
        return job._replace(signature=sign_job(job, self._queue, self._keys.first()))

    def problem(self, job: Job) -> str | None:
        """Return why the signature of a job is not valid; None if it is valid."""
        return problem_of_job(job, self._queue, self._keys.find)

    def signed_schedule(self, schedule: Schedule) -> Schedule:
        """Return the schedule with a signature by the first key."""
        signature = sign_schedule(schedule, self._queue, self._keys.first())
        return replace(schedule, signature=signature)

    def refusal_of_schedule(self, schedule: Schedule) -> str | None:
        """Return why a schedule may not submit jobs; None if it may."""
        if schedule.signature is None and self.accepts_unsigned:
            return None
        problem = problem_of_schedule(schedule, self._queue, self._keys.find)
        if problem is None:
            return None
        return f"the schedule {schedule.name} submits no jobs: {problem}. Add the schedule again"

    def job_of(self, schedule: Schedule, job: Job) -> Job:
        """Return the job of a schedule that may submit jobs; it is signed if the schedule is."""
        return job if schedule.signature is None else self.signed(job)


def signer_of(keys: KeysPath | None, queue: str) -> Signer | None:
    """Return the signer of a queue; None if there is no file of keys."""
    return None if keys is None else Signer(keys, queue)


def renewed(job: Job, signer: Signer | None, now_ms: int) -> Job:
    """Return a FAILED job as it waits again at ``now_ms``, at its old position, without attempts.

    The job may have ended because it expired, so its time limits are removed. This changes signed
    values: with a signer, the job is signed again if its signature is valid. Without a signer, a
    signed job keeps its time limits.

    Raises:
        SignatureError: the signer finds that the signature is not valid.
    """
    fresh = job.unstarted()._replace(retried_ms=now_ms)
    if job.signature is not None and signer is None:
        return fresh._replace(not_before_ms=signed_not_before_ms(job)).waiting()
    fresh = fresh._replace(not_before_ms=None, expires_ms=None)
    if job.signature is None or signer is None:
        return fresh.waiting()
    problem = signer.problem(job)
    if problem is not None:
        raise SignatureError(f"{job.name} is not retried: {problem}")
    return signer.signed(fresh).waiting()
