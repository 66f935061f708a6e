"""What a job is: its JSON value, its states, and the limits that hold for it.

A Job is a value: every change makes a new one, and only `zoolet.jobs.znodes.queue` writes it down.
Imports nothing but the job system's names and errors.
"""

import json
from dataclasses import replace
from typing import Any, NamedTuple, Self

from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.records import job_names
from zoolet.jobs.records.error_texts import KEPT_CHARACTERS
from zoolet.jobs.records.job_requests import JobRequest, JsonObject, check_request, group_text
from zoolet.jobs.records.job_values import (
    BACKOFF_LIMIT_MS,
    IMPORT_BACKOFF_MOST_MS,
    IMPORT_BACKOFF_MS,
    IMPORT_PATIENCE_MS,
    LOSSES_LIMIT,
    MAX_ATTEMPTS_LIMIT,
    WAITS_FOR_BATCH,
    WAITS_FOR_TIME,
    AttemptError,
    AttemptOutput,
    decode_fields,
    salvage_fields,
)
from zoolet.jobs.records.json_values import EncodedJson, is_large, plain_json
from zoolet.jobs.records.texts import cut_for_json
from zoolet.jobs.records.transitions import JobState, Place

JOB_LIMIT_BYTES = 512 * 1024
"""Largest JSON value of a job with its result, but without its attempts' errors and output.

ZooKeeper's default limit of a request is 1 MiB; the rest of it is room for these.
"""
MOVE_LIMIT_BYTES = 1_010_000
"""Largest JSON value of a job with all of its errors: one more error still fits into a request."""
_LARGE_VALUE_BYTES = 64 * 1024
"""A value of fewer bytes is below the limits, however it is written."""
_NO_KEY = "none"
"""Key of a job whose value names no work."""

LOSSES_SHOWN = MAX_ATTEMPTS_LIMIT
"""Losses of a job that its errors tell of; later ones are only counted."""
ERROR_LIMIT_BYTES = 12 * 1024
"""Most JSON that the error of an attempt takes; a character may take 12 bytes."""
OUTPUT_LIMIT_BYTES = 8 * 1024
"""Most JSON that the last lines of an attempt's output take."""


