"""The texts of small objects are those of Python's encoder; other values are left to it."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.small_values import small_object_text

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
NAMES = st.text() | st.integers() | st.none() | st.booleans()


@given(st.dictionaries(st.text(), SCALARS | VALUES, max_size=10))
def test_a_text_is_that_of_the_encoder(value: dict[str, Any]) -> None:
    text = small_object_text(value)
    assert text is None or text == json.dumps(value, separators=(",", ":"))
    key = small_object_text(value, is_key=True)
    assert key is None or key == json.dumps(value, sort_keys=True)
    assert (text is None) == (key is None)


@given(st.dictionaries(NAMES, SCALARS, max_size=3))
def test_other_names_are_left_to_the_encoder(value: dict[Any, Any]) -> None:
    are_texts = all(type(name) is str for name in value)
    assert are_texts or small_object_text(value) is None
    assert are_texts or small_object_text(value, is_key=True) is None


class Number(int):
    pass


@pytest.mark.parametrize(
    "value",
    [
        [],
        "text",
        1,
        {"a": 1.0},
        {"a": []},
        {"a": 1 << 65},
        {"a": Number(1)},
        {str(n): n for n in range(9)},
    ],
)
def test_values_that_are_not_small_objects_of_plain_values_have_no_text(value: object) -> None:
    assert small_object_text(value) is None


def test_a_small_object_has_a_text() -> None:
    assert small_object_text({}) == "{}"
    assert small_object_text({"b": True, "a": 'é"'}) == '{"b":true,"a":"\\u00e9\\""}'
    assert small_object_text({"b": 1, "a": None}, is_key=True) == '{"a": null, "b": 1}'


@given(
    dataset=st.none() | st.text(),
    parameters=st.dictionaries(st.text(), VALUES, max_size=10),
    source=st.none() | st.dictionaries(st.text(), VALUES, max_size=3),
)
def test_the_key_of_a_request_is_the_hash_of_its_parts_as_json(
    dataset: str | None, parameters: dict[str, Any], source: dict[str, Any] | None
) -> None:
    """Other versions of zoolet must find the same key for the same work."""
    request = JobRequest("m:f", dataset, "7", parameters, source=source)
    parts = ["m:f", dataset, "7", parameters, *([] if source is None else [source])]
    text = json.dumps(parts, sort_keys=True)
    assert request.key == hashlib.sha256(text.encode()).hexdigest()
