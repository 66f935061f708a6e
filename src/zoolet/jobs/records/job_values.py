"""Checks the fields of a job's JSON value, which any program may have written.

Invariant: `decode_fields` returns only values of the right type and within their limits, or raises
ValueError. So other modules do not have to check the fields again. This module also defines the
limits of the requests that `submit` accepts. It imports `zoolet.model` and, of its own package, the
modules `job_names`, `json_values` and `progress`.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, final

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records.job_names import NO_DATASET, JobName, encode
from zoolet.jobs.records.json_values import decode_json
from zoolet.jobs.records.progress import decode_progress
from zoolet.model import paths

TIME_LIMIT_MS = 253_402_300_799_999
"""The latest time of a job, in ms since the epoch: the end of the year 9999, UTC."""
BACKOFF_LIMIT_MS = 24 * 3600 * 1000
"""The longest delay before a retry, in ms: one day."""
TIMEOUT_LIMIT_MS = 365 * 24 * 3600 * 1000
"""The longest timeout of an attempt, in ms: one year."""
MAX_ATTEMPTS_LIMIT = 20
"""The most attempts of a job; the errors of all of them fit into its znode."""
WAITS_FOR_TIME = "time"
WAITS_FOR_BATCH = "batch"
WAITS_FOR_LIMIT = "limit"
"""Why a job is in the place deferred: it cannot start before its ``not_before_ms``, or before all
jobs of another batch have ended (its own batch was submitted with ``after``), or a limit of the
queue is reached."""
LOSSES_LIMIT = 1_000_000
"""The greatest value of ``losses``: the number of workers that took the job and died before they
started its task."""
IMPORT_PATIENCE_MS = 600_000
"""If no worker can import a job's task, the job is FAILED at the first try that is at least this
time after the first one: ten minutes, in ms."""
IMPORT_BACKOFF_MS = 1000
"""The delay after the first try to import a task, in ms. The delay doubles with each try."""
IMPORT_BACKOFF_MOST_MS = 30_000
"""The longest delay between two tries to import a task, in ms."""
IMPORT_TRIES_LIMIT = 1000
"""The greatest valid ``import_tries``. No real job has as many tries: within `IMPORT_PATIENCE_MS`,
the delays leave time for about 25 tries."""
TRACE_LIMIT_CHARACTERS = 100
SIGNATURE_LIMIT_CHARACTERS = 200
TASK_LIMIT_CHARACTERS = 500
"""The most characters of a task's name."""
PARAMETER_LIMIT_CHARACTERS = 200
"""The most characters of the name of the parameter that gets results."""
NAME_LIMIT_CHARACTERS = 400
"""The most characters of an id or name in a job's value: its worker, batch, key, submission."""
TAGS_LIMIT = 16
"""The most tags that a job can require, and that a worker can have."""
TAG_LIMIT_CHARACTERS = 100
SLOTS_LIMIT = 50
"""The most slots of limits that a job can hold."""
ERRORS_LIMIT = 64
"""The most errors of a job: of its attempts, losses, failed imports and cancellation."""
MESSAGE_LIMIT_CHARACTERS = 8192
"""The most characters of the message of an error, and of the last lines of an output."""


class AttemptError(NamedTuple):
    """The error of a failed attempt, or another event in the list of a job's errors.

    Attributes:
        attempt: the number of the attempt, from 1; for another event, the number of attempts that
            had ended before the event.
        worker: the id of the worker that made the attempt; "" if there is none.
        message: the traceback, whose middle may be left out, or another description of the event.
    """

    attempt: int
    worker: str
    message: str

    @property
    def summary(self) -> str:
        """The last line of the message that is not indented.

        In a traceback, this line has the type of the exception and the first line of its message.
        The lines after it are indented, because `error_texts.describe` indents them.
        """
        lines = self.message.strip().splitlines()
        return next((line for line in reversed(lines) if not line.startswith(" ")), "")


class AttemptOutput(NamedTuple):
    """The last lines that an attempt printed and logged.

    Attributes:
        attempt: the number of the attempt, from 1.
        worker: the id of the worker that made the attempt.
        last_lines: at most 20 lines, with at most 2,048 characters in all.
    """

    attempt: int
    worker: str
    last_lines: str


