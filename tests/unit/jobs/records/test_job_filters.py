"""Filters select jobs by state, task, dataset, batch, error and time."""

from typing import Any

import pytest

from zoolet.jobs import InvalidJobError, Job, JobFilter, JobRequest, JobState


def ended(at_ms: int = 100, error: str = "ValueError: no", **changes: Any) -> Job:
    draft = Job.draft(JobRequest("m:f", "d", "g", **changes), "s", 1, batch="b")
    return draft.ended_by(at_ms, error)


@pytest.mark.parametrize(
    ("values", "is_selected"),
    [
        ({}, True),
        ({"state": JobState.FAILED}, True),
        ({"state": JobState.PENDING}, False),
        ({"task": "m:f"}, True),
        ({"task": "m:g"}, False),
        ({"dataset": "d"}, True),
        ({"dataset": "e"}, False),
        ({"batch": "b"}, True),
        ({"batch": "c"}, False),
        ({"error": "ValueError"}, True),
        ({"error": "valueerror"}, False),
        ({"since_ms": 100}, True),
        ({"since_ms": 101}, False),
        ({"until_ms": 101}, True),
        ({"until_ms": 100}, False),
    ],
)
def test_a_filter_selects_jobs(values: dict[str, Any], is_selected: bool) -> None:
    assert JobFilter(**values).selects(ended()) == is_selected


def test_a_time_selects_only_jobs_that_have_ended() -> None:
    waiting = Job.draft(JobRequest("m:f"), "s", 1)
    assert JobFilter().selects(waiting)
    assert not JobFilter(until_ms=10**12).selects(waiting)


def test_a_filter_has_an_id() -> None:
    assert JobFilter(task="a").id == JobFilter(task="a").id
    assert JobFilter(task="a").id != JobFilter(dataset="a").id


def test_the_id_of_a_filter_without_a_dataset_stays_for_retries_in_progress() -> None:
    assert JobFilter(task="a").id == "9a4ed20d76670a815225f4ec058a502e"


@pytest.mark.parametrize("values", [{"task": 1}, {"error": "\ud800"}, {"since_ms": -1}])
def test_an_invalid_filter_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidJobError):
        JobFilter(**values)


def test_a_filter_without_a_dataset_has_the_id_of_older_versions() -> None:
    # A retry that an older version has begun is continued.
    assert JobFilter(state=JobState.FAILED).id == "2df46315f93244f48263c50fa3a252e6"
    assert JobFilter(dataset="d").id != JobFilter().id


def test_a_filter_has_a_text() -> None:
    assert str(JobFilter()) == "all"
    assert str(JobFilter(task="m:f", error="no")) == "task m:f, error no"


@pytest.mark.parametrize(
    "value", [None, [], {"other": 1}, {"state": "GONE"}, {"task": 3}, {"since_ms": True}]
)
def test_only_the_json_of_a_filter_is_read(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- each value has its own message
        JobFilter.from_json(value)
