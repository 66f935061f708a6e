"""Checks, encodes and decodes JSON values: parameters, results, and the values of znodes.

Invariants: `plain_json` returns a value that can be encoded, and `decode_json` can decode the text
of this value. A result is encoded only one time; after that, only its text is passed on
(`EncodedJson`). For a text of another program, `decode_json` returns a value that is at most a few
levels deeper than the limit, or raises ValueError. This module imports `zoolet.jobs.errors` and
`small_values` of its own package.
"""

import json
import math
import operator
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records.small_values import is_plain_object, is_small

JSON_DEPTH_LIMIT = 100
"""The most levels of lists and objects in parameters and results. Python's limit is about 990."""
JSON_LIMIT_BYTES = 256 * 1024 * 1024
"""The most bytes of a value's JSON text. The databases of result stores accept about 1 GB."""
JSON_DIGITS_LIMIT = 4300
"""The most digits of an integer. This is Python's default limit for parsing an integer."""

_BITS_LIMIT = math.floor(JSON_DIGITS_LIMIT * math.log2(10))
_ESCAPED_BYTES = 6
_PATH_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class EncodedJson:
    """A JSON value as its ASCII text, which is stored and passed on without a change."""

    text: bytes

    def decode(self) -> Any:
        """Return the value."""
        return decode_json(self.text)


def encode_json(where: str, value: object) -> EncodedJson:
    """Return the JSON text of a value.

    ``where`` is the name of the value in the error message.

    Raises:
        InvalidJobError: the value is not JSON (see `plain_json`), or its text is larger than
            `JSON_LIMIT_BYTES`.
    """
    if type(value) is int and is_small(value):
        # Most results of short tasks are numbers or null: the encoder takes 3 us for each.
        return EncodedJson(b"%d" % value)
    if value is None:
        return EncodedJson(b"null")
    plain = plain_json(where, value)
    try:
        text = _encoder.encode(plain).encode()
    except (ValueError, TypeError, RecursionError, RuntimeError) as error:
        # Another thread changed the value after the check, or lowered one of Python's limits.
        raise InvalidJobError(f"{where} cannot be written as JSON: {error}") from None
    if len(text) > JSON_LIMIT_BYTES:
        raise InvalidJobError(f"{where} {_TOO_LARGE}")
    return EncodedJson(text)


def plain_json(where: str, value: object) -> Any:
    """Return ``value`` with only Python's built-in JSON types.

    Parts that have these types already are not copied. A Mapping becomes a dict. Values of
    subclasses, such as IntEnum, become plain texts and numbers. NaN and the infinities are not
    JSON. Names in an object must be texts. ``where`` is the name of the value in the error message.

    Raises:
        InvalidJobError: the value is not JSON, is nested deeper than `JSON_DEPTH_LIMIT`, is larger
            than `JSON_LIMIT_BYTES`, or has an integer of more than `JSON_DIGITS_LIMIT` digits. The
            message names the invalid part.
    """
    if is_plain_object(value):
        return value
    try:
        return _plain(value, JSON_DEPTH_LIMIT, _Room(JSON_LIMIT_BYTES))
    except _NotJsonError as error:
        path = "".join(reversed(error.path))
        if len(path) > _PATH_CHARACTERS:
            path = f"{path[:_PATH_CHARACTERS]}..."
        raise InvalidJobError(f"{where}{path} {error.reason}") from None


