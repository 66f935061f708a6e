"""Finds the JSON values that are certainly small, and writes small objects as JSON.

Most parameters and results are a few numbers and short texts, which need no further check. A value
that is not found to be small may still be small. This module imports no other module of zoolet.
"""

import math
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii
from typing import Final

_ITEMS: Final = 8
_CHARACTERS: Final = 60
_BITS: Final = 64


def is_small(value: object) -> bool:
    """Return whether a value is a short text, a number, a bool or None, of a built-in type."""
    if type(value) is str:
        return len(value) <= _CHARACTERS
    if type(value) is int:
        return value.bit_length() <= _BITS
    return value is None or type(value) is bool or type(value) is float


def are_small(values: Iterable[object], most: int) -> bool:
    """Return whether there are at most ``most`` values, and each of them is small."""
    for position, value in enumerate(values):
        if position == most or not is_small(value):
            return False
    return True


def is_small_object(value: object) -> bool:
    """Return whether a value is a dict with a few small names and values."""
    return (
        type(value) is dict
        and len(value) <= _ITEMS
        and are_small(value, _ITEMS)
        and are_small(value.values(), _ITEMS)
    )


def is_small_list(value: object) -> bool:
    """Return whether a value is a list or tuple of a few small values."""
    return isinstance(value, list | tuple) and are_small(value, 2 * _ITEMS)


def is_plain_object(value: object) -> bool:
    """Return whether a value is a small object that JSON can express without a change."""
    if not is_small_object(value) or type(value) is not dict:
        return False
    for name, item in value.items():
        if type(name) is not str or (type(item) is float and not math.isfinite(item)):
            return False
    return True


def small_object_text(value: object, *, is_key: bool = False) -> str | None:
    """Return the JSON text of a small object; None if the encoder of Python must write the value.

    With ``is_key``, the text is that of ``json.dumps(value, sort_keys=True)``, and else the text
    without spaces. The encoder takes three times as long, and writes parameters four times for each
    job.
    """
    if type(value) is not dict or len(value) > _ITEMS:
        return None
    colon = ": " if is_key else ":"
    parts: list[str] = []
    names = list(value)
    if is_key and len(names) > 1:
        if not all(type(name) is str for name in names):
            return None
        names.sort()
    for name in names:
        if type(name) is not str:
            return None
        text = _small_text(value[name])
        if text is None:
            return None
        parts.append(f"{encode_basestring_ascii(name)}{colon}{text}")
    return "{" + (", " if is_key else ",").join(parts) + "}"


def _small_text(value: object) -> str | None:
    if type(value) is str:
        return encode_basestring_ascii(value)
    if type(value) is int and value.bit_length() <= _BITS:
        return str(value)
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    return None