class Job(NamedTuple):
    """A job as it stands in a queue.

    Each job is changed several times on its way. A change of a named tuple takes 2 us, and that of
    a frozen dataclass 9 us.

    Attributes:
        name: its znode's name; without the sequence until the server has appended one.
        version: the version of the znode it was read from or written to. Not part of the value.
        key: what identifies the work (`JobRequest.key`).
        submission: unique id of the submission that made the job.
        backoff_ms, timeout_ms, not_before_ms, expires_ms: as requested (`JobRequest`);
            not_before_ms also holds until when a job backs off.
        batch: name of the batch that it was submitted in.
        chained: whether it waits until another batch is done.
        waits_for: why it is in deferred: ``time`` or ``batch``; None if it may start.
        import_since_ms: when a worker could not import its task for the first time.
        import_tries: how often a worker could not.
        import_worker: id of the last of these workers.
        state: where it is in its life.
        worker: id of the worker that owns it, or that finished it.
        attempts: how many attempts have ended, whichever way.
        losses: how often a worker was lost that owned it and had not started it.
        errors: one for each failed attempt.
        output: the last lines of each attempt that printed or logged something.
        result: what the task returned; None where it is in the result store. A worker has it as
            `EncodedJson`.
        stored: under which key the result is in the result store, if it is there.
        cache_hit: whether the last attempt found the job's data in the worker's cache.
        submitted_ms: when it was submitted, in milliseconds since the epoch; so are the others.
        taken_ms: when its worker took it.
        started_ms: when its task was started.
        finished_ms: when it came to stand under done.
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
    waits_for: str | None = None
    import_since_ms: int | None = None
    import_tries: int = 0
    import_worker: str | None = None
    state: JobState = JobState.PENDING
    worker: str | None = None
    attempts: int = 0
    losses: int = 0
    errors: tuple[AttemptError, ...] = ()
    output: tuple[AttemptOutput, ...] = ()
    result: Any = None
    stored: str | None = None
    cache_hit: bool | None = None
    taken_ms: int | None = None
    started_ms: int | None = None
    finished_ms: int | None = None
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
    ) -> Self:
        """Return the job that ``request`` asks for, not yet submitted.

        Raises:
            InvalidJobError: the request cannot be a job; the message says why.
        """
        dataset, groupid = request.dataset, group_text(request.groupid)
        if (dataset is None) != (groupid is None):
            raise InvalidJobError(
                f"dataset {dataset!r} and groupid {groupid!r}: give both, or neither for a task"
                " without data"
            )
        name = job_names.build(
            request.priority,
            *(job_names.no_group() if dataset is None or groupid is None else (dataset, groupid)),
        )
        check_request(request)
        parameters = plain_json("parameters", request.parameters)
        if parameters is not request.parameters:
            request = replace(request, parameters=parameters)
        waits_for = None
        if chained:
            waits_for = WAITS_FOR_BATCH
        elif request.not_before_ms is not None and request.not_before_ms > now_ms:
            waits_for = WAITS_FOR_TIME
        job = cls(
            name=name,
            task=request.task_name,
            dataset=dataset,
            groupid=groupid,
            parameters=request.parameters,
            priority=request.priority,
            max_attempts=request.max_attempts,
            key=request.key,
            submission=submission,
            submitted_ms=now_ms,
            backoff_ms=request.backoff_ms,
            timeout_ms=request.timeout_ms,
            not_before_ms=request.not_before_ms,
            expires_ms=request.expires_ms,
            batch=batch,
            chained=chained,
            waits_for=waits_for,
        )
        job.check_size()
        return job

    @classmethod
    def decode(cls, name: str, value: bytes, version: int) -> Self:
        """Return the job that stands at a znode, whose value any program may have written.

        Raises:
            UnreadableJobError: the value is not that of the job of this name.
        """
        parsed = job_names.parse(name)
        if parsed is None:
            raise UnreadableJobError(f"{name!r} is not the name of a job")
        try:
            fields = decode_fields(parsed, value)
            fields["state"] = JobState(fields["state"])
            job = cls(name=name, version=version, **fields)
            if len(value) > _LARGE_VALUE_BYTES:
                # Written again it may take more bytes: characters past ASCII are escaped.
                job.check_size()
                job.check_size_of_all()
        except ValueError as error:
            raise UnreadableJobError(
                f"{name} does not hold a job: {error}. Submit the work again"
            ) from None
        if not job.task and job.state is not JobState.FAILED:
            raise UnreadableJobError(f"{name} does not hold a job: it has no task")
        return job

    @classmethod
    def stand_in(cls, name: str, value: bytes, version: int, at_ms: int, reason: str) -> Self:
        """Return what stands for a value that is not a job's: a FAILED job that says why.

        It keeps what identifies the job. It has no task, so nobody can let it run again. ``at_ms``
        is when the znode was created.
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
            finished_ms=at_ms,
            version=version,
        )

    @property
    def is_stand_in(self) -> bool:
        """Whether it stands for a value that is not a job's (`stand_in`)."""
        return not self.task

    def encode(self) -> bytes:
        """Return the znode's value, a JSON object; what was not asked for is left out of it."""
        value = self._asdict()
        del value["name"], value["version"]
        for key in _LEFT_OUT_IF_UNSET:
            if not value[key]:
                del value[key]
        value["errors"] = [error._asdict() for error in self.errors]
        if self.output:
            value["output"] = [output._asdict() for output in self.output]
        if isinstance(self.result, EncodedJson):
            del value["result"]
            return b'%s,"result":%s}' % (_to_json(value).encode()[:-1], self.result.text)
        return _to_json(value).encode()

    @property
    def group(self) -> tuple[str, str] | None:
        """The data that the job is about, as dataset and groupid; None for a job without data."""
        if self.dataset is None or self.groupid is None:
            return None
        return self.dataset, self.groupid

    @property
    def named_group(self) -> tuple[str, str]:
        """The dataset and groupid in its name, also of a draft; for a job without data, too."""
        parsed = job_names.parse(self.name) or job_names.parse(f"{self.name}0")
        if parsed is None:
            raise InvalidJobError(f"{self.name!r} is not the name of a job")
        return parsed.group

    @property
    def last_error(self) -> str:
        """What the last failed attempt ended in, in one line; "" if none failed.

        Of a traceback it is the line that names the exception.
        """
        return self.errors[-1].summary if self.errors else ""

    def check_size(self) -> None:
        """Raise InvalidJobError where what was asked and what was returned are too large.

        What the moves of a job add to it does not count, so a job that was taken can be finished.
        """
        if not self.is_large:
            return
        size_bytes = self.waiting()._replace(attempts=0, errors=(), output=()).size_bytes
        if size_bytes > JOB_LIMIT_BYTES:
            raise InvalidJobError(
                f"the job's value takes {size_bytes} bytes of JSON; at most {JOB_LIMIT_BYTES} are"
                " allowed: keep large data elsewhere and pass its name"
            )

    def check_size_of_all(self) -> None:
        """Raise InvalidJobError if the value, with its errors, is too large to be moved."""
        size_bytes = self.size_bytes
        if size_bytes > MOVE_LIMIT_BYTES:
            raise InvalidJobError(
                f"its value takes {size_bytes} bytes of JSON; at most {MOVE_LIMIT_BYTES} can be"
                " moved"
            )

    def with_error(self, message: str) -> Self:
        """Return the job after an attempt that ended in ``message``."""
        message = cut_for_json(message, KEPT_CHARACTERS, ERROR_LIMIT_BYTES)
        error = AttemptError(self.attempts + 1, self.worker or "", message)
        return self._replace(attempts=self.attempts + 1, errors=(*self.errors, error))

    def with_output(self, last_lines: str) -> Self:
        """Return the job with the end of what the attempt that ends now has printed and logged."""
        last_lines = cut_for_json(last_lines, KEPT_CHARACTERS, OUTPUT_LIMIT_BYTES)
        output = AttemptOutput(self.attempts + 1, self.worker or "", last_lines)
        return self._replace(output=(*self.output, output)[-MAX_ATTEMPTS_LIMIT:])

    def taken(self, worker: str, now_ms: int) -> Self:
        """Return the job as a worker's own, which has not started it."""
        return self._replace(
            state=JobState.STAGING,
            worker=worker,
            chained=False,
            waits_for=None,
            taken_ms=now_ms,
            version=0,
        )

    def running(self, now_ms: int, *, cache_hit: bool | None) -> Self:
        """Return the job with its task started, as the next version of it under owned."""
        return self._replace(
            state=JobState.RUNNING,
            cache_hit=cache_hit,
            started_ms=now_ms,
            version=self.version + 1,
        )

    def succeeded(self, now_ms: int, result: Any, stored: str | None = None) -> Self:
        """Return the job as it stands under done with its result, which is JSON or `EncodedJson`.

        Raises:
            InvalidJobError: it is too large for a znode.
        """
        ended = self._replace(
            state=JobState.SUCCESSFUL,
            attempts=self.attempts + 1,
            result=result,
            stored=stored,
            finished_ms=now_ms,
            version=0,
        )
        ended.check_size()
        return ended

    def failed(self, now_ms: int, error: str) -> Self:
        """Return the job after a failed attempt: it waits, backing off, or it is FAILED."""
        failed = self.with_error(error)._replace(
            import_since_ms=None, import_tries=0, import_worker=None
        )
        if failed.attempts >= failed.max_attempts:
            return failed.gave_up(now_ms)
        if failed.backoff_ms:
            doubled = min(failed.backoff_ms << (failed.attempts - 1), BACKOFF_LIMIT_MS)
            failed = failed._replace(not_before_ms=now_ms + doubled)
        return failed.waiting().put_off(now_ms)

    @property
    def starts_carefully(self) -> bool:
        """Whether RUNNING must be recorded before the job is started: this may be the last attempt.

        So a job of one attempt is started at most once. A job that kills its worker at once comes
        to an end: after some losses it starts carefully, and then its attempts are counted.
        """
        return self.attempts + self.losses + 1 >= self.max_attempts

    def lost(self, now_ms: int) -> Self:
        """Return the job after the loss of its worker: a failed attempt only if it was started."""
        if self.state is JobState.RUNNING:
            return self.failed(now_ms, f"worker {self.worker} was lost while it ran the task")
        errors = self.errors
        if self.losses < LOSSES_SHOWN:
            message = f"worker {self.worker} was lost before it started the task; not an attempt"
            errors = (*errors, AttemptError(self.attempts, self.worker or "", message))
        losses = min(self.losses + 1, LOSSES_LIMIT)
        return self._replace(losses=losses, errors=errors).waiting()

    def without_task(self, now_ms: int, error: str) -> Self:
        """Return the job after a worker could not import its task: that is not an attempt.

        It waits, longer each time, since another worker may have the code, or may get it. It is
        FAILED if no worker could import the task for `IMPORT_PATIENCE_MS`.
        """
        since_ms = now_ms if self.import_since_ms is None else self.import_since_ms
        is_over = now_ms - since_ms >= IMPORT_PATIENCE_MS
        # One entry tells of all tries.
        errors = self.errors if self.import_tries == 0 else self.errors[:-1]
        if is_over:
            error = f"{error}\nNo worker could import it for {IMPORT_PATIENCE_MS // 1000} s."
        delay_ms = min(IMPORT_BACKOFF_MS << self.import_tries, IMPORT_BACKOFF_MOST_MS)
        after = self._replace(
            errors=(*errors, AttemptError(self.attempts, self.worker or "", error)),
            import_since_ms=since_ms,
            import_tries=self.import_tries + 1,
            import_worker=self.worker,
            not_before_ms=now_ms + delay_ms,
        )
        return after.gave_up(now_ms) if is_over else after.waiting().put_off(now_ms)

    def gave_up(self, now_ms: int) -> Self:
        """Return the job as it stands under done without a result."""
        return self._replace(state=JobState.FAILED, waits_for=None, finished_ms=now_ms, version=0)

    def ended_by(self, now_ms: int, message: str) -> Self:
        """Return the job as FAILED by someone's decision, not by an attempt."""
        error = AttemptError(self.attempts, self.worker or "", message)
        return self._replace(errors=(*self.errors, error)).gave_up(now_ms)

    def waiting(self) -> Self:
        """Return the job as it waits in unowned: without a worker, its attempts as its version."""
        return self._replace(
            version=self.attempts,
            state=JobState.PENDING,
            worker=None,
            waits_for=None,
            cache_hit=None,
            taken_ms=None,
            started_ms=None,
            finished_ms=None,
        )

    def unstarted(self) -> Self:
        """Return the job with no trace of what workers have done with it."""
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
        """Return the waiting job after its batch, if it had to wait for one, may start.

        It waits for its time, if that has not come.
        """
        is_early = (self.not_before_ms or 0) > now_ms
        return self._replace(chained=False, waits_for=WAITS_FOR_TIME if is_early else None)

    def held(self) -> Self:
        """Return the waiting job as it waits until another batch is done."""
        return self._replace(chained=True, waits_for=WAITS_FOR_BATCH)

    @property
    def is_large(self) -> bool:
        """Whether it may be of any size, and not just a name and a few values."""
        return (
            bool(self.errors or self.output)
            or is_large(self.task)
            or is_large(self.parameters)
            or is_large(self.result)
        )

    @property
    def size_bytes(self) -> int:
        """How many bytes of JSON its value takes."""
        return len(self.encode())

    @property
    def place(self) -> Place:
        """Where it belongs; a stand-in is found elsewhere."""
        if self.has_ended:
            return Place.DONE
        if self.state is not JobState.PENDING:
            return Place.OWNED
        return Place.UNOWNED if self.waits_for is None else Place.DEFERRED

    @property
    def has_ended(self) -> bool:
        """Whether it stands under done."""
        return self.state in {JobState.SUCCESSFUL, JobState.FAILED}


_to_json = json.JSONEncoder(default=dict, separators=(",", ":")).encode
_LEFT_OUT_IF_UNSET = (
    "backoff_ms",
    "timeout_ms",
    "not_before_ms",
    "expires_ms",
    "batch",
    "chained",
    "waits_for",
    "import_since_ms",
    "import_tries",
    "import_worker",
    "losses",
    "stored",
    "output",
)
