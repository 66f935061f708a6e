"""The value of a schedule: read as it was written, and refused if it is invalid."""

import json
import random
from typing import Any

import pytest

from tests.fuzz.queue_values import SCHEDULE, any_bytes, changed
from zoolet.jobs import JobRequest
from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.records.schedules import (
    RUNS_KEPT,
    Missed,
    Overlap,
    RunReason,
    Schedule,
    ScheduleRun,
)

REQUEST = JobRequest(
    "m:f", "d", 7, {"x": [1]}, priority=5, backoff_ms=10, tags=("gpu",), limit_key="ada"
)
JOB = "entry-005-d:7-0000000001"


def test_a_schedule_is_read_as_it_was_written() -> None:
    schedule = Schedule(
        "nightly",
        REQUEST,
        cron="30 2 * * *",
        timezone="Europe/Berlin",
        start_ms=1,
        missed=Missed.ALL,
        missed_most=7,
        grace_ms=5,
        overlap=Overlap.QUEUE,
        due_parameter="due_ms",
        paused=True,
        last_due_ms=9,
        queued=(1, 2),
        skipped=3,
    ).with_runs(ScheduleRun(3, JOB, RunReason.DUE), ScheduleRun(4, None, RunReason.SKIPPED))
    read = Schedule.decode("nightly", schedule.encode())
    assert read == schedule
    assert read.last_job == JOB
    assert read.draft(5, "s", 6).parameters == {"x": [1], "due_ms": 5}


def test_defaults_are_not_stored_and_unknown_fields_are_ignored() -> None:
    schedule = Schedule("s", JobRequest("m:f"), every_ms=1000)
    value = json.loads(schedule.encode())
    assert value["request"] == {"task": "m:f"}
    value |= {"of a later version": 1}
    value["request"]["of a later version"] = 1
    assert Schedule.decode("s", json.dumps(value).encode()) == schedule


def test_only_the_last_runs_are_kept() -> None:
    schedule = Schedule("s", JobRequest("m:f"), every_ms=1000)
    runs = [ScheduleRun(number, JOB, RunReason.DUE) for number in range(2 * RUNS_KEPT)]
    assert schedule.with_runs(*runs).runs == tuple(runs[-RUNS_KEPT:])


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a/b"},
        {"name": ""},
        {"cron": None, "every_ms": None},
        {"every_ms": 1000},
        {"cron": None, "every_ms": 999},
        {"cron": "x" * 201},
        {"cron": ""},
        {"grace_ms": -1},
        {"missed_most": 0},
        {"due_parameter": ""},
        {"request": JobRequest("m:f", not_before_ms=1)},
        {"request": JobRequest("m:f", idempotency_key="k")},
        {"request": JobRequest("m:f", max_attempts=0)},
        {"request": JobRequest("m:f", parameters={"x": "x" * 70_000})},
    ],
)
def test_an_invalid_schedule_is_refused(changes: dict[str, Any]) -> None:
    values: dict[str, Any] = {"name": "s", "request": REQUEST, "cron": "* * * * *"}
    with pytest.raises(InvalidJobError):
        Schedule(**values | changes)


def test_random_values_are_read_or_refused_with_one_error() -> None:
    chance = random.Random(23)
    read = 0
    for _ in range(2000):
        data = any_bytes(chance) if chance.random() < 0.1 else changed(chance, SCHEDULE)
        try:
            schedule = Schedule.decode("s", data)
        except UnreadableJobError:
            continue
        read += 1
        assert Schedule.decode("s", schedule.encode()) == schedule
    assert read > 20
