"""Checks the fields of a job's JSON value, which any program may have written.

What holds: `decode_fields` returns only values of the right type and within their limits, or raises
ValueError. So no other module has to expect anything else from a value in a queue. The limits of
what `submit` accepts are defined here too. Imports the job system's JSON and names.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from zoolet.jobs.records.job_names import NO_DATASET, JobName
from zoolet.jobs.records.json_values import decode_json
from zoolet.model import paths

TIME_LIMIT_MS = 253_402_300_799_999
"""Latest time of a job, in ms since the epoch: the last of the year 9999, UTC."""
BACKOFF_LIMIT_MS = 24 * 3600 * 1000
"""Longest delay before a retry, in ms: one day."""
TIMEOUT_LIMIT_MS = 365 * 24 * 3600 * 1000
"""Longest timeout of an attempt, in ms: one year."""
MAX_ATTEMPTS_LIMIT = 20
"""Most attempts of a job, so that the errors of all of them fit in its znode."""
WAITS_FOR_TIME = "time"
WAITS_FOR_BATCH = "batch"
"""What a job in deferred waits for: its `not_before_ms`, or the batch that its batch is after."""
LOSSES_LIMIT = 1_000_000
"""Greatest number of losses of a job that is counted."""
IMPORT_PATIENCE_MS = 600_000
"""A job whose task no worker can import is FAILED this long after the first try: ten minutes."""
IMPORT_BACKOFF_MS = 1000
"""Delay after the first try to import a task, in ms. It doubles with each try."""
IMPORT_BACKOFF_MOST_MS = 30_000
IMPORT_TRIES_LIMIT = 1000
"""Greatest number of tries to import a task: there are fewer than that in ten minutes."""
TASK_LIMIT_CHARACTERS = 500
NAME_LIMIT_CHARACTERS = 400
"""Longest id or name in a job's value: its worker, batch, key, submission."""
ERRORS_LIMIT = 64
"""Most errors of a job: of its attempts, of its losses, and of a decision."""
MESSAGE_LIMIT_CHARACTERS = 8192


class AttemptError(NamedTuple):
    """Why an attempt failed.

    Attributes:
        attempt: its number, from 1.
        worker: the id of the worker that made it.
        message: a traceback with its middle left out, or what else happened.
    """

    attempt: int
    worker: str
    message: str

    @property
    def summary(self) -> str:
        """The message in one line: of a traceback, the line that names the exception.

        The lines behind it are indented.
        """
        lines = self.message.strip().splitlines()
        return next((line for line in reversed(lines) if not line.startswith(" ")), "")


class AttemptOutput(NamedTuple):
    """The end of what an attempt printed and logged.

    Attributes:
        attempt: its number, from 1.
        worker: the id of the worker that made it.
        last_lines: at most 20 lines and 2,048 characters.
    """

    attempt: int
    worker: str
    last_lines: str


class _Field(NamedTuple):
    """A field of a job's value: whether a value is right, and in words which values are."""

    is_right: Callable[[Any], bool]
    what: str


def is_text(value: object) -> bool:
    """Say whether a value is a text that can be written in UTF-8."""
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
"""Most names of znodes are such; to look at each character of the others takes longer."""


def is_znode_name(value: object) -> bool:
    """Say whether a value can be the name of a znode of ours."""
    if type(value) is str and _PLAIN_NAME.fullmatch(value) is not None:
        return True
    return (
        type(value) is str
        and 0 < len(value) <= NAME_LIMIT_CHARACTERS
        and "/" not in value
        and is_text(value)
        and paths.reason_invalid(f"/{value}") is None
    )


def _number(least: int, most: int, *, or_null: bool = False) -> _Field:
    def is_right(value: Any) -> bool:
        # JSON gives exactly int; bool is a type of its own.
        return least <= value <= most if type(value) is int else or_null and value is None

    return _Field(is_right, f"a whole number from {least} to {most}{_or_null(or_null)}")


def _text(most: int, *, or_null: bool = False) -> _Field:
    def is_right(value: Any) -> bool:
        return (is_text(value) and len(value) <= most) or (or_null and value is None)

    return _Field(is_right, f"a text of up to {most} characters{_or_null(or_null)}")