def is_text(value: object) -> bool:
    """Return whether a value is a text that can be encoded in UTF-8."""
    if not isinstance(value, str):
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,400}", re.ASCII)
"""A fast check that accepts most znode names; `is_znode_name` checks other names more slowly."""


def is_znode_name(value: object) -> bool:
    """Return whether a value is a valid name of a znode in a queue."""
    if type(value) is str and _PLAIN_NAME.fullmatch(value) is not None:
        return True
    return (
        type(value) is str
        and 0 < len(value) <= NAME_LIMIT_CHARACTERS
        and "/" not in value
        and is_text(value)
        and paths.reason_invalid(f"/{value}") is None
    )


def is_limit_key(value: object) -> bool:
    """Return whether a value is a limit key, which becomes a part of the names of znodes."""
    try:
        return isinstance(value, str) and bool(encode("limit_key", value))
    except InvalidJobError:
        return False


def are_tags(value: object) -> bool:
    """Return whether a value is a list or tuple of tags."""
    if not isinstance(value, list | tuple) or len(value) > TAGS_LIMIT:
        return False
    return all(is_text(tag) and 0 < len(tag) <= TAG_LIMIT_CHARACTERS for tag in value)


class _Field:
    """A field of a job's value.

    Attributes:
        what: a description of the valid values, for messages.
    """

    __slots__ = ("what",)

    def __init__(self, what: str) -> None:
        self.what = what

    def is_right(self, value: Any) -> bool:  # noqa: ARG002 -- for the other kinds of fields
        """Return whether a value is valid."""
        return True


@final
class _Number(_Field):
    __slots__ = ("_least", "_most", "_or_null")

    def __init__(self, least: int, most: int, *, or_null: bool = False) -> None:
        super().__init__(f"a whole number from {least} to {most}{_or_null(or_null)}")
        self._least = least
        self._most = most
        self._or_null = or_null

    def is_right(self, value: Any) -> bool:
        # A decoded number has exactly the type int; bool, a subclass of int, is not accepted.
        if type(value) is int:
            return self._least <= value <= self._most
        return self._or_null and value is None


@final
class _Text(_Field):
    __slots__ = ("_most", "_or_null")

    def __init__(self, most: int, *, or_null: bool = False) -> None:
        super().__init__(f"a text of up to {most} characters{_or_null(or_null)}")
        self._most = most
        self._or_null = or_null

    def is_right(self, value: Any) -> bool:
        return (is_text(value) and len(value) <= self._most) or (self._or_null and value is None)


@final
class _ZnodeName(_Field):
    __slots__ = ("_or_null",)

    def __init__(self, *, or_null: bool = False) -> None:
        super().__init__(f"the name of a znode{_or_null(or_null)}")
        self._or_null = or_null

    def is_right(self, value: Any) -> bool:
        return (self._or_null and value is None) or is_znode_name(value)


@final
class _OneOf(_Field):
    __slots__ = ("_others", "_texts")

    def __init__(self, *values: object) -> None:
        super().__init__(", ".join([str(value) for value in values]))
        self._texts = frozenset([value for value in values if isinstance(value, str)])
        self._others = [value for value in values if not isinstance(value, str)]

    def is_right(self, value: Any) -> bool:
        # 1 equals True, so values that are not texts are compared by identity.
        if type(value) is str:
            return value in self._texts
        return any(value is other for other in self._others)


@final
class _OfType(_Field):
    __slots__ = ("_or_null", "_type")

    def __init__(self, wanted: type, what: str, *, or_null: bool = False) -> None:
        super().__init__(f"{what}{_or_null(or_null)}")
        self._type = wanted
        self._or_null = or_null

    def is_right(self, value: Any) -> bool:
        return type(value) is self._type or (self._or_null and value is None)


@final
class _ProgressField(_Field):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("a progress with the numbers done and total, and a note, or null")

    def is_right(self, value: Any) -> bool:
        return value is None or decode_progress(value) is not None


