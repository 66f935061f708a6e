"""The request for a job, and the check of its limits.

This module imports `zoolet.jobs.errors` and other modules of its package.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records.job_values import (
    BACKOFF_LIMIT_MS,
    MAX_ATTEMPTS_LIMIT,
    TAG_LIMIT_CHARACTERS,
    TAGS_LIMIT,
    TASK_LIMIT_CHARACTERS,
    TIME_LIMIT_MS,
    TIMEOUT_LIMIT_MS,
    TRACE_LIMIT_CHARACTERS,
    are_tags,
    is_limit_key,
    is_text,
)
from zoolet.jobs.records.json_values import plain_json
from zoolet.jobs.records.small_values import small_object_text
from zoolet.jobs.records.task_names import task_name

JsonObject = Mapping[str, Any]

_to_sorted_json = json.JSONEncoder(sort_keys=True, default=dict).encode


@dataclass(frozen=True, slots=True)
class JobRequest:
    """The work for a job, and how the job is run.

    Attributes:
        task: the function to run, or its name: ``module:function``, or the name of an entry point.
            A function is replaced by its name.
        dataset: the dataset that the task works on; None for a task without data.
        groupid: the group of the dataset; an int is replaced by its decimal text. None for a task
            without data.
        parameters: the JSON object that the task gets in addition to the group.
        priority: a number from 0 to 999; jobs with a greater priority start first.
        max_attempts: the number of failed attempts after which the job is FAILED.
        backoff_ms: the delay after the first failed attempt; it doubles after each further one.
        timeout_ms: the time limit of an attempt; a longer attempt fails; None: no limit.
        not_before_ms: the time before which no worker starts the job, in milliseconds since the
            epoch; None: no such time.
        expires_ms: the time after which no worker starts the job, and the job is FAILED, in
            milliseconds since the epoch; None: the job does not expire.
        idempotency_key: the text that identifies the work; None: task, dataset, groupid and
            parameters identify work with data, and nothing identifies work without data.
        soft_timeout_ms: the time after which `SoftTimeoutError` is raised inside the task; None:
            no limit.
        jitter_percent: by how many percent at most a delay of the back-off is shortened; different
            jobs get different delays.
        source: how an executor loads the group, a JSON object that the dataset's description gives
            (`zoolet.jobs.loaders`); None: the worker's ``--loader`` loads the group.
        tags: the tags that a worker must have to take the job (`Worker`).
        limit_key: the key by which limits of the queue count the job, such as the name of a
            customer; None: no key.
        trace: the context of the trace of this submission, as the text of W3C's header
            ``traceparent``; hooks set it (`zoolet.jobs.telemetry`). None: no trace.
    """

    task: str | Callable[..., Any]
    dataset: str | None = None
    groupid: str | int | None = None
    parameters: JsonObject = field(default_factory=dict)
    priority: int = 0
    max_attempts: int = 3
    backoff_ms: int = 0
    timeout_ms: int | None = None
    not_before_ms: int | None = None
    expires_ms: int | None = None
    idempotency_key: str | None = None
    soft_timeout_ms: int | None = None
    jitter_percent: int = 0
    source: JsonObject | None = None
    tags: Sequence[str] = ()
    limit_key: str | None = None
    trace: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", task_name(self.task))

    def with_plain_json(self) -> "JobRequest":
        """Return the request with plain JSON as parameters and source.

        Raises:
            InvalidJobError: the parameters or the source are not JSON.
        """
        parameters = plain_json("parameters", self.parameters)
        source = None if self.source is None else plain_json("source", self.source)
        if parameters is self.parameters and source is None:
            return self
        return replace(self, parameters=parameters, source=source)

    @property
    def task_name(self) -> str:
        """The name of the task."""
        return str(self.task)

    @property
    def identifies_work(self) -> bool:
        """Whether the work has data or an idempotency key, so that other requests can be for it."""
        return self.dataset is not None or self.idempotency_key is not None

    @property
    def key(self) -> str:
        """The hash that identifies the work.

        It is the hash of the idempotency key, or, without a key, of the task, the dataset, the
        groupid, the parameters and the source.
        """
        if self.idempotency_key is not None:
            text = _to_sorted_json({"idempotency_key": self.idempotency_key})
        else:
            names = (self.task_name, self.dataset, group_text(self.groupid))
            parts = ["null" if name is None else _to_sorted_json(name) for name in names]
            # The encoder takes longer for an object than for texts.
            small = small_object_text(self.parameters, is_key=True)
            parts.append(_to_sorted_json(self.parameters) if small is None else small)
            if self.source is not None:
                parts.append(_to_sorted_json(self.source))
            text = f"[{', '.join(parts)}]"
        return hashlib.sha256(text.encode()).hexdigest()


_TIME_HINT = (
    " (the end of the year 9999): it is in milliseconds since the epoch, so use"
    " time.time_ns() // 1_000_000 and not time.time_ns()"
)
_MILLISECONDS = {
    "backoff_ms": (0, BACKOFF_LIMIT_MS, " (a day)"),
    "timeout_ms": (1, TIMEOUT_LIMIT_MS, " (a year)"),
    "soft_timeout_ms": (1, TIMEOUT_LIMIT_MS, " (a year)"),
    "not_before_ms": (0, TIME_LIMIT_MS, _TIME_HINT),
    "expires_ms": (0, TIME_LIMIT_MS, _TIME_HINT),
}
"""The least and the greatest value of each time in a request, and a hint for the error message."""


def group_text(groupid: object) -> Any:
    """Return the text of a groupid: the decimal text of an int, and other values unchanged."""
    is_number = isinstance(groupid, int) and not isinstance(groupid, bool)
    return str(int(groupid)) if is_number else groupid  # type: ignore[call-overload]


def check_request(request: JobRequest) -> None:
    """Raise InvalidJobError if a request is invalid; the content of parameters is not checked."""
    if not is_text(request.task) or not 0 < len(request.task_name) <= TASK_LIMIT_CHARACTERS:
        raise InvalidJobError(
            f"task {request.task!r} is not a text like module:function, of up to"
            f" {TASK_LIMIT_CHARACTERS} characters"
        )
    if not isinstance(request.parameters, Mapping):
        raise InvalidJobError(f"parameters {request.parameters!r} are not a JSON object")
    if not _is_number(request.max_attempts, 1, MAX_ATTEMPTS_LIMIT):
        raise InvalidJobError(
            f"max_attempts {request.max_attempts!r} is not 1 to {MAX_ATTEMPTS_LIMIT}"
        )
    for name, (least, most, hint) in _MILLISECONDS.items():
        value = getattr(request, name)
        if value is not None and not _is_number(value, least, most):
            raise InvalidJobError(
                f"{name} {value!r} is not a number of milliseconds from {least} to {most}{hint}"
            )
    if not _is_number(request.jitter_percent, 0, 100):
        raise InvalidJobError(f"jitter_percent {request.jitter_percent!r} is not 0 to 100")
    soft_ms, hard_ms = request.soft_timeout_ms, request.timeout_ms
    if soft_ms is not None and hard_ms is not None and soft_ms >= hard_ms:
        raise InvalidJobError(
            f"soft_timeout_ms {soft_ms} is not less than timeout_ms {hard_ms}: the soft timeout"
            " must leave time for the task to end"
        )
    if request.source is not None and (
        not isinstance(request.source, Mapping) or request.dataset is None
    ):
        raise InvalidJobError(
            f"source {request.source!r} is not a JSON object of a job with dataset and groupid"
        )
    _check_texts(request)


def _check_texts(request: JobRequest) -> None:
    if request.idempotency_key is not None and not isinstance(request.idempotency_key, str):
        raise InvalidJobError(f"idempotency_key {request.idempotency_key!r} is not a text")
    if request.tags != () and not are_tags(request.tags):
        raise InvalidJobError(
            f"tags {request.tags!r} are not a list of up to {TAGS_LIMIT} texts of up to"
            f" {TAG_LIMIT_CHARACTERS} characters"
        )
    if request.limit_key is not None and not is_limit_key(request.limit_key):
        raise InvalidJobError(f"limit_key {request.limit_key!r} is not a text of 1 to 255 bytes")
    if request.trace is not None and (
        not is_text(request.trace) or len(request.trace) > TRACE_LIMIT_CHARACTERS
    ):
        raise InvalidJobError(
            f"trace {request.trace!r:.120} is not a text of up to {TRACE_LIMIT_CHARACTERS}"
            " characters, as in W3C's header traceparent"
        )


def _is_number(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
