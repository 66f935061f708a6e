"""JSON as the job system writes and reads it: what is allowed, and how deep a value may be.

What holds: a value that `check_json` accepts can be encoded, and `decode_json` reads it again. Text
that somebody else wrote gives a value within the same limits or ValueError, and no other error.
Imports the job system's errors.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from zoolet.jobs.errors import InvalidJobError

JSON_DEPTH_LIMIT = 100
"""Levels of lists and objects in parameters and results. Python's own limit is about 990."""

_SMALL_ITEMS = 8
_SMALL_CHARACTERS = 60
_SMALL_BITS = 64


def check_json(where: str, value: object) -> None:
    """Raise InvalidJobError if ``value`` is not JSON; the message names the part.

    NaN and the infinities are not JSON. Names in an object are texts. ``where`` is what the message
    calls the value.
    """
    _check_json(where, value, JSON_DEPTH_LIMIT)
    try:
        json.dumps(value, default=dict)
    except (RecursionError, ValueError) as error:
        raise InvalidJobError(f"{where} cannot be written as JSON: {error}") from None


def _check_json(where: str, value: object, depth: int) -> None:
    if value is None or isinstance(value, str | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidJobError(f"{where} is {value}, which is not JSON; use null")
        return
    if not isinstance(value, list | tuple | Mapping):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise InvalidJobError(
            f"{where} is of type {kind}, which is not JSON; convert it to numbers, texts, lists,"
            " and objects (dict)"
        )
    if not depth:
        raise InvalidJobError(
            f"{where[:200]}... is nested deeper than {JSON_DEPTH_LIMIT} levels: use fewer levels of"
            " lists and objects, or a text"
        )
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                raise InvalidJobError(f"{where} has the name {name!r}; names in JSON are texts")
            _check_json(f"{where}[{name!r}]", item, depth - 1)
    else:
        for position, item in enumerate(value):
            _check_json(f"{where}[{position}]", item, depth - 1)


def is_large(value: object) -> bool:
    """Say whether a JSON value may be large, without measuring it."""
    if isinstance(value, str):
        return len(value) > _SMALL_CHARACTERS
    if isinstance(value, int):
        return value.bit_length() > _SMALL_BITS
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        return len(value) > 2 * _SMALL_ITEMS or any(
            isinstance(item, Mapping | list | tuple) or is_large(item) for item in value
        )
    return False


def decode_json(data: bytes) -> Any:
    """Return the value of a JSON text that any program may have written.

    Raises:
        ValueError: it is not JSON in UTF-8, has a number that is not finite, or is nested deeper
            than `JSON_DEPTH_LIMIT` and a few levels around a value of ours.
    """
    try:
        value = _decoder.decode(data.decode())
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    # No text is deeper than it has opening brackets, and most have only a few.
    if data.count(b"[") + data.count(b"{") > _DEPTH_AROUND:
        _check_depth(value)
    return value


_DEPTH_AROUND = JSON_DEPTH_LIMIT + 5


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(_DEPTH_AROUND + 1):
        level = [
            item
            for outer in level
            if isinstance(outer, list | dict)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {JSON_DEPTH_LIMIT} levels")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large for a number")
    return number


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_decoder = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse)
