"""A job as it stands in its znode: a JSON object, and the rules for what it may hold."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from zoolet.jobs import naming
from zoolet.jobs.errors import InvalidJobError, TaskError, UnreadableJobError
from zoolet.jobs.naming import GroupKey

MAX_JOB_BYTES = 512 * 1024
"""The largest value of a job's znode; ZooKeeper takes 1 MiB for a whole request."""

DEFAULT_PRIORITY = 500
DEFAULT_MAX_ATTEMPTS = 3


class JobState(StrEnum):
    """How far a job has come."""

    PENDING = "PENDING"
    """It waits for a worker."""
    STAGING = "STAGING"
    """A worker has it, and loads its group."""
    RUNNING = "RUNNING"
    """Its task runs."""
    SUCCESSFUL = "SUCCESSFUL"
    """It is done, and has a result."""
    FAILED = "FAILED"
    """It is done, and each of its attempts failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What is to be done.

    Attributes:
        task: the function to run, as ``module:function`` or the name of an entry point.
        dataset: the data set that it works on.
        groupid: the group of the data set.
        parameters: what the task is given beside the group; a JSON object.
        priority: 0 to 999; the greater goes first.
        max_attempts: after how many failed attempts the job ends as FAILED.
    """

    task: str
    dataset: str
    groupid: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    priority: int = DEFAULT_PRIORITY
    max_attempts: int = DEFAULT_MAX_ATTEMPTS

    @property
    def group(self) -> GroupKey:
        """The group that it works on."""
        return GroupKey(self.dataset, self.groupid)

    @property
    def key(self) -> str:
        """What is the same for the same work: a hash of task, group and parameters."""
        work = [self.task, self.dataset, self.groupid, self.parameters]
        return hashlib.sha256(_to_json(work).encode()).hexdigest()

    def new_job(self, submission: str, now_ms: int) -> "Job":
        """Return the job that a submission of this makes.

        Raises InvalidJobError where a part is not what it must be.
        """
        naming.prefix(self.priority, self.group)
        if self.max_attempts < 1:
            raise InvalidJobError(f"max_attempts is {self.max_attempts}; it is at least 1")
        if not self.task:
            raise InvalidJobError("a job names its task: module:function, or an entry point")
        job = Job(
            dataset=self.dataset,
            groupid=self.groupid,
            task=self.task,
            parameters=dict(self.parameters),
            priority=self.priority,
            max_attempts=self.max_attempts,
            key=self.key,
            submission=submission,
            submitted_ms=now_ms,
        )
        size_bytes = len(job.to_bytes())
        if size_bytes > MAX_JOB_BYTES:
            raise InvalidJobError(
                f"the job takes {size_bytes} bytes, and a job has at most {MAX_JOB_BYTES}: put the"
                " data where the task can load it, and its name into the parameters"
            )
        return job


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that failed: who made it, and why it failed."""

    worker: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job.

    Attributes:
        name: its znode's name; "" until it has been submitted.
        state: how far it has come.
        worker: who has it, or had it last; None before.
        attempts: how many attempts failed.
        errors: those attempts, in order.
        key: what is the same for the same work.
        submission: a number of its own, given before its name is known.
        result: what its task returned.
        cached: whether its worker had the group already; None until its task has run.
        submitted_ms: when it was submitted, in milliseconds since the epoch.
        finished_ms: when it was done; None before.
    """

    dataset: str
    groupid: str
    task: str
    parameters: dict[str, Any]
    priority: int
    max_attempts: int
    key: str
    submission: str
    submitted_ms: int
    state: JobState = JobState.PENDING
    worker: str | None = None
    attempts: int = 0
    errors: tuple[Attempt, ...] = ()
    result: Any = None
    cached: bool | None = None
    finished_ms: int | None = None
    name: str = ""

    @property
    def group(self) -> GroupKey:
        """The group that it works on."""
        return GroupKey(self.dataset, self.groupid)

    @property
    def is_done(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state in {JobState.SUCCESSFUL, JobState.FAILED}

    def owned_by(self, worker: str) -> Self:
        """Return it as a worker takes it."""
        return replace(self, state=JobState.STAGING, worker=worker)

    def in_state(self, state: JobState) -> Self:
        """Return it as it has come further."""
        return replace(self, state=state)

    def given_back(self) -> Self:
        """Return it as it waits again, none the worse."""
        return replace(self, state=JobState.PENDING, worker=None)

    def succeeded(self, result: Any, *, cached: bool, now_ms: int) -> Self:
        """Return it as done; raises TaskError where ``result`` is no JSON, or too large."""
        done = replace(
            self, state=JobState.SUCCESSFUL, result=result, cached=cached, finished_ms=now_ms
        )
        try:
            size_bytes = len(done.to_bytes())
        except InvalidJobError as error:
            raise TaskError(f"the task's result cannot be kept: {error}") from error
        if size_bytes > MAX_JOB_BYTES:
            raise TaskError(
                f"the task's result makes the job {size_bytes} bytes long, and a job has at most"
                f" {MAX_JOB_BYTES}: let the task store it, and return where"
            )
        return done

    def failed(self, error: str, now_ms: int) -> Self:
        """Return it after one more failed attempt: waiting again, or FAILED for good."""
        attempt = Attempt(worker=self.worker or "", error=error)
        attempts = self.attempts + 1
        after = replace(self, attempts=attempts, errors=(*self.errors, attempt))
        if attempts < self.max_attempts:
            return after.given_back()
        return replace(after, state=JobState.FAILED, finished_ms=now_ms)

    def to_bytes(self) -> bytes:
        """Return its znode's value; raises InvalidJobError where a value is no JSON."""
        values = asdict(self)
        del values["name"]
        return _to_json(values).encode()

    @classmethod
    def from_bytes(cls, name: str, value: bytes) -> Self:
        """Read a znode's value; raises UnreadableJobError where it is no job's."""
        try:
            values = json.loads(value)
            values["state"] = JobState(values["state"])
            values["errors"] = tuple(Attempt(**attempt) for attempt in values["errors"])
            return cls(name=name, **values)
        except (ValueError, TypeError, KeyError) as error:
            raise UnreadableJobError(f"the znode {name} holds no job: {error!r}") from error


def _to_json(value: object) -> str:
    try:
        return json.dumps(value, allow_nan=False, sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InvalidJobError(
            f"only JSON values can be kept (objects with text keys, lists, text, numbers but NaN"
            f" and infinity, true, false, null): {error}"
        ) from error
