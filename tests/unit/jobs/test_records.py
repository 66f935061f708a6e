"""Jobs as values: what they may hold, and what becomes of them."""

import json
import math
from typing import Any

import pytest

from zoolet.jobs.errors import InvalidJobError, TaskError
from zoolet.jobs.records import MAX_JOB_BYTES, Job, JobRequest, JobState


def new_job(**values: Any) -> Job:
    request = JobRequest(**{"task": "m:f", "dataset": "d", "groupid": "g", **values})
    return request.new_job("submission", now_ms=1)


def test_a_job_is_a_json_object_with_the_names_that_were_asked_for() -> None:
    value = json.loads(new_job().to_bytes())
    assert (value["dataset"], value["groupid"]) == ("d", "g")
    assert (value["state"], value["worker"]) == ("PENDING", None)


def test_a_job_survives_its_znode() -> None:
    job = new_job(parameters={"a": [1, None, "ü"]}).owned_by("w").failed("why", now_ms=2)
    assert Job.from_bytes("", job.to_bytes()) == job


def test_the_same_work_has_the_same_key() -> None:
    request = JobRequest(task="m:f", dataset="d", groupid="g", parameters={"a": 1, "b": 2})
    same = JobRequest(task="m:f", dataset="d", groupid="g", parameters={"b": 2, "a": 1}, priority=3)
    other = JobRequest(task="m:f", dataset="d", groupid="g", parameters={"a": 1})
    assert request.key == same.key != other.key


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"parameters": {"x": object()}}, "only JSON values"),
        ({"parameters": {"x": math.nan}}, "only JSON values"),
        ({"parameters": {"x": "y" * MAX_JOB_BYTES}}, "at most"),
        ({"priority": 1000}, "0 to 999"),
        ({"max_attempts": 0}, "at least 1"),
        ({"task": ""}, "names its task"),
        ({"dataset": ""}, "at least one character"),
    ],
)
def test_what_cannot_be_a_job_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidJobError, match=reason):
        new_job(**values)


def test_a_job_fails_for_good_after_its_attempts() -> None:
    job = new_job(max_attempts=2).owned_by("w1").failed("first", now_ms=5)
    assert (job.state, job.worker, job.attempts) == (JobState.PENDING, None, 1)
    job = job.owned_by("w2").failed("second", now_ms=6)
    assert (job.state, job.attempts, job.finished_ms) == (JobState.FAILED, 2, 6)
    assert [(attempt.worker, attempt.error) for attempt in job.errors] == [
        ("w1", "first"),
        ("w2", "second"),
    ]


def test_giving_back_is_no_attempt() -> None:
    job = new_job().owned_by("w").in_state(JobState.RUNNING).given_back()
    assert (job.state, job.worker, job.attempts) == (JobState.PENDING, None, 0)


@pytest.mark.parametrize("result", [object(), math.inf, {1, 2}, "x" * MAX_JOB_BYTES])
def test_what_is_no_result_is_refused(result: object) -> None:
    with pytest.raises(TaskError, match="result"):
        new_job().owned_by("w").succeeded(result, cached=False, now_ms=1)
