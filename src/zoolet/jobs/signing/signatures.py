"""Signatures: HMAC-SHA256 over the values that a submitter chooses.

docs/jobs-security.md defines the signed text. A change of this text needs a new `VERSION`.
Invariants:

- Each attribute of a job is in `SIGNED`, or changes while the job waits and runs (`UNSIGNED`).
- A move of a job changes no signed value. ``not_before_ms`` is an exception: a back-off sets it to
  a later time. So the signature contains the time that was signed, and an earlier time is invalid.

This module sends no requests and reads no clock. It imports `zoolet.jobs.records` and other modules
of its package.
"""

import hmac
import json
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import TIME_LIMIT_MS
from zoolet.jobs.records.schedules import Schedule
from zoolet.jobs.signing.keys import KEY_ID, SigningKey

VERSION: Final = 1
SIGNED: Final = (
    "task",
    "dataset",
    "groupid",
    "parameters",
    "priority",
    "max_attempts",
    "key",
    "submission",
    "submitted_ms",
    "backoff_ms",
    "timeout_ms",
    "not_before_ms",
    "expires_ms",
    "batch",
    "receives",
    "soft_timeout_ms",
    "jitter_percent",
    "source",
    "tags",
    "limit_key",
    "trace",
)
"""The signed attributes of a job, in the order of the signed text."""
UNSIGNED: Final = (
    "name",
    "chained",
    "waits_for",
    "import_since_ms",
    "import_tries",
    "import_worker",
    "limit",
    "slots",
    "signature",
    "retried_ms",
    "state",
    "worker",
    "attempts",
    "losses",
    "progress",
    "errors",
    "output",
    "result",
    "stored",
    "cache_hit",
    "ready_ms",
    "taken_ms",
    "started_ms",
    "finished_ms",
    "version",
)
"""The other attributes. The signed values have all of ``name`` except its sequence."""
SIGNED_OF_SCHEDULES: Final = (
    "name",
    "request",
    "cron",
    "every_ms",
    "timezone",
    "start_ms",
    "missed",
    "missed_most",
    "grace_ms",
    "overlap",
    "due_parameter",
)
"""The signed attributes of a schedule, in the order of the signed text."""

_FORM = re.compile(rf"(\d+):({KEY_ID.pattern}):(\d*):([0-9a-f]{{64}})", re.ASCII)
_NOT_BEFORE = SIGNED.index("not_before_ms")
_to_json = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False, default=dict
).encode

FindKey = Callable[[str], SigningKey | None]
"""Returns the key of an id; None if there is none."""


class _Parts(NamedTuple):
    """A signature: ``version:key_id:not_before_ms:mac``."""

    key_id: str
    not_before_ms: int | None
    mac: str


def sign_job(job: Job, queue: str, key: SigningKey) -> str:
    """Return the signature of a job; ``queue`` is the whole path of the queue's root."""
    return _signature(key, job.not_before_ms, _text_of_job(job, queue, key.id, job.not_before_ms))


def problem_of_job(job: Job, queue: str, find: FindKey) -> str | None:
    """Return why the signature of a job is not valid; None if it is valid."""
    parts = _verified(
        job.signature,
        find,
        lambda found: _text_of_job(job, queue, found.key_id, found.not_before_ms),
    )
    if isinstance(parts, str):
        return parts
    if parts.not_before_ms is not None and (job.not_before_ms or 0) < parts.not_before_ms:
        return f"its start time is earlier than the signed one, {parts.not_before_ms} ms"
    return None


def signed_not_before_ms(job: Job) -> int | None:
    """Return the earliest start that was signed; None if there is none, or no valid signature."""
    parts = None if job.signature is None else _parse(job.signature)
    return None if parts is None else parts.not_before_ms


def sign_schedule(schedule: Schedule, queue: str, key: SigningKey) -> str:
    """Return the signature of a schedule."""
    return _signature(key, None, _text_of_schedule(schedule, queue, key.id))


def problem_of_schedule(schedule: Schedule, queue: str, find: FindKey) -> str | None:
    """Return why the signature of a schedule is not valid; None if it is valid."""
    parts = _verified(
        schedule.signature, find, lambda found: _text_of_schedule(schedule, queue, found.key_id)
    )
    return parts if isinstance(parts, str) else None


def _verified(
    signature: str | None, find: FindKey, text_of: Callable[[_Parts], bytes]
) -> _Parts | str:
    """Return the parts of a signature of this text, or why the signature is not valid."""
    if signature is None:
        return NO_SIGNATURE
    parts = _parse(signature)
    if parts is None:
        return _INVALID
    key = find(parts.key_id)
    if key is None:
        return _unknown(parts.key_id)
    if not hmac.compare_digest(parts.mac, _mac(key, text_of(parts))):
        return _changed(parts.key_id)
    return parts


NO_SIGNATURE: Final = "it has no signature: submit it with the option --signing-keys"
_INVALID: Final = (
    f"its signature does not have the form of version {VERSION}: submit the work again"
)


def _unknown(key_id: str) -> str:
    return (
        f"it is signed with the key {key_id}, which this process does not have: add the key to the"
        " file of keys, or submit the work again"
    )


def _changed(key_id: str) -> str:
    return (
        f"its signature with the key {key_id} is wrong: it was changed, or it was signed for"
        " another queue or with another secret. Submit the work again"
    )


def _parse(signature: str) -> _Parts | None:
    match = _FORM.fullmatch(signature)
    if match is None or match[1] != str(VERSION):
        return None
    time = match[3]
    if time and (len(time) > len(str(TIME_LIMIT_MS)) or str(int(time)) != time):
        return None
    return _Parts(match[2], int(time) if time else None, match[4])


def _signature(key: SigningKey, not_before_ms: int | None, text: bytes) -> str:
    time = "" if not_before_ms is None else not_before_ms
    return f"{VERSION}:{key.id}:{time}:{_mac(key, text)}"


def _mac(key: SigningKey, text: bytes) -> str:
    return hmac.digest(key.secret, text, "sha256").hex()


def _text_of_job(job: Job, queue: str, key_id: str, not_before_ms: int | None) -> bytes:
    values: list[Any] = [getattr(job, name) for name in SIGNED]
    values[_NOT_BEFORE] = not_before_ms
    return _encoded(["zoolet-job", VERSION, key_id, queue, *values])


def _text_of_schedule(schedule: Schedule, queue: str, key_id: str) -> bytes:
    stored = json.loads(schedule.encode()) | {"name": schedule.name}
    values = [stored[name] for name in SIGNED_OF_SCHEDULES]
    return _encoded(["zoolet-schedule", VERSION, key_id, queue, *values])


def _encoded(values: list[Any]) -> bytes:
    text = _to_json(values)
    if "\\ud" in text:
        # Two halves of a surrogate pair are one character when the job is read again. This changes
        # the order of names.
        text = _to_json(json.loads(text))
    return text.encode()
