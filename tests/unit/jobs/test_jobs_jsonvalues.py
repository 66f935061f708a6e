"""JSON of the job system: what is accepted can be encoded; other text is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.jsonvalues import JSON_DEPTH_LIMIT, check_json, decode_json

anything = st.recursive(
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
def test_what_is_accepted_is_read_again(value: Any) -> None:
    try:
        check_json("the value", value)
    except InvalidJobError:
        return
    assert decode_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("as_object", [False, True])
def test_the_deepest_value_is_accepted_and_the_next_is_not(as_object: bool) -> None:
    deepest = nested(JSON_DEPTH_LIMIT, as_object=as_object)
    check_json("the value", deepest)
    assert decode_json(json.dumps(deepest).encode()) == deepest
    for depth in (JSON_DEPTH_LIMIT + 1, 985, 5000):
        with pytest.raises(InvalidJobError, match=f"deeper than {JSON_DEPTH_LIMIT} levels"):
            check_json("the value", nested(depth, as_object=as_object))


@given(st.binary() | st.text().map(str.encode) | anything.map(lambda v: json.dumps(v).encode()))
def test_reading_gives_a_value_or_value_error(data: bytes) -> None:
    try:
        value = decode_json(data)
    except ValueError:
        return
    check_json("the value", value)


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
