"""The value of a znode ``schedules/<name>``: when a schedule submits jobs, and what it has done.

Invariant: the multi that submits a job of a schedule also writes the schedule's next value, with
the version that was read. So each due time is handled one time. This module imports
`zoolet.jobs.errors` and other modules of its package. It does not compute due times.
"""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, NamedTuple, Self

from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.records import job_names
from zoolet.jobs.records.batches import is_batch_name
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.job_values import TIME_LIMIT_MS, is_text
from zoolet.jobs.records.json_values import decode_json

EVERY_LEAST_MS = 1000
"""The shortest interval of a schedule, in ms."""
EVERY_MOST_MS = 366 * 24 * 3600 * 1000
"""The longest interval of a schedule, in ms."""
MISSED_MOST = 1000
"""The greatest `Schedule.missed_most`."""
QUEUED_MOST = 1000
"""The most due times that wait for the end of the last run. Further due times are skipped."""
RUNS_KEPT = 10
"""The number of the last runs that a schedule's value has."""
GRACE_MS = 60_000
"""The default of `Schedule.grace_ms`."""
REQUEST_LIMIT_BYTES = 64 * 1024
"""The most bytes of a job of a schedule, before it runs."""
CRON_CHARACTERS = 200
"""The most characters of a cron expression."""
_COUNT_MOST = 2**53
_NOT_IN_SCHEDULES = ("not_before_ms", "expires_ms", "idempotency_key")


class Missed(StrEnum):
    """What happens to due times that no worker handled within the grace time."""

    SKIP = "skip"
    """They get no jobs."""
    ONCE = "once"
    """The last of them gets a job."""
    ALL = "all"
    """The last `Schedule.missed_most` of them get jobs."""


class Overlap(StrEnum):
    """What happens at a due time if the job of the last run has not ended."""

    START = "start"
    """The next job is submitted."""
    SKIP = "skip"
    """The due time gets no job."""
    QUEUE = "queue"
    """The next job is submitted when the job of the last run has ended."""


class RunReason(StrEnum):
    """Why a due time has a job, or has none."""

    DUE = "due"
    """The due time came."""
    MISSED = "missed"
    """The due time was missed, and its job was submitted later."""
    QUEUED = "queued"
    """The job was submitted after the job of the run before had ended."""
    NOW = "now"
    """A user asked for the run. It has no due time."""
    SKIPPED = "skipped"
    """The due time has no job, because the last run had not ended."""


class ScheduleRun(NamedTuple):
    """A run of a schedule.

    Attributes:
        due_ms: the due time, in ms since the epoch; for `RunReason.NOW`, the time of the request.
        job: the name of the job; None for a due time that was skipped.
        reason: why the due time has a job, or has none.
    """

    due_ms: int
    job: str | None
    reason: RunReason


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule of a queue: it submits a job at each of its due times.

    Attributes:
        name: the name of the schedule.
        request: the request for each job. Each run is a new job, also if it has data.
        cron: the cron expression of the due times; None if ``every_ms`` is set.
        every_ms: the interval of the due times, in ms; None if ``cron`` is set.
        timezone: the name of the time zone of the cron expression.
        start_ms: no due time is before this time. An interval begins at this time.
        missed: what happens to due times that were missed.
        missed_most: the most missed due times that get jobs, for `Missed.ALL`.
        grace_ms: a due time is missed if no worker handled it within this time, in ms.
        overlap: what happens if the job of the last run has not ended.
        due_parameter: the name of the parameter of the task that gets the due time, in ms since
            the epoch; None: the task does not get it.
        paused: whether due times are ignored.
        last_due_ms: all due times up to this time are handled.
        queued: due times that wait for the end of the last run.
        runs: the last `RUNS_KEPT` runs, the newest last.
        skipped: the number of due times without a job, because the last run had not ended.
        signature: the signature of the values that the user chose (`zoolet.jobs.signing`); None:
            the schedule is not signed.
    """

    name: str
    request: JobRequest
    cron: str | None = None
    every_ms: int | None = None
    timezone: str = "UTC"
    start_ms: int = 0
    missed: Missed = Missed.SKIP
    missed_most: int = 100
    grace_ms: int = GRACE_MS
    overlap: Overlap = Overlap.START
    due_parameter: str | None = None
    paused: bool = False
    last_due_ms: int = 0
    queued: tuple[int, ...] = field(default=())
    runs: tuple[ScheduleRun, ...] = field(default=())
    skipped: int = 0
    signature: str | None = None

    def __post_init__(self) -> None:
        """Check all values except the cron expression and the time zone.

        Raises:
            InvalidJobError: a value is invalid; the message says which.
        """
        if not is_batch_name(self.name):
            raise InvalidJobError(
                f"schedule name {self.name!r}: a name has 1 to 200 characters and no /"
            )
        if (self.cron is None) == (self.every_ms is None):
            raise InvalidJobError(
                f"schedule {self.name}: give either a cron expression or an interval"
            )
        for name, (least, most) in _NUMBERS.items():
            value = getattr(self, name)
            if not _is_number(value, least, most) and not (name == "every_ms" and value is None):
                raise InvalidJobError(
                    f"schedule {self.name}: {name} is {value!r}; it must be a whole number from"
                    f" {least} to {most}"
                )
        for name, most in _TEXTS.items():
            value = getattr(self, name)
            if value is not None and not (is_text(value) and 0 < len(value) <= most):
                raise InvalidJobError(
                    f"schedule {self.name}: {name} is {value!r}; it must be a text of 1 to {most}"
                    " characters"
                )
        for name in _NOT_IN_SCHEDULES:
            if getattr(self.request, name) is not None:
                raise InvalidJobError(
                    f"schedule {self.name}: its jobs cannot have {name}, which would be the same"
                    " for all of them"
                )
        size_bytes = self.draft(TIME_LIMIT_MS, "check", 0).size_bytes
        if size_bytes > REQUEST_LIMIT_BYTES:
            raise InvalidJobError(
                f"schedule {self.name}: its job has {size_bytes} bytes of JSON; at most"
                f" {REQUEST_LIMIT_BYTES} are allowed: store large data elsewhere and pass its name"
            )

    def draft(self, due_ms: int, submission: str, now_ms: int) -> Job:
        """Return the job for a due time, not yet submitted.

        Raises:
            InvalidJobError: the request is invalid.
        """
        request = self.request
        if self.due_parameter is not None:
            request = replace(
                request, parameters=dict(request.parameters) | {self.due_parameter: due_ms}
            )
        return Job.draft(request, submission, now_ms)

    @property
    def last_job(self) -> str | None:
        """The name of the job of the last run; None if there was no run."""
        return next((run.job for run in reversed(self.runs) if run.job is not None), None)

    def with_runs(self, *runs: ScheduleRun) -> Self:
        """Return the schedule after further runs."""
        return replace(self, runs=(*self.runs, *runs)[-RUNS_KEPT:])

    @classmethod
    def decode(cls, name: str, data: bytes) -> Self:
        """Decode the value of a schedule's znode, which any program may have written.

        Raises:
            UnreadableJobError: the value is not a valid schedule.
        """
        try:
            return cls(**_decoded(decode_json(data)), name=name)
        except (ValueError, TypeError, AttributeError) as error:
            raise UnreadableJobError(
                f"the schedule {name!r} is invalid and submits no jobs ({error}): correct its"
                " znode, or remove the schedule and add it again"
            ) from None

    def encode(self) -> bytes:
        """Return the value of the schedule's znode."""
        value = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        del value["name"]
        request = asdict(self.request) | {"parameters": self.request.parameters}
        value["request"] = {
            key: item for key, item in request.items() if item != _DEFAULTS.get(key, ...)
        }
        value["runs"] = [run._asdict() for run in self.runs]
        return json.dumps(value, default=dict).encode()


