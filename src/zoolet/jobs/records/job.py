"""A job: its JSON value, the changes of its state, and its limits.

A Job is immutable: every change returns a new Job. `zoolet.jobs.queue` writes jobs to znodes. This
module imports only `zoolet.console`, `zoolet.jobs.errors` and other modules of its package.
"""

from typing import Any, Final, NamedTuple, Self, TypeVar

from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.records import job_names
from zoolet.jobs.records.error_texts import KEPT_CHARACTERS
from zoolet.jobs.records.job_requests import JobRequest, JsonObject, check_request, group_text
from zoolet.jobs.records.job_texts import encode_values, is_large
from zoolet.jobs.records.job_values import (
    WAITS_FOR_BATCH,
    WAITS_FOR_LIMIT,
    WAITS_FOR_TIME,
    AttemptError,
    AttemptOutput,
    decode_fields,
    salvage_fields,
)
from zoolet.jobs.records.progress import Progress
from zoolet.jobs.records.transitions import JobState, Place

J = TypeVar("J", bound="Job")

JOB_LIMIT_BYTES = 512 * 1024
"""The largest JSON value of a job with its result, without its attempts' errors and output.

ZooKeeper's default limit of a request is 1 MiB; the rest is for the errors and the output.
"""
MOVE_LIMIT_BYTES = 1_010_000
"""The largest JSON value of a job with all errors; one more error still fits into a request."""
_LARGE_VALUE_BYTES = 64 * 1024
"""A smaller value is within the limits, even if encoding it again escapes all characters."""
_NO_KEY = "none"
"""The key of a stand-in if the unreadable value has no valid key."""


