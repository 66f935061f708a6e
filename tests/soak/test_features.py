"""The invariants of the features hold for a history without faults, and each can fail."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from tests.soak.feature_users import wrong_moves
from tests.soak.features import all_features
from tests.soak.features.attempts import Attempts
from tests.soak.features.base import ROOT, Feature, Found, Stage
from tests.soak.features.concurrency import ENOUGH, AsyncTasks, BatchedTasks
from tests.soak.features.failures import FailureHooks
from tests.soak.features.graphs import Graphs
from tests.soak.features.hooks import HooksAndSpans
from tests.soak.features.limits import PER_SECOND, RATE, TWO, Limits
from tests.soak.features.queue_length import BATCH, FULL, WAITING, QueueLength
from tests.soak.features.removal import HistoryOfRemoved
from tests.soak.features.retries import RetriedSelections
from tests.soak.features.schedules import Schedules
from tests.soak.features.several_queues import OTHER, SeveralQueues
from tests.soak.features.workers import JOBS, LongRunningWorkers
from tests.soak.history import History, Standing
from zoolet.jobs import HistoryEntry, Job, JobRequest, When

NAME = "entry-000-_:1-0000000001"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    (tmp_path / "features").mkdir()
    return Stage(tmp_path, "", 1, list)


def write(stage: Stage, file: str, *lines: dict[str, Any]) -> None:
    text = "".join(json.dumps({"pid": 1, "at_ms": 1} | line) + "\n" for line in lines)
    (stage.home / "features" / file).write_text(text)


def standing(at_ms: int, place: str, **changes: Any) -> Standing:
    state = {"owned": "STAGING", "done": "SUCCESSFUL", "": ""}.get(place, "PENDING")
    values: dict[str, Any] = {"state": state, "zxid": at_ms} | changes
    return Standing(at_ms, values.pop("zxid"), (place,) if place else (), **values)


def found(jobs: dict[str, list[Standing]], root: str = ROOT) -> Found:
    return Found({root: History(jobs)})


def problems(feature: Feature, *standings: Standing) -> list[str]:
    return list(feature.problems(found({NAME: list(standings)})))


def test_no_feature_has_a_problem_with_nothing(stage: Stage) -> None:
    features = all_features(stage)
    assert len({feature.name for feature in features}) == len(features) == 15
    for feature in features:
        if not isinstance(feature, Schedules | HistoryOfRemoved):
            histories = {root: History() for root in (ROOT, *feature.roots)}
            assert list(feature.problems(Found(histories))) == []


@pytest.mark.parametrize(
    ("places", "is_right"),
    [
        (("unowned", "owned", "done", ""), True),
        (("unowned", "owned", "unowned", "owned", "done", ""), True),
        (("unowned", "owned", "done"), False),
        (("unowned", "done", "owned", "done", ""), False),
        (("unowned", "owned", ""), False),
        (("unowned", "owned", "done", "unowned", "owned", "done", ""), False),
    ],
)
def test_moves(places: tuple[str, ...], is_right: bool) -> None:
    history = History({NAME: [standing(n, place) for n, place in enumerate(places)]})
    assert (list(wrong_moves(history)) == []) is is_right


def test_a_limit_that_is_exceeded(stage: Stage) -> None:
    def jobs(count: int, key: str, apart_ms: int, lasts_ms: int) -> Found:
        values = {"limit_key": key}
        return found(
            {
                f"j{n}": [
                    standing(n * apart_ms + 1, "unowned", values=values),
                    standing(n * apart_ms + 2, "owned", values=values),
                    standing(n * apart_ms + 2 + lasts_ms, "done", values=values),
                ]
                for n in range(count)
            }
        )

    limits = Limits(stage)
    assert list(limits.problems(jobs(9, TWO, 10, 15))) == []
    assert list(limits.problems(jobs(9, TWO, 10, 25))) != []
    assert list(limits.problems(jobs(9, "k1", 10, 5))) == []
    assert list(limits.problems(jobs(9, "k1", 10, 15))) != []
    apart_ms = int(1000 / PER_SECOND)
    assert list(limits.problems(jobs(300, RATE, apart_ms, 5000))) == []
    assert list(limits.problems(jobs(300, RATE, apart_ms - 12, 5000))) != []


def test_a_due_time_without_its_job(stage: Stage) -> None:
    schedules = Schedules(stage)
    schedules._every_ms, schedules._start_ms, schedules._end_ms = {"s": 1000}, {"s": 500}, 3600

    def due(*times: int) -> list[str]:
        return list(
            schedules.problems(
                found(
                    {
                        f"j{n}": [
                            standing(
                                1,
                                "unowned",
                                values={"parameters": {"schedule": "s", "due_ms": at_ms}},
                            )
                        ]
                        for n, at_ms in enumerate(times)
                    }
                )
            )
        )

    assert due(1500, 2500, 3500, 4500) == []
    assert due(1500, 3500) == ["('s', 2500) has no job"]
    assert due(1500, 2500, 2500, 3500) == ["('s', 2500) has 2 jobs"]
    assert due(1500, 2500, 3500, 3550) == ["('s', 3550) is not a due time"]


def test_a_failure_without_its_call(stage: Stage) -> None:
    hooks = FailureHooks(stage)
    failed = standing(9, "done", state="FAILED", errors=("no",), values={"finished_ms": 8})
    assert problems(hooks, failed) != []
    write(stage, "failures", {"job": NAME, "finished_ms": 8, "queue": OTHER})
    assert problems(hooks, failed) != []
    write(stage, "failures", {"job": NAME, "finished_ms": 8, "queue": ROOT})
    assert problems(hooks, failed) == []
    assert problems(hooks, standing(9, "done")) != []
    cancelled = standing(9, "done", state="FAILED", errors=("it was cancelled",))
    write(stage, "failures")
    assert problems(hooks, cancelled) == []
    assert problems(hooks, failed, standing(10, "unowned")) == []


def test_jobs_of_another_queue_of_a_worker(stage: Stage) -> None:
    queues = SeveralQueues(stage)

    def of_other(*standings: Standing) -> list[str]:
        return list(queues.problems(found({NAME: list(standings)}, OTHER)))

    done = standing(3, "done")
    assert of_other(standing(1, "unowned"), standing(2, "owned"), done) == []
    assert of_other(standing(1, "unowned"), standing(2, "owned")) != []
    assert of_other(done, standing(4, "unowned"), done) != []
    failed = standing(9, "done", state="FAILED", errors=("no",), values={"finished_ms": 8})
    assert of_other(failed) != []
    write(stage, "failures", {"job": NAME, "finished_ms": 8, "queue": ROOT})
    assert of_other(failed) != []
    write(stage, "failures", {"job": NAME, "finished_ms": 8, "queue": OTHER})
    assert of_other(failed) == []


def test_a_removed_job_that_is_not_in_the_history(stage: Stage) -> None:
    removal = HistoryOfRemoved(stage)
    job = Job.draft(JobRequest("m:f"), "s-0", 1).ended_by(8, "no")
    entry = HistoryEntry(
        NAME, "s-0", "m:f", None, None, "FAILED", None, 0, 0, 3, None, 1, None, 8, "no",
        json.dumps({"parameters": {}, "errors": [one._asdict() for one in job.errors]}),
    )  # fmt: skip
    ended = standing(8, "done", state="FAILED", errors=("no",), values={"finished_ms": 8})
    removal._entries = {}
    assert problems(removal, ended) == []
    assert problems(removal, ended, standing(9, "")) != []
    removal._entries = {NAME: entry}
    assert problems(removal, ended, standing(9, "")) == []
    removal._entries = {NAME: entry._replace(attempts=2)}
    assert problems(removal, ended, standing(9, "")) != []
    removal._entries = {NAME: entry, "other": entry}
    assert problems(removal, ended, standing(9, "")) != []


def test_too_many_waiting_jobs(stage: Stage) -> None:
    length = QueueLength(stage)

    def waiting(count: int) -> list[str]:
        jobs = {f"j{n}": [standing(n, "unowned")] for n in range(count)}
        return list(length.problems(found(jobs, FULL)))

    assert waiting(WAITING + BATCH) == []
    assert len(waiting(WAITING + BATCH + 1)) == 1


def test_a_job_that_was_retried_twice(stage: Stage) -> None:
    retries = RetriedSelections(stage)
    values = {"task": "feature_tasks:repaired"}
    once = [standing(n, place, values=values) for n, place in enumerate(("unowned", "done"))]
    again = [*once, *once]
    assert problems(retries, *again) == []
    assert problems(retries, *again, *once) != []


def test_a_process_that_ran_too_many_jobs(stage: Stage) -> None:
    workers = LongRunningWorkers(stage)
    write(stage, "tasks", *([{}] * JOBS))
    assert problems(workers) == []
    write(stage, "tasks", *([{}] * (JOBS + 1)))
    assert problems(workers) != []


def test_wrong_calls_of_hooks(stage: Stage) -> None:
    hooks = HooksAndSpans(stage)
    call = {"what": "ended", "job": NAME, "number": 1, "state": "SUCCESSFUL", "ended_ms": 5}
    write(stage, "spans", {"job": NAME})
    for calls, is_right in (
        ([call], True),
        ([call, call], False),
        ([call | {"state": "FAILED"}], False),
        ([call | {"job": "other"}], False),
    ):
        write(stage, "hooks", *calls)
        assert (problems(hooks, standing(1, "done")) == []) is is_right


def test_tasks_that_are_never_together(stage: Stage) -> None:
    alone = [{"what": what} for _ in range(ENOUGH) for what in ("started", "ended")]
    write(stage, "naps", *alone)
    assert problems(AsyncTasks(stage)) != []
    write(stage, "naps", {"what": "started"}, *alone)
    assert problems(AsyncTasks(stage)) == []
    for worker, count, is_wrong in (("async", 1, True), ("busy", 1, False), ("busy", 2, True)):
        call = {"count": count, "worker": f"{worker}w4-1"}
        write(stage, "squares", *([call] * (ENOUGH + 1)))
        assert (problems(BatchedTasks(stage)) != []) is is_wrong
    write(stage, "gpu", {"worker": "asyncw4-1"})
    assert problems(Attempts(stage)) != []


def test_wrong_results(stage: Stage) -> None:
    feature = Graphs(stage)
    good = Job.draft(JobRequest("m:f"), "s-0", 1).succeeded(5, 7)
    bad = good.ended_by(5, "no")
    feature.expect(good, 7)
    feature.expect(bad, error="no")
    feature.expect(bad.ended_by(5, "worker w was lost"), 7)
    feature._check([good, good], good.succeeded(6, 14), When.ALL_SUCCEEDED)
    feature._check([good, bad], good.succeeded(6, [7, None]), When.ALL_ENDED)
    feature._check([good], bad.ended_by(6, "skipped: it waits"), When.ONE_FAILED)
    assert stage.found == []
    for wrong in (
        lambda: feature.expect(good, 8),
        lambda: feature.expect(bad, 7),
        lambda: feature.expect(good, 7, "no"),
        lambda: feature._check([good, good], good.succeeded(6, 15), When.ALL_SUCCEEDED),
        lambda: feature._check([good, bad], good.succeeded(6, 14), When.ALL_SUCCEEDED),
        lambda: feature._check([good], good.succeeded(6, [7]), When.ONE_FAILED),
    ):
        stage.found.clear()
        cast(Any, wrong)()
        assert stage.found != []