class _NotJsonError(Exception):
    """A part of a value is not JSON; ``path`` has the indices of the part, the innermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []


class _Room:
    """Counts the least number of JSON bytes that a value needs, and raises past the limit.

    A value can be much larger as JSON than in memory, because it can contain the same part many
    times.
    """

    def __init__(self, left_bytes: int) -> None:
        self._left_bytes = left_bytes

    def take(self, count_bytes: int) -> None:
        self._left_bytes -= count_bytes
        if self._left_bytes < 0:
            raise _NotJsonError(_TOO_LARGE)

    def take_texts(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.take(len(text) if text.isascii() else _ESCAPED_BYTES * len(text))


_TOO_LARGE = (
    f"has more than {JSON_LIMIT_BYTES} bytes of JSON: store large data elsewhere and return its"
    " name"
)
_TOO_DEEP = (
    f"is nested deeper than {JSON_DEPTH_LIMIT} levels: use fewer levels of lists and objects, or"
    " encode the inner levels as a text"
)
_TOO_LONG = f"is an integer of more than {JSON_DIGITS_LIMIT} digits: pass the integer as a text"


def _plain(value: Any, depth: int, room: _Room) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        room.take_texts((value,))
        return value if type(value) is str else str.__str__(value)
    if isinstance(value, int):
        if int.bit_length(value) > _BITS_LIMIT:
            raise _NotJsonError(_TOO_LONG)
        return value if type(value) is int else int.__int__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _NotJsonError(f"is {float.__repr__(value)}, which is not JSON; use null")
        return value if type(value) is float else float.__float__(value)
    if not isinstance(value, list | tuple | Mapping):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise _NotJsonError(
            f"is of type {kind}, which is not JSON; convert it to numbers, texts, lists, and"
            " objects (dict)"
        )
    if not depth:
        raise _NotJsonError(_TOO_DEEP)
    if isinstance(value, Mapping):
        return _plain_object(value, depth, room)
    items = value if type(value) in {list, tuple} else _read(lambda: list(value))
    return _plain_list(items, depth, room)


def _plain_list(items: list[Any] | tuple[Any, ...], depth: int, room: _Room) -> Any:
    room.take(2 * len(items))
    if _is_plain(items, room):
        return items
    plain = []
    for position, item in enumerate(items):
        try:
            plain.append(_plain(item, depth - 1, room))
        except _NotJsonError as error:
            error.path.append(f"[{position}]")
            raise
    return items if all(map(operator.is_, items, plain)) else plain


def _is_plain(items: Collection[Any], room: _Room) -> bool:
    """Return whether all items are plain texts, or all are finite floats: a fast check."""
    kinds = set(map(type, items))
    if len(kinds) > 1:
        return False
    if kinds == {str}:
        room.take_texts(items)
        return True
    return kinds == {float} and all(map(math.isfinite, items))


def _plain_object(value: Mapping[Any, Any], depth: int, room: _Room) -> dict[str, Any]:
    items = value if type(value) is dict else _read(lambda: dict(value.items()))
    room.take(4 * len(items))
    plain = {}
    for name, item in _read(lambda: list(items.items())):
        if not isinstance(name, str):
            kind = type(name).__qualname__
            raise _NotJsonError(f"has a name of type {kind}; names in a JSON object must be texts")
        room.take_texts((name,))
        try:
            plain[name if type(name) is str else str.__str__(name)] = _plain(item, depth - 1, room)
        except _NotJsonError as error:
            error.path.append(f"[{name[:_PATH_CHARACTERS]!r}]")
            raise
    is_same = all(map(operator.is_, items, plain)) and all(
        map(operator.is_, items.values(), plain.values())
    )
    return items if is_same else plain


def _read(read: Any) -> Any:
    """Call ``read``, which reads a container whose class may raise any exception."""
    try:
        return read()
    except Exception as error:
        raise _NotJsonError(f"cannot be read: {type(error).__name__}: {error}") from error


def decode_json(data: bytes) -> Any:
    """Return the value of a JSON text that any program may have written.

    Raises:
        ValueError: the text is not JSON in UTF-8, has a number that is not finite, or is nested
            deeper than `JSON_DEPTH_LIMIT` plus a few levels. The text may be a whole job, which
            contains its parameters some levels deeper.
    """
    text = data.decode()
    try:
        # Most texts have no white space around their value, so it is not searched for.
        value, end = _decoder.raw_decode(text) if text[:1] in _OPENING else (None, -1)
        if end != len(text):
            value = _decoder.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    # The depth is at most the number of opening brackets. Most texts have only a few of them.
    if data.count(b"[") + data.count(b"{") > _DEPTH_AROUND:
        _check_depth(value)
    return value


def decode_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in a text that any program may have written; {} if it has none."""
    try:
        found = decode_json(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


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
_OPENING = frozenset("{[")
_encoder = json.JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":"))
