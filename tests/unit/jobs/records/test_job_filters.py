"""Filters select jobs by state, task, batch, error and time; the record of a retry is checked."""

import random
from typing import Any

import pytest

from tests.fuzz.queue_values import any_bytes, changed
from zoolet.jobs import InvalidJobError, Job, JobFilter, JobRequest, JobState
from zoolet.jobs.records.job_filters import RetryRecord


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


def test_random_records_of_retries_are_read_or_ignored() -> None:
    chance = random.Random(3)
    good = RetryRecord(17)
    assert RetryRecord.decode(good.encode(JobFilter(task="m:f"))) == good
    for _ in range(300):
        data = any_bytes(chance) if chance.random() < 0.3 else changed(chance, {"began_ms": 17})
        found = RetryRecord.decode(data)
        assert found is None or found.began_ms >= 0