@final
class _LimitKey(_Field):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("a short text or null")

    def is_right(self, value: Any) -> bool:
        return value is None or is_limit_key(value)


@final
class _Tags(_Field):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(f"a list of up to {TAGS_LIMIT} texts")

    def is_right(self, value: Any) -> bool:
        return are_tags(value)


@final
class _Slots(_Field):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("a list of slots of limits")

    def is_right(self, value: Any) -> bool:
        if not isinstance(value, list | tuple) or len(value) > SLOTS_LIMIT:
            return False
        return all(_is_slot(slot) for slot in value)


def _is_slot(value: object) -> bool:
    """Return whether a value is the path of a slot below ``limits``."""
    parts = value.split("/") if isinstance(value, str) else []
    is_path = len(parts) == 3 and parts[1] == "slots"
    return is_path and all(is_znode_name(part) for part in parts)


def _or_null(or_null: bool) -> str:
    return " or null" if or_null else ""


_STATES = ("PENDING", "STAGING", "RUNNING", "SUCCESSFUL", "FAILED")
_TIME = _Number(0, TIME_LIMIT_MS, or_null=True)
_ANYTHING = _Field("JSON")
_PART = _Text(255, or_null=True)

REQUIRED: Mapping[str, _Field] = {
    "task": _Text(TASK_LIMIT_CHARACTERS),
    "dataset": _PART,
    "groupid": _PART,
    "parameters": _OfType(dict, "a JSON object"),
    "priority": _Number(0, 999),
    "max_attempts": _Number(1, MAX_ATTEMPTS_LIMIT),
    "key": _ZnodeName(),
    "submission": _Text(NAME_LIMIT_CHARACTERS),
    "submitted_ms": _Number(0, TIME_LIMIT_MS),
    "state": _OneOf(*_STATES),
    "attempts": _Number(0, MAX_ATTEMPTS_LIMIT),
    "errors": _OfType(list, "a list"),
}
OPTIONAL: Mapping[str, _Field] = {
    "backoff_ms": _Number(0, BACKOFF_LIMIT_MS),
    "timeout_ms": _Number(1, TIMEOUT_LIMIT_MS, or_null=True),
    "not_before_ms": _TIME,
    "expires_ms": _TIME,
    "batch": _ZnodeName(or_null=True),
    "chained": _OneOf(True, False),
    "receives": _Text(PARAMETER_LIMIT_CHARACTERS, or_null=True),
    "waits_for": _OneOf(WAITS_FOR_TIME, WAITS_FOR_BATCH, WAITS_FOR_LIMIT, None),
    "import_since_ms": _TIME,
    "import_tries": _Number(0, IMPORT_TRIES_LIMIT),
    "import_worker": _ZnodeName(or_null=True),
    "soft_timeout_ms": _Number(1, TIMEOUT_LIMIT_MS, or_null=True),
    "jitter_percent": _Number(0, 100),
    "source": _OfType(dict, "a JSON object", or_null=True),
    "tags": _Tags(),
    "limit_key": _LimitKey(),
    "limit": _ZnodeName(or_null=True),
    "slots": _Slots(),
    "trace": _Text(TRACE_LIMIT_CHARACTERS, or_null=True),
    "signature": _Text(SIGNATURE_LIMIT_CHARACTERS, or_null=True),
    "retried_ms": _TIME,
    "losses": _Number(0, LOSSES_LIMIT),
    "progress": _ProgressField(),
    "worker": _ZnodeName(or_null=True),
    "output": _OfType(list, "a list"),
    "result": _ANYTHING,
    "stored": _Text(1000, or_null=True),
    "cache_hit": _OneOf(True, False, None),
    "taken_ms": _TIME,
    "started_ms": _TIME,
    "finished_ms": _TIME,
}
_FIELDS = {**REQUIRED, **OPTIONAL}
_NULLABLE = frozenset(key for key, field in _FIELDS.items() if field.is_right(None))
_REQUIRED_NAMES = REQUIRED.keys()