_NUMBERS = {
    "every_ms": (EVERY_LEAST_MS, EVERY_MOST_MS),
    "start_ms": (0, TIME_LIMIT_MS),
    "missed_most": (1, MISSED_MOST),
    "grace_ms": (0, EVERY_MOST_MS),
    "last_due_ms": (0, TIME_LIMIT_MS),
    "skipped": (0, _COUNT_MOST),
}
_TEXTS = {"cron": CRON_CHARACTERS, "timezone": 100, "due_parameter": 200, "signature": 200}
_DEFAULTS = {
    spec.name: getattr(JobRequest("m:f"), spec.name)
    for spec in fields(JobRequest)
    if spec.name != "task"
}
_REQUEST_NAMES = frozenset(spec.name for spec in fields(JobRequest))


def _is_number(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _decoded(found: Any) -> dict[str, Any]:
    """Return the values of a schedule's fields; unknown fields are left out.

    Raises:
        ValueError, TypeError, AttributeError: a value is invalid.
    """
    if not isinstance(found, dict):
        raise TypeError("it is not a JSON object")
    values = {key: item for key, item in found.items() if key in _NAMES and key != "name"}
    request = values.get("request")
    if not isinstance(request, dict) or not isinstance(request.get("parameters", {}), dict):
        raise TypeError("it has no request")
    arguments: dict[str, Any] = {
        key: tuple(item) if isinstance(item, list) else item
        for key, item in request.items()
        if key in _REQUEST_NAMES
    }
    values["request"] = JobRequest(**arguments)
    for key, kind in (("missed", Missed), ("overlap", Overlap)):
        if key in values:
            values[key] = kind(values[key])
    if type(values.get("paused", False)) is not bool:
        raise ValueError("paused is neither true nor false")
    queued = values.get("queued", [])
    if (
        not isinstance(queued, list)
        or len(queued) > QUEUED_MOST
        or not all(_is_number(due_ms, 0, TIME_LIMIT_MS) for due_ms in queued)
    ):
        raise ValueError("queued is not a list of times")
    values["queued"] = tuple(queued)
    runs = values.get("runs", [])
    if not isinstance(runs, list):
        raise TypeError("runs is not a list")
    values["runs"] = tuple(_run(run) for run in runs[-RUNS_KEPT:])
    return values


def _run(found: Any) -> ScheduleRun:
    due_ms, job, reason = (found.get(name) for name in ScheduleRun._fields)
    is_job = job is None or (isinstance(job, str) and job_names.parse(job) is not None)
    if not is_job or not _is_number(due_ms, 0, TIME_LIMIT_MS):
        raise ValueError("a run has no due time, or its job is not the name of a job")
    return ScheduleRun(due_ms, job, RunReason(reason))


_NAMES = frozenset(spec.name for spec in fields(Schedule))
