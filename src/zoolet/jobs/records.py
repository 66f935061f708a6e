"""What a job is: its JSON value, its states, and the limits that hold for it.

A Job is a value: every change makes a new one, and only `zoolet.jobs.queue` writes it down.
Imports nothing but the job system's names and errors.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, NamedTuple, Self

from zoolet.jobs import naming
from zoolet.jobs.errors import InvalidJobError, UnreadableJobError

JOB_LIMIT_BYTES = 512 * 1024
"""Largest JSON value of a job, its result included, and the errors of its attempts not.

ZooKeeper's default limit of a request is 1 MiB; the rest of it is room for the errors.
"""
ERROR_LIMIT_CHARACTERS = 2048
"""How much of an attempt's error is kept: its end, where a traceback says what happened."""
MAX_ATTEMPTS_LIMIT = 20
"""Most attempts a job may be given, so that the errors of all of them fit in its znode."""

JsonObject = Mapping[str, Any]


class JobState(StrEnum):
    """Where a job is in its life."""

    PENDING = "PENDING"
    """It waits under unowned."""
    STAGING = "STAGING"
    """A worker owns it and loads its data."""
    RUNNING = "RUNNING"
    """A worker owns it and runs its task."""
    SUCCESSFUL = "SUCCESSFUL"
    """It stands under done with its result."""
    FAILED = "FAILED"
    """It stands under done with the error of every attempt."""