def decode_fields(name: JobName, value: bytes) -> dict[str, Any]:
    """Return the fields of the job of this name, without unknown fields.

    ``errors`` is a tuple of AttemptError, and ``output`` is a tuple of AttemptOutput.

    Raises:
        ValueError: the value is not a valid job of this name; the message names the invalid field.
    """
    found = decode_json(value)
    if type(found) is not dict:
        raise ValueError("it is not a JSON object")
    if not found.keys() >= _REQUIRED_NAMES:
        raise ValueError(f"it lacks {', '.join(sorted(_REQUIRED_NAMES - found.keys()))}")
    fields: dict[str, Any] = {}
    for key, item in found.items():
        if item is None and key in _NULLABLE:
            fields[key] = None
            continue
        field = _FIELDS.get(key)
        if field is None:
            continue
        if not field.is_right(item):
            raise ValueError(f"{key} is {_shown(item)}, which is not {field.what}")
        fields[key] = item
    _check_name(name, fields)
    _decode_parts(fields)
    return fields


def _decode_parts(fields: dict[str, Any]) -> None:
    """Replace lists and objects by the types that a job has."""
    fields["errors"] = _decode_errors(fields["errors"])
    if fields.get("progress") is not None:
        fields["progress"] = decode_progress(fields["progress"])
    if "tags" in fields:
        fields["tags"] = tuple(fields["tags"])
    if "slots" in fields:
        fields["slots"] = tuple(fields["slots"])
    if "output" in fields:
        fields["output"] = _decode_output(fields["output"])


def salvage_fields(value: bytes) -> dict[str, Any]:
    """Return the fields that are valid in a value that `decode_fields` does not accept."""
    try:
        found = decode_json(value)
    except ValueError:
        return {}
    if type(found) is not dict:
        return {}
    return {key: v for key, v in found.items() if key in _FIELDS and _FIELDS[key].is_right(v)}


def _check_name(name: JobName, fields: Mapping[str, Any]) -> None:
    if (
        fields["priority"] == name.priority
        and fields["dataset"] == name.dataset
        and fields["groupid"] == name.groupid
    ):
        return
    said = (fields["priority"], fields["dataset"], fields["groupid"])
    named: tuple[object, ...] = (name.priority, name.dataset, name.groupid)
    has_data = fields["dataset"] is not None or fields["groupid"] is not None
    if name.dataset == NO_DATASET and not has_data:
        named = (name.priority, None, None)
    if said != named:
        raise ValueError(f"its name says {named}, but its value says {_shown(said)}")


def _decode_errors(found: list[Any]) -> tuple[AttemptError, ...]:
    if len(found) > ERRORS_LIMIT:
        raise ValueError(f"it has {len(found)} errors; at most {ERRORS_LIMIT} are allowed")
    return tuple([_decode_error(error) for error in found])


def _decode_error(error: Any) -> AttemptError:
    return AttemptError(*_of_attempt(error, AttemptError._fields, "an error"))


def _decode_output(found: list[Any]) -> tuple[AttemptOutput, ...]:
    if len(found) > MAX_ATTEMPTS_LIMIT:
        raise ValueError(f"it has output of {len(found)} attempts, more than {MAX_ATTEMPTS_LIMIT}")
    names = AttemptOutput._fields
    return tuple([AttemptOutput(*_of_attempt(output, names, "an output")) for output in found])


def _of_attempt(value: Any, names: tuple[str, ...], what: str) -> tuple[int, str, str]:
    """Decode an entry of ``errors`` or ``output``: the attempt's number, its worker, and a text."""
    if type(value) is not dict:
        raise ValueError(f"{what} is {_shown(value)}, which is not a JSON object")
    attempt, worker, text = (value.get(key) for key in names)
    if (
        type(attempt) is not int
        or not 0 <= attempt <= MAX_ATTEMPTS_LIMIT
        or type(worker) is not str
        or len(worker) > NAME_LIMIT_CHARACTERS
        or type(text) is not str
        or len(text) > MESSAGE_LIMIT_CHARACTERS
    ):
        raise ValueError(
            f"{what} is {_shown(value)}, in which {', '.join(names[:-1])} or {names[-1]} is missing"
            " or invalid"
        )
    # A text may have half of a surrogate pair, which no terminal can print.
    return attempt, _printable(worker), _printable(text)


def _printable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
