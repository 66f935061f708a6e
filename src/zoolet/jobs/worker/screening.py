"""Which jobs a worker refuses: those that its lists do not allow, and those without a signature.

A job whose task or loader is not allowed stays in unowned: other workers of the queue may allow it,
as with tags. A job without a valid signature is FAILED: no worker may run it. Both are decided
before the worker takes the job, so nothing of the job is imported. This module imports
`zoolet.jobs.queue`, `zoolet.jobs.records` and `zoolet.jobs.signing`.
"""

from dataclasses import dataclass, field
from typing import Any

from zoolet.jobs.queue.taking import LEAVE, Screen
from zoolet.jobs.records.allow_lists import AllowLists
from zoolet.jobs.records.job import Job
from zoolet.jobs.signing.keys import KeysPath
from zoolet.jobs.signing.signer import Signer


@dataclass(frozen=True, slots=True)
class Security:
    """What a worker requires of jobs.

    Attributes:
        allowed: the tasks and loaders that jobs may name.
        signing_keys: the file of keys with which signatures are verified; None: signatures are not
            looked at.
        accept_unsigned: whether jobs without a signature run although there are keys. Jobs with an
            invalid signature are refused nevertheless.
    """

    allowed: AllowLists = field(default_factory=AllowLists)
    signing_keys: KeysPath | None = None
    accept_unsigned: bool = False

    def screen(self, signer: Signer | None) -> Screen | None:
        """Return the function that says which jobs are refused; None if no job is."""
        allowed = self.allowed
        if signer is not None:
            signer.accepts_unsigned = self.accept_unsigned
        if signer is None and allowed.is_open:
            return None

        def screen(job: Job) -> str | None:
            if allowed.refusal(job.task, job.parameters, job.source) is not None:
                return LEAVE
            if signer is None or (self.accept_unsigned and job.signature is None):
                return None
            problem = signer.problem(job)
            return None if problem is None else f"the worker refused the job: {problem}"

        return screen

    def about(self) -> dict[str, Any]:
        """Return the fields for a worker's report, from which users see why a job waits."""
        tasks, loaders = self.allowed.tasks, self.allowed.loaders
        return {
            "tasks": None if tasks is None else list(tasks),
            "loaders": None if loaders is None else list(loaders),
            "requires_signatures": self.signing_keys is not None and not self.accept_unsigned,
        }
