"""Limits: which values are valid, which jobs they are for, and how many attempts may start."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.jobs import InvalidJobError, Limit, UnreadableJobError
from zoolet.jobs.records.limits import key_name

NOW_US = 1_800_000_000_000_000


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": "a/b"}, "is not the name of a limit"),
        ({"name": "x" * 101}, "is not the name of a limit"),
        ({"concurrent": None}, "either concurrent or per_second"),
        ({"per_second": 1.0}, "either concurrent or per_second"),
        ({"concurrent": -1}, "concurrent is -1"),
        ({"concurrent": True}, "concurrent is True"),
        ({"concurrent": None, "per_second": 0}, "per_second is 0"),
        ({"concurrent": None, "per_second": float("nan")}, "per_second is nan"),
        ({"concurrent": None, "per_second": "1"}, "per_second is '1'"),
        ({"burst": 1}, "it needs per_second"),
        ({"concurrent": None, "per_second": 1, "burst": 0}, "burst is 0"),
        ({"key": "k", "per_key": True}, "either key or per_key"),
        ({"task": ""}, "task is ''"),
        ({"dataset": 3}, "dataset is 3"),
    ],
)
def test_an_invalid_limit_is_refused(changes: dict[str, Any], complaint: str) -> None:
    values: dict[str, Any] = {"name": "l", "concurrent": 1} | changes
    with pytest.raises(InvalidJobError, match=complaint):
        Limit(**values)


@pytest.mark.parametrize(
    "limit",
    [
        Limit("l", concurrent=3, task="m:f", per_key=True),
        Limit("l", per_second=0.5, burst=2, dataset="d", key="k"),
    ],
)
def test_a_limit_is_decoded_as_it_was_encoded(limit: Limit) -> None:
    assert Limit.decode("l", limit.encode()) == limit


def test_other_values_are_no_limit() -> None:
    assert Limit.decode("l", b"") is None
    for data in (b"{", b"[]", b'{"concurrent": -1}', b'{"concurrent": 1, "per_key": 3}'):
        with pytest.raises(UnreadableJobError, match="the limit l is invalid"):
            Limit.decode("l", data)
    assert Limit.decode("l", b'{"concurrent": 1, "later": 2}') == Limit("l", concurrent=1)


def test_the_text_says_what_is_limited() -> None:
    assert Limit("l", concurrent=3).text == "3 at a time, for the queue"
    assert Limit("l", concurrent=0, task="m:f").text == "paused, for task m:f"
    assert Limit("l", per_second=8, task="m:f", per_key=True).text == (
        "8 starts per second (up to 2 at once), for task m:f, each key"
    )


@given(st.none() | st.text(min_size=1, max_size=20), st.none() | st.text(min_size=1, max_size=20))
def test_two_keys_have_two_names(first: str | None, second: str | None) -> None:
    try:
        names = {key_name(first), key_name(second)}
    except InvalidJobError:
        return  # half of a surrogate pair
    assert len(names) == len({first, second})
    assert not any("/" in name for name in names)


@given(
    st.floats(0.01, 1000),
    st.none() | st.integers(1, 50),
    st.lists(st.integers(0, 5_000_000), max_size=60),
)
def test_starts_follow_the_rate(rate: float, burst: int | None, pauses_us: list[int]) -> None:
    limit = Limit("l", per_second=rate, burst=burst)
    next_us, now_us, starts = 0, NOW_US, []
    for pause_us in pauses_us:
        now_us += pause_us
        allowed = limit.starts_allowed(next_us, now_us)
        assert 0 <= allowed <= limit.starts_at_once
        assert (limit.allowed_in_us(next_us, now_us) == 0) is (allowed > 0)
        if not allowed:
            later_us = now_us + limit.allowed_in_us(next_us, now_us)
            assert limit.starts_allowed(next_us, later_us) == 1
        for _ in range(allowed):
            next_us = limit.after_start(next_us, now_us)
            starts.append(now_us)
        assert limit.starts_allowed(next_us, now_us) == 0
    for number, at in enumerate(starts):
        count = sum(one < at + 10_000_000 for one in starts[number:])
        assert count <= 10_000_000 / limit.interval_us + limit.starts_at_once


def test_a_time_that_is_too_late_is_corrected() -> None:
    limit = Limit("l", per_second=1, burst=3)
    assert limit.allowed_in_us(NOW_US * 2, NOW_US) == 1_000_000
    assert limit.starts_in_s(NOW_US * 2, NOW_US) == 1.0
