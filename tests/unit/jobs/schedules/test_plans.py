"""The steps of a schedule: missed due times, unfinished runs, and a random run against a model."""

import random
from collections import Counter
from typing import Any

import pytest

from zoolet.jobs import JobRequest
from zoolet.jobs.records.schedules import (
    QUEUED_MOST,
    Missed,
    Overlap,
    RunReason,
    Schedule,
    ScheduleRun,
)
from zoolet.jobs.schedules.plans import Step, plan

T = 10_000
"""The interval of the schedules, in ms."""
JOB = "entry-000-_:00000000-0000000001"


def schedule(**changes: Any) -> Schedule:
    return Schedule("s", JobRequest("m:f"), every_ms=T, **{"grace_ms": T} | changes)


def step_at(now: Schedule, at_ms: int, *, is_running: bool = False, most: int = 50) -> Step:
    found = plan(now, at_ms, most, is_running=is_running)
    assert found is not None
    return found


def due(step: Step) -> list[tuple[int, RunReason]]:
    return [(one.due_ms, one.reason) for one in step.due]


def test_nothing_happens_before_the_due_time_or_while_paused() -> None:
    assert plan(schedule(), T - 1, 50, is_running=False) is None
    assert plan(schedule(paused=True), 10 * T, 50, is_running=False) is None
    step = step_at(schedule(), T)
    assert due(step) == [(T, RunReason.DUE)]
    assert step.after.last_due_ms == T
    assert plan(step.after, 2 * T - 1, 50, is_running=False) is None


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        (Missed.SKIP, []),
        (Missed.ONCE, [(97 * T, RunReason.MISSED)]),
        (Missed.ALL, [(n * T, RunReason.MISSED) for n in (95, 96, 97)]),
    ],
)
def test_missed_due_times(missed: Missed, expected: list[tuple[int, RunReason]]) -> None:
    at_ms = 99 * T + 5  # the due time 98 T was missed: it was longer ago than the grace time
    step = step_at(schedule(missed=missed, missed_most=3), at_ms)
    last = [(99 * T, RunReason.DUE)]
    expected = [(due_ms + T, reason) for due_ms, reason in expected]
    assert due(step) == expected + last
    assert step.after.last_due_ms == 99 * T


def test_missed_due_times_are_over_although_they_get_no_jobs() -> None:
    at_ms = 99 * T + 5
    step = step_at(schedule(grace_ms=0), at_ms)
    assert due(step) == []
    assert step.after.last_due_ms == 99 * T
    assert plan(step.after, at_ms, 50, is_running=False) is None


def test_many_due_times_take_several_steps() -> None:
    now = schedule(missed=Missed.ALL, missed_most=100, grace_ms=0)
    found: list[int] = []
    while (step := plan(now, 60 * T + 1, 25, is_running=False)) is not None:
        assert len(step.due) <= 25
        found += [one.due_ms for one in step.due]
        now = step.after
    assert found == [n * T for n in range(1, 61)]


def test_an_unfinished_run_skips_the_due_time() -> None:
    now = schedule(overlap=Overlap.SKIP, grace_ms=10 * T)
    step = step_at(now, 3 * T, is_running=True)
    assert due(step) == []
    assert step.after.skipped == 3
    assert step.after.runs == (ScheduleRun(3 * T, None, RunReason.SKIPPED),)
    step = step_at(step.after, 5 * T)
    assert due(step) == [(5 * T, RunReason.DUE)]
    assert step.after.skipped == 4


def test_due_times_wait_for_the_end_of_the_last_run() -> None:
    now = schedule(overlap=Overlap.QUEUE, grace_ms=10 * T)
    step = step_at(now, 2 * T)
    assert due(step) == [(T, RunReason.DUE)]
    assert step.after.queued == (2 * T,)
    assert plan(step.after, 2 * T, 50, is_running=True) is None
    step = step_at(step.after, 3 * T, is_running=True)
    assert step.after.queued == (2 * T, 3 * T)
    step = step_at(step.after, 3 * T)
    assert due(step) == [(2 * T, RunReason.QUEUED)]
    assert step.after.queued == (3 * T,)


def test_the_number_of_waiting_due_times_is_limited() -> None:
    now = schedule(
        overlap=Overlap.QUEUE,
        grace_ms=10 * T,
        queued=tuple(range(QUEUED_MOST)),
        last_due_ms=QUEUED_MOST * T,
    )
    step = step_at(now, (QUEUED_MOST + 2) * T, is_running=True)
    assert step.after.queued == now.queued
    assert step.after.skipped == 2


@pytest.mark.parametrize("overlap", [*Overlap])
def test_random_times_give_each_due_time_one_job(overlap: Overlap) -> None:
    chance = random.Random(f"plans {overlap}")
    for _ in range(30):
        now = schedule(overlap=overlap, missed=Missed.ALL, missed_most=1000)
        jobs: Counter[int] = Counter()
        at_ms, is_running = 0, False
        for _ in range(40):
            at_ms += chance.randrange(5 * T)
            is_running = is_running and chance.random() < 0.5
            while (step := plan(now, at_ms, 3, is_running=is_running)) is not None:
                jobs.update(one.due_ms for one in step.due)
                is_running = is_running or bool(step.due and overlap is not Overlap.START)
                now = step.after.with_runs(*(ScheduleRun(d, JOB, r) for d, r in step.due))
        expected = list(range(T, at_ms + 1, T))
        assert set(jobs.values()) <= {1}
        if overlap is Overlap.START:
            assert sorted(jobs) == expected
        elif overlap is Overlap.QUEUE:
            assert sorted([*jobs, *now.queued]) == expected
            assert sorted(jobs) == expected[: len(jobs)]
        else:
            assert len(jobs) + now.skipped == len(expected)
