"""`QueueTester`: tasks run in the test's thread, workers are lost on request, the clock moves."""

import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from zoolet.jobs import Dispatcher, JobRequest, JobsDoNotEndError, JobState, QueueTester
from zoolet.jobs.records.job import Job
from zoolet.testing import EmbeddedServer

CALLS: list[Any] = []
"""What the tasks of this module have been called with."""
TESTER: list[QueueTester] = []


def note(group: object, parameters: dict[str, Any]) -> object:
    CALLS.append((group, dict(parameters), threading.current_thread()))
    return parameters.get("n")


def large(_group: object, parameters: dict[str, Any]) -> str:
    return "x" * int(parameters["size"])


def raises(_group: object, _parameters: object) -> None:
    raise ValueError("this task raises")


def submits(_group: object, parameters: dict[str, Any]) -> None:
    if parameters["depth"]:
        TESTER[0].dispatcher.submit(submits, parameters={"depth": parameters["depth"] - 1})


def count(_group: object, parameters: dict[str, Any]) -> None:
    CALLS.append(parameters["n"])


def load(dataset: str, groupid: str) -> str:
    return f"{dataset}/{groupid}"


@pytest.fixture
def jobs(zookeeper: EmbeddedServer) -> Iterator[QueueTester]:
    CALLS.clear()
    with QueueTester(zookeeper, loader=load) as tester:
        TESTER[:] = [tester]
        yield tester


def summary(jobs: list[Job]) -> list[tuple[object, str, int]]:
    return [(job.parameters.get("n"), job.state, job.attempts) for job in jobs]


def test_the_fixture_has_an_empty_queue(zookeeper_jobs: QueueTester) -> None:
    assert zookeeper_jobs.submitted() == []
    assert zookeeper_jobs.run() == []
    with Dispatcher(zookeeper_jobs.hosts, zookeeper_jobs.root) as dispatcher:
        dispatcher.submit(note, parameters={"n": 1})
    assert [job.result for job in zookeeper_jobs.run()] == [1]


def test_jobs_run_in_order_in_this_thread(jobs: QueueTester) -> None:
    for number, priority in enumerate([0, 5, 5]):
        jobs.dispatcher.submit(note, "d", number, {"n": number}, priority=priority, timeout_ms=1)
    assert [job.parameters["n"] for job in jobs.submitted()] == [0, 1, 2]
    assert CALLS == []
    assert [job.result for job in jobs.run()] == [1, 2, 0]
    assert [(group, parameters["n"]) for group, parameters, _ in CALLS] == [
        ("d/1", 1),
        ("d/2", 2),
        ("d/0", 0),
    ]
    assert {thread for *_, thread in CALLS} == {threading.current_thread()}
    assert jobs.submitted(raises) == []
    assert len(jobs.submitted(note)) == 3


def test_failures_retries_large_results_and_jobs_that_submit_jobs(jobs: QueueTester) -> None:
    jobs.dispatcher.submit(raises, max_attempts=2)
    jobs.dispatcher.submit(large, parameters={"size": 100_000})
    jobs.dispatcher.submit(submits, parameters={"depth": 3})
    first = jobs.dispatcher.submit_batch([JobRequest(note, parameters={"n": 1})])
    jobs.dispatcher.submit_batch([JobRequest(note, parameters={"n": 2})], after=first)
    ended = jobs.run()
    failed = [job for job in ended if job.state is JobState.FAILED]
    assert [error.message for job in failed for error in job.errors] == [
        job.errors[0].message for job in failed for _ in range(2)
    ]
    assert "this task raises" in failed[0].errors[0].message
    assert [len(job.result) for job in jobs.submitted(large)] == [100_000]
    assert [job.state for job in jobs.submitted(submits)] == ["SUCCESSFUL"] * 4
    assert [job.result for job in jobs.submitted(note)] == [1, 2]
    assert jobs.run() == []


def test_attempts_fail_on_request(jobs: QueueTester) -> None:
    jobs.dispatcher.submit(note, parameters={"n": 1}, backoff_ms=60_000)
    jobs.fail_next(OSError("the disk is full"))
    assert jobs.run() == []
    assert CALLS == []
    [job] = jobs.submitted()
    assert "OSError: the disk is full" in job.last_error
    jobs.advance(60)
    assert summary(jobs.run()) == [(1, "SUCCESSFUL", 2)]
    jobs.dispatcher.submit(note, max_attempts=3)
    jobs.fail_next(attempts=3)
    assert summary(jobs.run()) == [(None, "FAILED", 3)]


@pytest.mark.parametrize(
    ("at", "calls", "attempts"), [("taken", 1, 1), ("started", 1, 2), ("ended", 2, 2)]
)
def test_a_worker_is_lost(jobs: QueueTester, at: Any, calls: int, attempts: int) -> None:
    assert jobs.lose_worker(at) == []
    jobs.dispatcher.submit(note, parameters={"n": 1})
    [lost] = jobs.lose_worker(at)
    assert lost.parameters == {"n": 1}
    assert summary(jobs.run()) == [(1, "SUCCESSFUL", attempts)]
    assert len(CALLS) == calls


def test_the_clock_decides_when_jobs_start(jobs: QueueTester) -> None:
    hour = timedelta(hours=1)
    now = datetime.fromtimestamp(jobs.now_ms() / 1000, UTC)
    jobs.dispatcher.submit(note, not_before_ms=round((now + hour).timestamp() * 1000))
    assert jobs.run() == []
    jobs.set_time(now + hour)
    assert len(jobs.run()) == 1
    with pytest.raises(ValueError, match="time zone"):
        jobs.set_time(datetime(2026, 1, 1))  # noqa: DTZ001 -- without a time zone
    with pytest.raises(ValueError, match="cannot be set back"):
        jobs.set_time(now)


def test_paused_jobs_do_not_run_and_busy_queues_are_reported(jobs: QueueTester) -> None:
    jobs.dispatcher.submit(note)
    jobs.queue.pause()
    assert jobs.run() == []
    jobs.queue.pause(paused=False)
    assert len(jobs.run()) == 1
    assert jobs.queue.register("other")
    jobs.dispatcher.submit(note)
    [name] = [job.name for job in jobs.queue.waiting()]
    jobs.queue.own_job(name, "other")
    with pytest.raises(JobsDoNotEndError, match="1 jobs still wait or run"):
        jobs.run(timeout_s=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_random_losses_and_failures(jobs: QueueTester, seed: int) -> None:
    """Each job ends, and its attempts are those that the test let fail, and the last."""
    random_ = random.Random(seed)
    for number in range(20):
        jobs.dispatcher.submit(count, parameters={"n": number}, max_attempts=20)
    failures = 0
    for _ in range(12):
        if random_.random() < 0.5:
            failures += bool(jobs.lose_worker(random_.choice(["taken", "started", "ended"])))
        else:
            jobs.fail_next()
            failures += 1
    jobs.run()
    found = jobs.submitted()
    assert [job.state for job in found] == ["SUCCESSFUL"] * 20
    assert set(CALLS) == set(range(20))
    assert 20 <= sum(job.attempts for job in found) <= 20 + failures
    assert jobs.queue.counts() == {"deferred": 0, "unowned": 0, "owned": 0, "done": 20}
