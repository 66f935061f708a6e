"""Each invariant of the soak test holds for a history without faults, and can fail."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.soak.history import History, Standing, WorkerLife
from tests.soak.idleness import Interval, Observed, idle_executors, union, without
from tests.soak.invariants import (
    Facts,
    all_checks,
    all_ended,
    attempts_started,
    committed_once,
    ended_as_planned,
    one_place,
)
from tests.soak.plan import BatchPlan, FaultStream, JobPlan, JobStream
from tests.soak.processes import EXECUTORS, Window, Windows
from tests.soak.runs import Run
from tests.soak.starvation import Lateness

NAME = "entry-000-soak:1-0000000001"
WORKER = "host-77-abc"


def standing(at_ms: int, place: str, **changes: Any) -> Standing:
    state = {"owned": "STAGING", "done": "SUCCESSFUL"}.get(place, "PENDING")
    found = Standing(at_ms, at_ms, (place,), job_id=1, state=state)
    if place == "owned":
        found = replace(found, worker=WORKER)
    if place == "done":
        found = replace(found, attempts=1, run="r1")
    return replace(found, **changes)


def facts(*standings: Standing, kind: str = "return", runs: int = 1, logged: int = 1) -> Facts:
    plan = BatchPlan("b", [JobPlan(1, kind, {})])
    return Facts(
        History({NAME: list(standings)}, logged={"b": [NAME] * logged}),
        {
            1: [
                Run(1, f"r{n}", "w0-1", 200 + n, 300 + n, has_returned=True)
                for n in range(1, runs + 1)
            ]
        },
        {"b": plan},
        {"b": Counter({NAME: 1})},
    )


UNOWNED, OWNED, DONE = standing(1, "unowned"), standing(100, "owned"), standing(400, "done")
RETURNED = standing(500, "unowned", attempts=1, errors=("worker x was lost",))


def test_a_history_without_faults_passes() -> None:
    assert [found for _, found in all_checks(facts(UNOWNED, OWNED, DONE))] == [[]] * 5


@pytest.mark.parametrize(
    "standings",
    [
        (UNOWNED, replace(OWNED, places=("unowned", "owned")), DONE),
        (UNOWNED, replace(OWNED, places=()), DONE),
        (UNOWNED, DONE),
        (UNOWNED, DONE, standing(500, "owned")),
        (OWNED, DONE),
    ],
)
def test_a_job_in_another_than_one_place_is_found(standings: tuple[Standing, ...]) -> None:
    expected = standings == (UNOWNED, DONE)  # an expired job moves so
    assert (one_place(facts(*standings)) == []) is expected


def test_a_job_that_did_not_end_is_found() -> None:
    assert all_ended(facts(UNOWNED, OWNED))
    assert all_ended(replace(facts(UNOWNED, OWNED, DONE), history=History()))


@pytest.mark.parametrize(
    "found",
    [
        facts(UNOWNED, OWNED, DONE, logged=2),
        facts(UNOWNED, OWNED, DONE, logged=0),
        facts(UNOWNED, OWNED, DONE, runs=0),
        facts(UNOWNED, OWNED, replace(DONE, run="other")),
        facts(UNOWNED, OWNED, DONE, replace(DONE, at_ms=500)),
        facts(UNOWNED, OWNED, DONE, RETURNED, replace(OWNED, at_ms=600), DONE, logged=2),
        replace(facts(UNOWNED, OWNED, DONE), results={"b": Counter({NAME: 2})}),
        replace(facts(UNOWNED, OWNED, DONE), results={"b": Counter()}),
    ],
)
def test_a_result_that_is_not_committed_once_is_found(found: Facts) -> None:
    assert committed_once(found)


def test_attempts_that_never_started_are_found() -> None:
    """One may come from a lost reply to the record of the start; two may not."""
    lost = replace(facts(UNOWNED, OWNED, RETURNED), runs={})
    assert attempts_started(lost) == []
    other = [replace(found, job_id=2) for found in (UNOWNED, OWNED, RETURNED)]
    jobs = lost.history.jobs | {NAME.replace("1", "2"): other}
    assert len(attempts_started(replace(lost, history=History(jobs)))) == 2


RUNNING = replace(OWNED, at_ms=110, state="RUNNING")
LOST = replace(RETURNED, at_ms=2500)


@pytest.mark.parametrize(
    ("standings", "killed_ms", "late", "is_found"),
    [
        ((UNOWNED, OWNED, RUNNING, LOST), 300, [], False),
        ((UNOWNED, OWNED, RUNNING, replace(RUNNING, at_ms=250), LOST), 300, [], False),
        ((UNOWNED, OWNED, RUNNING, LOST), 500, [], True),
        ((UNOWNED, OWNED, RUNNING, replace(RUNNING, at_ms=450), LOST), 500, [], True),
        ((UNOWNED, OWNED, RUNNING, LOST), 500, [(300, 100)], False),
        ((UNOWNED, OWNED, RUNNING, LOST), 500, [(9000, 100)], True),
        ((UNOWNED, OWNED, LOST), 300, [(300, 100)], True),
        ((UNOWNED, OWNED, RUNNING, LOST), None, [(300, 100)], True),
        ((UNOWNED, OWNED, RUNNING, replace(LOST, at_ms=300)), None, [], False),
    ],
)
@pytest.mark.parametrize("count", [EXECUTORS, EXECUTORS + 1])
def test_tasks_that_were_about_to_start_may_be_charged(
    standings: tuple[Standing, ...],
    killed_ms: int | None,
    late: list[tuple[int, int]],
    is_found: bool,
    count: int,
) -> None:
    """A kill just after the record of the start comes before the task writes its line.

    No more tasks are about to start than the worker has executors.
    """
    jobs = {f"{NAME}{n}": [replace(one, job_id=n) for one in standings] for n in range(count)}
    ends = {} if killed_ms is None else {WORKER: killed_ms}
    lost = replace(facts(), history=History(jobs), runs={}, ended_ms=ends)
    found = attempts_started(replace(lost, lateness=Lateness(late)))
    assert len(found) == (count if is_found or count > EXECUTORS else 0)


def test_a_start_that_was_not_written_does_not_hide_the_next_one() -> None:
    second = (replace(OWNED, at_ms=600, attempts=1), replace(RETURNED, at_ms=700, attempts=2))
    jobs = {
        f"{NAME}{n}": [
            replace(one, job_id=n)
            for one in (UNOWNED, OWNED, RUNNING, replace(RETURNED, at_ms=200), *second)
        ]
        for n in range(2)
    }
    lost = replace(facts(), history=History(jobs), runs={}, ended_ms={WORKER: 1000})
    assert len(attempts_started(lost)) == 2
    runs = {n: [Run(n, "r", "w0-1", 650)] for n in range(2)}
    assert attempts_started(replace(lost, runs=runs)) == []


@pytest.mark.parametrize(
    "standings",
    [
        (UNOWNED, OWNED, replace(RETURNED, attempts=2)),
        (UNOWNED, replace(UNOWNED, attempts=1), DONE),
        (UNOWNED, replace(OWNED, attempts=1), replace(RETURNED, attempts=0)),
        (UNOWNED, OWNED, DONE, RETURNED),
    ],
)
def test_attempts_that_are_not_counted_one_by_one_are_found(standings: tuple[Standing]) -> None:
    assert attempts_started(facts(*standings, runs=3))


@pytest.mark.parametrize(
    ("kind", "last", "is_right"),
    [
        ("raise", DONE, False),
        ("return", replace(DONE, state="FAILED", errors=("its process died: SIGTERM",)), False),
        ("return", replace(DONE, state="FAILED", errors=("worker x was lost",)), True),
        ("segfault", replace(DONE, state="FAILED", errors=("its process died: SIGSEGV",)), True),
        ("segfault", replace(DONE, state="FAILED", errors=("its process died: SIGINT",)), False),
    ],
)
def test_a_job_that_ends_as_it_should_not_is_found(
    kind: str, last: Standing, is_right: bool
) -> None:
    assert (ended_as_planned(facts(UNOWNED, OWNED, last, kind=kind)) == []) is is_right


# --- Idle executors


class StubWorker:
    """What the check needs of a worker process."""

    def __init__(self) -> None:
        self.tag = "w0-1"
        self.pid = 77
        self.ended_ms: int | None = None
        self.stop_asked_ms: int | None = None
        self.frozen = Windows()


def observed(**changes: Any) -> Observed:
    history = History({NAME: [UNOWNED]}, {WORKER: WorkerLife(1, 77)})
    found: dict[str, Any] = {
        "history": history,
        "runs": {},
        "workers": [StubWorker()],
        "away": [],
        "last_seen_ms": {2: 9000, 3: 9000},
        "lateness": Lateness([]),
        "until_ms": 7000,
    }
    return Observed(**(found | changes))


def runs_until(*ends_ms: int | None) -> dict[int, list[Run]]:
    """Return one run for each, in a process of its own that lives on."""
    return {n + 2: [Run(n + 2, "r", "w0-1", 1, end, pid=n + 2)] for n, end in enumerate(ends_ms)}


def stub(**changes: Any) -> StubWorker:
    found = StubWorker()
    for name, value in changes.items():
        setattr(found, name, value)
    return found


LATER = History({NAME: [replace(UNOWNED, not_before_ms=3000)]}, {WORKER: WorkerLife(1, 77)})
HELD = History({NAME: [replace(UNOWNED, held_by="b")]}, {WORKER: WorkerLife(1, 77)}, {"b": [1]})
OWNED_ONLY = History({NAME: [UNOWNED, OWNED]}, {WORKER: WorkerLife(1, 77)})
GIVEN_BACK = History(
    {NAME: [UNOWNED, OWNED, replace(UNOWNED, at_ms=6500)]}, {WORKER: WorkerLife(1, 77)}
)


@pytest.mark.parametrize(
    ("found", "is_idle"),
    [
        (observed(), True),
        (observed(until_ms=4000), False),
        (observed(history=LATER), False),
        (observed(history=LATER, until_ms=9000), True),
        (observed(history=HELD), False),
        (observed(history=replace(HELD, chains={"b": [1, 2]})), True),
        (observed(history=OWNED_ONLY), True),
        (observed(runs=runs_until(7000, 1000)), True),
        (observed(runs=runs_until(7000, 3000)), False),
        (observed(runs=runs_until(7000, 1000), last_seen_ms={2: 9000, 3: 1000}), True),
        (observed(history=GIVEN_BACK, workers=[stub(stop_asked_ms=6400)]), True),
        (observed(runs=runs_until(None, None)), False),
        (observed(runs=runs_until(None)), True),
        (observed(runs=runs_until(None, None), last_seen_ms={}), False),
        (observed(runs=runs_until(None, None), last_seen_ms={}, until_ms=9000), True),
        (observed(runs=runs_until(None, 4000)), False),
        (observed(away=[Interval(3000, 3100)]), False),
        (observed(lateness=Lateness([(3000, 1500)])), False),
        (observed(workers=[stub(ended_ms=3000)]), False),
        (observed(workers=[stub(stop_asked_ms=3000)]), False),
        (observed(workers=[stub(frozen=Windows([Window(1000, 2000)]))]), False),
    ],
)
def test_an_idle_executor_is_found(found: Observed, is_idle: bool) -> None:
    assert bool(idle_executors(found)) is is_idle


def test_intervals() -> None:
    some = union([Interval(5, 7), Interval(1, 3), Interval(2, 4), Interval(9, 9)])
    assert some == [(1, 4), (5, 7)]
    assert without(some, [Interval(2, 3), Interval(6, 9)]) == [(1, 2), (3, 4), (5, 6)]


def test_lateness_counts_what_overlaps() -> None:
    late = Lateness([(1000, 100), (5000, 2000)])
    assert late.between(900, 1000) == 100
    assert late.between(3500, 4000) == 2000
    assert late.between(7100, 8000) == 0
    assert late.between(8000, 900) == 0


# --- The plan


def test_a_seed_decides_all_choices() -> None:
    def first(seed: int) -> tuple[list[BatchPlan], list[object]]:
        faults = FaultStream(seed, {"a": 1, "b": 2})
        jobs = JobStream(seed)
        return [next(jobs) for _ in range(50)], [next(faults) for _ in range(50)]

    assert first(1) == first(1)
    assert first(1) != first(2)