# A job changes several times. Changing a named tuple takes 2 us, a frozen dataclass 9 us.
class Job(NamedTuple):
    """A job in a queue.

    Attributes:
        name: the name of the job's znode; a draft's name does not have the sequence yet.
        version: the version of the znode that the job was read from or written to. Not in the JSON.
        key: the hash that identifies the work (`JobRequest.key`).
        submission: the unique id of the submission that created the job.
        backoff_ms: the delay after the first failed attempt (`JobRequest`).
        timeout_ms: the time limit of an attempt (`JobRequest`).
        not_before_ms: the time before which no worker starts the job, as requested or at the end
            of a back-off.
        expires_ms: the time after which no worker starts the job (`JobRequest`).
        batch: the name of the batch that the job belongs to; None: no batch.
        chained: whether the job waits until another batch has ended.
        receives: the name of the parameter that gets the results of the jobs for which the job's
            batch waited; None: no parameter.
        waits_for: why the job is in deferred: ``time``, ``batch`` or ``limit``; None if it can
            start.
        import_since_ms: the time when a worker first failed to import the task; None: never.
        import_tries: how many times a worker failed to import the task.
        import_worker: the id of the last worker that failed to import the task.
        soft_timeout_ms: the time after which the task is asked to end (`JobRequest`).
        jitter_percent: by how many percent a back-off is shortened at most (`JobRequest`).
        source: how an executor loads the group (`JobRequest`); None: with the worker's loader.
        tags: the tags that a worker must have to take the job.
        limit_key: the key by which limits of the queue count the job (`JobRequest`).
        limit: the name of the limit that the job waits for in deferred, or, in unowned, of the
            limit that has released it; None: no limit.
        slots: the slots of limits that the job holds while a worker owns it.
        trace: the context of the trace of the submission (`JobRequest`).
        signature: the signature of the values that the submitter chose (`zoolet.jobs.signing`);
            None: the job is not signed.
        retried_ms: the time when the job, which had FAILED, was last retried; None: never.
        state: the job's state.
        worker: the id of the worker that owns or ended the job; None: no worker.
        attempts: the number of attempts that have ended, with a result or an error.
        losses: how many times the job's worker was lost before it recorded the start of the task.
            A short task may have started nevertheless.
        progress: the progress that the task of the current or the last attempt has reported.
        errors: the errors of failed attempts, losses, failed imports and a cancellation.
        output: the last lines of each attempt that printed or logged something.
        result: the JSON value that the task returned, in a worker as `EncodedJson`; None if it is
            in the result store.
        stored: the key of the result in the result store; None if the result is not there.
        cache_hit: whether the last attempt found its data in the worker's cache; None: not known.
        submitted_ms: the time of submission. All times are in milliseconds since the epoch.
        ready_ms: the time when the job came to unowned before this attempt; None if this is not
            known. Not in the JSON: only the worker that took the job knows it.
        taken_ms: the time when the worker took the job; None: not taken.
        started_ms: the time when the task started; None: not started.
        finished_ms: the time when the job was moved to done; None: not ended.
    """

    name: str
    task: str
    dataset: str | None
    groupid: str | None
    parameters: JsonObject
    priority: int
    max_attempts: int
    key: str
    submission: str
    submitted_ms: int
    backoff_ms: int = 0
    timeout_ms: int | None = None
    not_before_ms: int | None = None
    expires_ms: int | None = None
    batch: str | None = None
    chained: bool = False
    receives: str | None = None
    waits_for: str | None = None
    import_since_ms: int | None = None
    import_tries: int = 0
    import_worker: str | None = None
    soft_timeout_ms: int | None = None
    jitter_percent: int = 0
    source: JsonObject | None = None
    tags: tuple[str, ...] = ()
    limit_key: str | None = None
    limit: str | None = None
    slots: tuple[str, ...] = ()
    trace: str | None = None
    signature: str | None = None
    retried_ms: int | None = None
    state: JobState = JobState.PENDING
    worker: str | None = None
    attempts: int = 0
    losses: int = 0
    progress: Progress | None = None
    errors: tuple[AttemptError, ...] = ()
    output: tuple[AttemptOutput, ...] = ()
    result: Any = None
    stored: str | None = None
    cache_hit: bool | None = None
    taken_ms: int | None = None
    started_ms: int | None = None
    finished_ms: int | None = None
    ready_ms: int | None = None
    version: int = 0

    @classmethod
    def draft(
        cls,
        request: JobRequest,
        submission: str,
        now_ms: int,
        *,
        batch: str | None = None,
        chained: bool = False,
        receives: str | None = None,
    ) -> Self:
        """Return the job for ``request``, not yet submitted.

        Raises:
            InvalidJobError: the request is invalid; the message says why.
        """
        given: Any = request  # compiled code would refuse a wrong type with a TypeError
        dataset, groupid = given.dataset, group_text(given.groupid)
        if (dataset is None) != (groupid is None):
            raise InvalidJobError(
                f"dataset {dataset!r} and groupid {groupid!r}: set both, or neither for a task"
                " without data"
            )
        name = job_names.build(
            given.priority,
            *(job_names.no_group() if dataset is None or groupid is None else (dataset, groupid)),
        )
        check_request(request)
        request = request.with_plain_json()
        # In the order of the attributes: a call with their names takes six times as long.
        first: tuple[Any, ...] = (
            name, request.task_name, dataset, groupid, request.parameters, request.priority,
            request.max_attempts, request.key, submission, now_ms, request.backoff_ms,
            request.timeout_ms, request.not_before_ms, request.expires_ms, batch, chained, receives,
            _first_wait(request, now_ms, chained=chained), None, 0, None, request.soft_timeout_ms,
            request.jitter_percent, request.source, tuple(request.tags), request.limit_key, None,
            (), request.trace,
        )  # fmt: skip
        job = cls._make(first + _DEFAULTS[len(first) :])
        job.check_size()
        return job

    @classmethod
    def decode(cls, name: str, value: bytes, version: int) -> Self:
        """Decode the value of a job's znode, which any program may have written.

        Raises:
            UnreadableJobError: the value is not a valid job of this name.
        """
        parsed = job_names.parse(name)
        if parsed is None:
            raise UnreadableJobError(f"{name!r} is not the name of a job")
        try:
            values: list[Any] = list(_DEFAULTS)
            for key, item in decode_fields(parsed, value).items():
                values[_POSITIONS[key]] = item
            values[_POSITIONS["name"]] = name
            values[_POSITIONS["version"]] = version
            values[_POSITIONS["state"]] = _STATES[values[_POSITIONS["state"]]]
            job = cls._make(values)
            if len(value) > _LARGE_VALUE_BYTES:
                # Encoded again, the value may be longer: characters past ASCII are escaped.
                job.check_size()
                job.check_size_of_all()
        except ValueError as error:
            raise UnreadableJobError(
                f"the value of {name} is not a valid job: {error}. Submit the work again"
            ) from None
        if not job.task and job.state is not JobState.FAILED:
            raise UnreadableJobError(f"the value of {name} is not a valid job: it has no task")
        return job

    @classmethod
    def stand_in(cls, name: str, value: bytes, version: int, at_ms: int, reason: str) -> Self:
        """Return a stand-in for an invalid value: a FAILED job whose error is ``reason``.

        It keeps the fields that identify the job. It has no task, so it cannot be retried.
        ``at_ms`` is the creation time of the znode, in ms since the epoch.
        """
        parsed = job_names.parse(name)
        if parsed is None:
            raise UnreadableJobError(f"{name!r} is not the name of a job")
        kept = salvage_fields(value)
        message = f"{reason}. The value begins with {value[:300]!r}"
        return cls(
            name=name,
            task="",
            dataset=parsed.dataset,
            groupid=parsed.groupid,
            parameters={},
            priority=parsed.priority,
            max_attempts=kept.get("max_attempts", 1),
            key=kept.get("key", _NO_KEY),
            submission=kept.get("submission", ""),
            submitted_ms=kept.get("submitted_ms", at_ms),
            batch=kept.get("batch"),
            state=JobState.FAILED,
            errors=(AttemptError(0, "", message[:KEPT_CHARACTERS]),),
            slots=tuple(kept.get("slots", ())),
            finished_ms=at_ms,
            version=version,
        )

    @property
    def is_stand_in(self) -> bool:
        """Whether the job is a stand-in for an invalid value (`stand_in`)."""
        return not self.task

    def encode(self) -> bytes:
        """Return the znode's value, a JSON object without the optional fields that are not set."""
        return encode_values(self)

    @property
    def group(self) -> tuple[str, str] | None:
        """The dataset and groupid of the job's data; None for a job without data."""
        if self.dataset is None or self.groupid is None:
            return None
        return self.dataset, self.groupid

    @property
    def named_group(self) -> tuple[str, str]:
        """The dataset and groupid in the name, also for a draft and for a job without data."""
        parsed = job_names.parse(self.name) or job_names.parse(f"{self.name}0")
        if parsed is None:
            raise InvalidJobError(f"{self.name!r} is not the name of a job")
        return parsed.group

    @property
    def last_error(self) -> str:
        """The last error in one line; "" if there is none.

        For a traceback, this is the line that names the exception.
        """
        return self.errors[-1].summary if self.errors else ""

    def check_size(self) -> None:
        """Raise InvalidJobError if the requested fields and the result are too large together.

        Fields that moves add are not counted, so that a job that was taken can be finished.
        """
        if not self.is_large:
            return
        bare = self.waiting()._replace(attempts=0, errors=(), output=(), signature=None)
        size_bytes = bare.size_bytes
        if size_bytes > JOB_LIMIT_BYTES:
            raise InvalidJobError(
                f"the job's value has {size_bytes} bytes of JSON; at most {JOB_LIMIT_BYTES} are"
                " allowed: store large data elsewhere and pass its name"
            )

    def check_size_of_all(self) -> None:
        """Raise InvalidJobError if the value with its errors is too large for a move."""
        size_bytes = self.size_bytes
        if size_bytes > MOVE_LIMIT_BYTES:
            raise InvalidJobError(
                f"its value has {size_bytes} bytes of JSON; at most {MOVE_LIMIT_BYTES} can be moved"
            )

    def taken(self, worker: str, now_ms: int, ready_ms: int | None = None) -> Self:
        """Return the job after a worker took it: STAGING, in owned."""
        return _with(
            self,
            {
                "state": JobState.STAGING,
                "worker": worker,
                "chained": False,
                "waits_for": None,
                "limit": None,
                "ready_ms": ready_ms,
                "taken_ms": now_ms,
                "version": 0,
            },
        )

    def running(self, now_ms: int, *, cache_hit: bool | None) -> Self:
        """Return the job after its task started: RUNNING, with the next version in owned."""
        return self._replace(
            state=JobState.RUNNING,
            cache_hit=cache_hit,
            started_ms=now_ms,
            version=self.version + 1,
        )

    def progressed(self, progress: Progress) -> Self:
        """Return the RUNNING job with its progress, with the next version in owned."""
        return self._replace(progress=progress, version=self.version + 1)

    def attempted(
        self, cache_hit: bool | None, started_ms: int | None, progress: Progress | None = None
    ) -> Self:
        """Return the job with what the worker found out about the attempt that ends now."""
        changes: dict[str, Any] = {"cache_hit": cache_hit, "started_ms": started_ms}
        if progress is not None:
            changes["progress"] = progress
        return _with(self, changes)

    def succeeded(self, now_ms: int, result: Any, stored: str | None = None) -> Self:
        """Return the job in done with its result, which is JSON or `EncodedJson`.

        Raises:
            InvalidJobError: the job is too large for a znode.
        """
        ended = _with(
            self,
            {
                "state": JobState.SUCCESSFUL,
                "attempts": self.attempts + 1,
                "result": result,
                "stored": stored,
                "slots": (),
                "ready_ms": None,
                "finished_ms": now_ms,
                "version": 0,
            },
        )
        ended.check_size()
        return ended

    @property
    def starts_carefully(self) -> bool:
        """Whether RUNNING must be recorded before the task starts (this may be the last try).

        So a job with one attempt starts at most once. A job that always kills its worker does not
        run for ever: after some losses, RUNNING is recorded first, and each further loss counts as
        a failed attempt.
        """
        return self.attempts + self.losses + 1 >= self.max_attempts

    def gave_up(self, now_ms: int) -> Self:
        """Return the job as FAILED, in done."""
        return self._replace(
            state=JobState.FAILED,
            waits_for=None,
            limit=None,
            slots=(),
            ready_ms=None,
            finished_ms=now_ms,
            version=0,
        )

    def ended_by(self, now_ms: int, message: str) -> Self:
        """Return the job as FAILED for a reason that is not an attempt, such as a cancellation."""
        error = AttemptError(self.attempts, self.worker or "", message)
        return self._replace(errors=(*self.errors, error)).gave_up(now_ms)

    def waiting(self) -> Self:
        """Return the job in unowned: without a worker, with the number of attempts as version."""
        return self._replace(
            version=self.attempts,
            state=JobState.PENDING,
            worker=None,
            waits_for=None,
            progress=None,
            limit=None,
            slots=(),
            cache_hit=None,
            ready_ms=None,
            taken_ms=None,
            started_ms=None,
            finished_ms=None,
        )

    def unstarted(self) -> Self:
        """Return the job without its attempts, losses, errors and output."""
        return self._replace(
            attempts=0,
            losses=0,
            errors=(),
            output=(),
            import_since_ms=None,
            import_tries=0,
            import_worker=None,
        )

    def put_off(self, now_ms: int) -> Self:
        """Return the waiting job after the batch that it waited for, if any, has ended.

        The job waits until ``not_before_ms`` if that is later than ``now_ms``.
        """
        is_early = (self.not_before_ms or 0) > now_ms
        return self._replace(chained=False, waits_for=WAITS_FOR_TIME if is_early else None)

    def held(self) -> Self:
        """Return the waiting job in deferred, where it waits until another batch has ended."""
        return self._replace(chained=True, waits_for=WAITS_FOR_BATCH)

    def held_by(self, limit: str) -> Self:
        """Return the waiting job in deferred, where it waits until this limit has room."""
        return self._replace(waits_for=WAITS_FOR_LIMIT, limit=limit)

    def released(self) -> Self:
        """Return the job in unowned after the limit that it waited for has released it."""
        return self._replace(waits_for=None)

    @property
    def is_large(self) -> bool:
        """Whether the value may be large, because it is more than a name and short values."""
        return (
            bool(self.errors or self.output)
            or is_large(self.task)
            or is_large(self.parameters)
            or (self.source is not None and is_large(self.source))
            or is_large(self.result)
        )

    @property
    def size_bytes(self) -> int:
        """The number of bytes of the job's value in JSON."""
        return len(self.encode())

    @property
    def place(self) -> Place:
        """The place for the job's state; the znode of a stand-in may be in another place."""
        if self.has_ended:
            return Place.DONE
        if self.state is not JobState.PENDING:
            return Place.OWNED
        return Place.UNOWNED if self.waits_for is None else Place.DEFERRED

    @property
    def has_ended(self) -> bool:
        """Whether the job has ended, SUCCESSFUL or FAILED."""
        return self.state in {JobState.SUCCESSFUL, JobState.FAILED}


def _first_wait(request: JobRequest, now_ms: int, *, chained: bool) -> str | None:
    """Return why a new job must wait; None if it can start."""
    if chained:
        return WAITS_FOR_BATCH
    is_early = request.not_before_ms is not None and request.not_before_ms > now_ms
    return WAITS_FOR_TIME if is_early else None


_POSITIONS: Final = {name: position for position, name in enumerate(Job._fields)}
_DEFAULTS: Final = tuple([Job._field_defaults.get(name) for name in Job._fields])
_STATES: Final = {state.value: state for state in JobState}


def _with(job: J, changes: dict[str, Any]) -> J:
    """Return a job with other values of some attributes; twice as fast as ``_replace``."""
    values: list[Any] = list(job)
    for name, value in changes.items():
        values[_POSITIONS[name]] = value
    return type(job)._make(values)