def _znode_name(*, or_null: bool = False) -> _Field:
    def is_right(value: Any) -> bool:
        return (or_null and value is None) or is_znode_name(value)

    return _Field(is_right, f"the name of a znode{_or_null(or_null)}")


def _one_of(*values: object) -> _Field:
    shown = ", ".join(str(value) for value in values)
    texts = frozenset(value for value in values if isinstance(value, str))

    def is_right(value: Any) -> bool:
        # 1 equals True, so what is no text must be the same.
        return value in texts if type(value) is str else any(value is other for other in values)

    return _Field(is_right, shown)


def _or_null(or_null: bool) -> str:
    return " or null" if or_null else ""


_STATES = ("PENDING", "STAGING", "RUNNING", "SUCCESSFUL", "FAILED")
_TIME = _number(0, TIME_LIMIT_MS, or_null=True)
_ANYTHING = _Field(lambda _: True, "JSON")
_PART = _text(255, or_null=True)

REQUIRED: Mapping[str, _Field] = {
    "task": _text(TASK_LIMIT_CHARACTERS),
    "dataset": _PART,
    "groupid": _PART,
    "parameters": _Field(lambda value: type(value) is dict, "a JSON object"),
    "priority": _number(0, 999),
    "max_attempts": _number(1, MAX_ATTEMPTS_LIMIT),
    "key": _znode_name(),
    "submission": _text(NAME_LIMIT_CHARACTERS),
    "submitted_ms": _number(0, TIME_LIMIT_MS),
    "state": _one_of(*_STATES),
    "attempts": _number(0, MAX_ATTEMPTS_LIMIT),
    "errors": _Field(lambda value: type(value) is list, "a list"),
}
OPTIONAL: Mapping[str, _Field] = {
    "backoff_ms": _number(0, BACKOFF_LIMIT_MS),
    "timeout_ms": _number(1, TIMEOUT_LIMIT_MS, or_null=True),
    "not_before_ms": _TIME,
    "expires_ms": _TIME,
    "batch": _znode_name(or_null=True),
    "chained": _one_of(True, False),
    "waits_for": _one_of(WAITS_FOR_TIME, WAITS_FOR_BATCH, None),
    "import_since_ms": _TIME,
    "import_tries": _number(0, IMPORT_TRIES_LIMIT),
    "import_worker": _znode_name(or_null=True),
    "losses": _number(0, LOSSES_LIMIT),
    "worker": _znode_name(or_null=True),
    "output": _Field(lambda value: type(value) is list, "a list"),
    "result": _ANYTHING,
    "stored": _text(1000, or_null=True),
    "cache_hit": _one_of(True, False, None),
    "taken_ms": _TIME,
    "started_ms": _TIME,
    "finished_ms": _TIME,
}
_FIELDS = {**REQUIRED, **OPTIONAL}
_NULLABLE = frozenset(key for key, field in _FIELDS.items() if field.is_right(None))
_REQUIRED_NAMES = REQUIRED.keys()


def decode_fields(name: JobName, value: bytes) -> dict[str, Any]:
    """Return the fields of the job of this name.

    ``errors`` is a tuple of AttemptError, and ``output`` one of AttemptOutput.

    Fields that nobody knows are left out.

    Raises:
        ValueError: the value is not that of such a job; the message says which field is wrong.
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
    fields["errors"] = _decode_errors(fields["errors"])
    if "output" in fields:
        fields["output"] = _decode_output(fields["output"])
    return fields


def salvage_fields(value: bytes) -> dict[str, Any]:
    """Return those fields of a value that `decode_fields` refuses which are right by themselves."""
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
        raise ValueError(f"its name says {named}, and its value {_shown(said)}")


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
    """Return what a value says of an attempt: its number, its worker, and a text."""
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
            f"{what} is {_shown(value)}, which lacks {', '.join(names[:-1])} or {names[-1]}"
        )
    # A text may hold half a character (a surrogate), which no terminal shows.
    return attempt, _printable(worker), _printable(text)


def _printable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
