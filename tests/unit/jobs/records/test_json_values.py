"""JSON of the job system: what is accepted can be encoded; other text is refused."""

import enum
import json
import math
from collections import OrderedDict, UserDict, UserList, defaultdict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records import json_values
from zoolet.jobs.records.json_values import (
    JSON_DEPTH_LIMIT,
    JSON_DIGITS_LIMIT,
    EncodedJson,
    decode_json,
    encode_json,
    plain_json,
)


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("not for you")


class Colour(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 7


class Plain(enum.Enum):
    ONE = 1


class Number(float):
    def __repr__(self) -> str:
        return "no number"


class Broken(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:
        raise OSError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(["x"])

    def __len__(self) -> int:
        return 1


class Endless(Mapping[str, Any]):
    """Holds itself, in a new object each time."""

    def __getitem__(self, name: str) -> Any:
        return Endless()

    def __iter__(self) -> Iterator[str]:
        return iter(["x"])

    def __len__(self) -> int:
        return 1


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats()
    | st.text(st.characters(exclude_categories=[]))
    | st.text().map(Text) | st.floats().map(Number)
    | st.sampled_from([Colour.RED, Size.LARGE, Plain.ONE, {1}, b"x", object()])
    | st.integers(-2, 2).map(lambda n: 10 ** (JSON_DIGITS_LIMIT + n)),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.lists(inner).map(UserList)
    | st.lists(inner).map(iter)
    | st.dictionaries(st.text() | st.text().map(Text) | st.integers(), inner)
    | st.dictionaries(st.text(), inner).map(UserDict)
    | st.dictionaries(st.text(), inner).map(MappingProxyType)
    | st.dictionaries(st.text(), inner).map(OrderedDict),
    max_leaves=20,
)  # fmt: skip


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def nested(depth: int, *, as_object: bool = False) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"x": value} if as_object else [value]
    return value


@given(anything)
def test_a_value_is_refused_or_its_text_is_read_and_written_the_same(value: Any) -> None:
    try:
        encoded = encode_json("the value", value)
    except InvalidJobError:
        return
    again = encoded.decode()
    assert encode_json("the value", again) == encoded
    assert again == json.loads(json.dumps(plain_json("the value", value)))


@given(anything)
def test_what_is_plain_is_not_copied(value: Any) -> None:
    try:
        plain = plain_json("the value", value)
    except InvalidJobError:
        return
    assert plain_json("the value", plain) is plain


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (UserDict({"a": UserDict({"b": 1})}), b'{"a":{"b":1}}'),
        (MappingProxyType({"a": [MappingProxyType({})]}), b'{"a":[{}]}'),
        (defaultdict(lambda: (0, 0), {"a": (1, 2)}), b'{"a":[1,2]}'),
        ({Text("a"): Text("b"), Colour.RED: Size.LARGE}, b'{"a":"b","red":7}'),
        ([Number(1.5), Number(-0.0)], b"[1.5,-0.0]"),
        ("\ud800 \U0001f600", b'"\\ud800 \\ud83d\\ude00"'),
        ([-(10 ** (JSON_DIGITS_LIMIT - 1))], b"[-1" + b"0" * (JSON_DIGITS_LIMIT - 1) + b"]"),
    ],
)
def test_values_of_other_classes_become_json(value: Any, text: bytes) -> None:
    assert encode_json("the value", value) == EncodedJson(text)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"a": [0, 10**JSON_DIGITS_LIMIT]}, r"the value\['a'\]\[1\] is an integer of more than"),
        ([Number(math.nan)], r"the value\[0\] is nan"),
        ({"a": [1.0, math.inf]}, r"the value\['a'\]\[1\] is inf"),
        ({"a": {1: 2}}, r"the value\['a'\] has a name of type int"),
        (Plain.ONE, r"Plain, which is not JSON"),
        ((n for n in range(3)), r"is of type builtins.generator"),
        ([UserList()], r"the value\[0\] is of type collections.UserList"),
        ([Broken()], r"the value\[0\] cannot be read: OSError: x"),
        (Endless(), r"the value(\['x'\])+.* is nested deeper than 100 levels"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(value: Any, complaint: str) -> None:
    with pytest.raises(InvalidJobError, match=complaint):
        encode_json("the value", value)


def test_a_value_that_holds_itself_is_refused() -> None:
    circle: list[Any] = []
    circle += [circle, circle]
    ring: dict[str, Any] = {}
    ring["x"] = [ring]
    for value in (circle, ring):
        with pytest.raises(InvalidJobError, match="is nested deeper"):
            encode_json("the value", value)


def test_a_part_that_occurs_very_often_is_refused_before_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_values, "JSON_LIMIT_BYTES", 100_000)
    doubled: list[Any] = []
    for _ in range(60):
        doubled = [doubled, doubled]
    text = "x" * 50_000
    for value in (doubled, [text] * 3, {"a": text, "b": [text, text]}, ["\x00" * 20_000]):
        with pytest.raises(InvalidJobError, match="bytes of JSON"):
            encode_json("the value", value)
    assert len(encode_json("the value", [text, text[:49_000]]).text) < 100_000


@pytest.mark.parametrize("as_object", [False, True])
def test_the_deepest_value_is_accepted_and_the_next_is_not(*, as_object: bool) -> None:
    deepest = nested(JSON_DEPTH_LIMIT, as_object=as_object)
    assert encode_json("the value", deepest).decode() == deepest
    for depth in (JSON_DEPTH_LIMIT + 1, 985, 5000):
        with pytest.raises(InvalidJobError, match=f"deeper than {JSON_DEPTH_LIMIT} levels"):
            plain_json("the value", nested(depth, as_object=as_object))


@given(st.binary() | st.text().map(str.encode) | any_json.map(lambda v: json.dumps(v).encode()))
def test_reading_gives_a_value_or_value_error(data: bytes) -> None:
    try:
        value = decode_json(data)
    except ValueError:
        return
    assert plain_json("the value", value) is value


@pytest.mark.parametrize(
    "data",
    [
        b"NaN", b"[-Infinity]", b"1e999", b'{"x": -1e400}', b"\xff", b"", b"{", b"9" * 5000,
        "{}".encode("utf-16"), b"[" * 200 + b"]" * 200, b"[" * 10**6, b'{"x":' * 10**5,
    ],
)  # fmt: skip
def test_what_is_not_json_or_past_a_limit_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- each has its own message
        decode_json(data)


def test_many_shallow_lists_are_not_deep() -> None:
    value = [[n] for n in range(10_000)]
    assert decode_json(json.dumps(value).encode()) == value
