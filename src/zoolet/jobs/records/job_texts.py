"""Writes the JSON value of a job, field by field, and finds values whose text may be large.

A worker and a submitter write each job several times. Encoding a dict of all fields takes three
times as long. Invariant: the text has the same fields in the same order as the attributes of
`zoolet.jobs.records.job.Job`, without the optional fields that are not set. ``ready_ms`` and
``version`` are not in the text. This module imports
`json_values` and `small_values` of its own package.
"""

import json
from json.encoder import encode_basestring_ascii
from typing import Any, Final

from zoolet.jobs.records.json_values import EncodedJson
from zoolet.jobs.records.small_values import (
    is_small,
    is_small_list,
    is_small_object,
    small_object_text,
)

_to_json: Final = json.JSONEncoder(default=dict, separators=(",", ":")).encode

_REQUEST_FIELDS: Final = (
    "backoff_ms",
    "timeout_ms",
    "not_before_ms",
    "expires_ms",
    "batch",
    "chained",
    "receives",
    "waits_for",
    "import_since_ms",
    "import_tries",
    "import_worker",
    "soft_timeout_ms",
    "jitter_percent",
    "source",
    "tags",
    "limit_key",
    "limit",
    "slots",
    "trace",
    "signature",
    "retried_ms",
)
"""The optional fields between ``submitted_ms`` and ``state``, in order."""
_FIRST_REQUEST_FIELD: Final = 10
_SMALL_TEXT_BYTES: Final = 4096


def is_large(value: object) -> bool:
    """Return whether a JSON value may be large, without encoding it."""
    if isinstance(value, EncodedJson):
        return len(value.text) > _SMALL_TEXT_BYTES
    return not (is_small(value) or is_small_object(value) or is_small_list(value))


def encode_values(values: tuple[Any, ...]) -> bytes:
    """Return the JSON object of a job; ``values`` are the attributes of a `Job`, in their order."""
    _, task, dataset, groupid, parameters, priority, max_attempts, key, submission, submitted_ms = (
        values[:_FIRST_REQUEST_FIELD]
    )
    (
        state, worker, attempts, losses, progress, errors, output, result, stored, cache_hit,
        taken_ms, started_ms, finished_ms, _, _,
    ) = values[_FIRST_REQUEST_FIELD + len(_REQUEST_FIELDS):]  # fmt: skip
    text = (
        f'{{"task":{_text(task)},"dataset":{_text(dataset)},"groupid":{_text(groupid)}'
        f',"parameters":{small_object_text(parameters) or _to_json(parameters)}'
        f',"priority":{_number(priority)}'
        f',"max_attempts":{_number(max_attempts)},"key":{_text(key)}'
        f',"submission":{_text(submission)},"submitted_ms":{_number(submitted_ms)}'
    )
    for position, name in enumerate(_REQUEST_FIELDS, _FIRST_REQUEST_FIELD):
        value = values[position]
        if value:
            text += f',"{name}":{_text(value) if type(value) is str else _to_json(value)}'
    text += f',"state":{_text(state)},"worker":{_text(worker)},"attempts":{_number(attempts)}'
    if losses:
        text += f',"losses":{_number(losses)}'
    if progress is not None:
        text += f',"progress":{_to_json(progress._asdict())}'
    text += f',"errors":{_entries(errors)}'
    if output:
        text += f',"output":{_entries(output)}'
    is_encoded = isinstance(result, EncodedJson)
    if not is_encoded:
        text += ',"result":null' if result is None else f',"result":{_to_json(result)}'
    if stored:
        text += f',"stored":{_text(stored)}'
    text += (
        f',"cache_hit":{_flag(cache_hit)},"taken_ms":{_number(taken_ms)}'
        f',"started_ms":{_number(started_ms)},"finished_ms":{_number(finished_ms)}'
    )
    if is_encoded:
        return b'%s,"result":%s}' % (text.encode(), result.text)
    return f"{text}}}".encode()


def _text(value: Any) -> str:
    return "null" if value is None else encode_basestring_ascii(value)


def _number(value: Any) -> str:
    # As in the encoder of Python, a subclass of int does not choose its own text.
    return "null" if value is None else int.__repr__(value)


def _flag(value: Any) -> str:
    return "null" if value is None else ("true" if value else "false")


def _entries(entries: Any) -> str:
    """Return the JSON list of errors or outputs of attempts, which are named tuples."""
    return _to_json([entry._asdict() for entry in entries]) if entries else "[]"