class AttemptError(NamedTuple):
    """Why an attempt failed.

    Attributes:
        attempt: its number, from 1.
        worker: the id of the worker that made it.
        message: the end of the traceback, or what else happened.
    """

    attempt: int
    worker: str
    message: str


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What to do: the work that a job is submitted for.

    Attributes:
        task: the function to run, as ``module:function`` or the name of an entry point.
        dataset: the dataset that it works on.
        groupid: which group of that dataset.
        parameters: JSON object that the task gets beside the group.
        priority: 0 to 999, the greater goes first.
        max_attempts: after this many failed attempts the job is FAILED.
    """

    task: str
    dataset: str
    groupid: str
    parameters: JsonObject = field(default_factory=dict)
    priority: int = 0
    max_attempts: int = 3

    @property
    def key(self) -> str:
        """What identifies the work: a hash of task, dataset, groupid and parameters."""
        work = [self.task, self.dataset, self.groupid, self.parameters]
        return hashlib.sha256(json.dumps(work, sort_keys=True, default=dict).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands in a queue.

    Attributes:
        name: its znode's name; without the sequence until the server has appended one.
        version: the version of the znode it was read from or written to. Not part of the value.
        key: what identifies the work (`JobRequest.key`).
        submission: unique id of the submission that made the job.
        state: where it is in its life.
        worker: id of the worker that owns it, or that finished it.
        attempts: how many attempts have ended, whichever way.
        errors: one for each failed attempt.
        result: what the task returned.
        cache_hit: whether the last attempt found the job's data in the worker's cache.
        submitted_ms: when it was submitted, in milliseconds since the epoch; so are the others.
        taken_ms: when its worker took it.
        started_ms: when its task was started.
        finished_ms: when it came to stand under done.
    """

    name: str
    task: str
    dataset: str
    groupid: str
    parameters: JsonObject
    priority: int
    max_attempts: int
    key: str
    submission: str
    submitted_ms: int
    state: JobState = JobState.PENDING
    worker: str | None = None
    attempts: int = 0
    errors: tuple[AttemptError, ...] = ()
    result: Any = None
    cache_hit: bool | None = None
    taken_ms: int | None = None
    started_ms: int | None = None
    finished_ms: int | None = None
    version: int = 0

    @classmethod
    def draft(cls, request: JobRequest, submission: str, now_ms: int) -> Self:
        """Return the job that ``request`` asks for, not yet submitted.

        Raises:
            InvalidJobError: the request cannot be a job; the message says why.
        """
        name = naming.build(request.priority, request.dataset, request.groupid)
        if not isinstance(request.task, str) or not request.task:
            raise InvalidJobError(f"task {request.task!r} is not a text like module:function")
        if not isinstance(request.parameters, Mapping):
            raise InvalidJobError(f"parameters {request.parameters!r} are not a JSON object")
        check_json("parameters", request.parameters)
        attempts = request.max_attempts
        if not isinstance(attempts, int) or not 1 <= attempts <= MAX_ATTEMPTS_LIMIT:
            raise InvalidJobError(f"max_attempts {attempts!r} is not 1 to {MAX_ATTEMPTS_LIMIT}")
        job = cls(
            name=name,
            task=request.task,
            dataset=request.dataset,
            groupid=request.groupid,
            parameters=request.parameters,
            priority=request.priority,
            max_attempts=request.max_attempts,
            key=request.key,
            submission=submission,
            submitted_ms=now_ms,
        )
        job.check_size()
        return job

    @classmethod
    def decode(cls, name: str, value: bytes, version: int) -> Self:
        """Return the job that stands at a znode.

        Raises:
            UnreadableJobError: the value is not that of a job.
        """
        try:
            found = json.loads(value)
            known = {key: found[key] for key in _STORED if key in found}
            known["state"] = JobState(found["state"])
            known["errors"] = tuple(AttemptError(**error) for error in found["errors"])
            return cls(name=name, version=version, **known)
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableJobError(
                f"{name} does not hold a job ({error!r}); look at it with zkCli.sh, and delete it"
            ) from None

    def encode(self) -> bytes:
        """Return the znode's value, a JSON object."""
        value = {key: getattr(self, key) for key in _STORED}
        value["errors"] = [error._asdict() for error in self.errors]
        return json.dumps(value, default=dict).encode()

    @property
    def last_error(self) -> str:
        """The last line of what the last failed attempt ended in; "" without one."""
        lines = self.errors[-1].message.strip().splitlines() if self.errors else []
        return lines[-1] if lines else ""

    def check_size(self) -> None:
        """Raise InvalidJobError where what was asked and what was returned are too large.

        What the moves of a job add to it does not count, so a job that was taken can be finished.
        """
        size_bytes = len(replace(self.waiting(), attempts=0, errors=()).encode())
        if size_bytes > JOB_LIMIT_BYTES:
            raise InvalidJobError(
                f"the job's value takes {size_bytes} bytes of JSON; at most {JOB_LIMIT_BYTES} are"
                " allowed: keep large data elsewhere and pass its name"
            )

    def with_error(self, message: str) -> Self:
        """Return the job after an attempt that ended in ``message``."""
        error = AttemptError(
            self.attempts + 1, self.worker or "", message[-ERROR_LIMIT_CHARACTERS:]
        )
        return replace(self, attempts=self.attempts + 1, errors=(*self.errors, error))

    def waiting(self) -> Self:
        """Return the job as it stands under unowned: no one's, its attempts as its version."""
        return replace(
            self,
            version=self.attempts,
            state=JobState.PENDING,
            worker=None,
            cache_hit=None,
            taken_ms=None,
            started_ms=None,
            finished_ms=None,
        )


_STORED = tuple(spec.name for spec in fields(Job) if spec.name not in {"name", "version"})


def check_json(where: str, value: object) -> None:
    """Raise InvalidJobError where ``value`` is not JSON, naming the part that is not.

    NaN and the infinities are not JSON, and an object's names are texts.
    """
    try:
        _check_json(where, value)
        json.dumps(value, default=dict)
    except (RecursionError, ValueError) as error:
        if isinstance(error, InvalidJobError):
            raise
        raise InvalidJobError(f"{where} cannot be written as JSON: {error}") from None


def _check_json(where: str, value: object) -> None:
    if value is None or isinstance(value, str | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidJobError(f"{where} is {value}, which is not JSON; use null")
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _check_json(f"{where}[{position}]", item)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                raise InvalidJobError(f"{where} has the name {name!r}; names in JSON are texts")
            _check_json(f"{where}[{name!r}]", item)
    else:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise InvalidJobError(
            f"{where} is of type {kind}, which is not JSON; convert it to numbers, texts, lists,"
            " and objects (dict)"
        )
