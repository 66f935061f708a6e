"""Jobs of limits: large requests, cancelled jobs, and the begin of the waiting time."""

import random

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import ROOT
from tests.support.limited_jobs import (
    START_MS,
    Clock,
    assert_consistent,
    release,
    releaser,
    submit,
    take_all,
    take_when_released,
)
from tests.support.waiting import wait_until
from zoolet.jobs import Job, JobQueue, JobState, Limit, QueueSettings
from zoolet.jobs.housekeeping import limit_releases
from zoolet.jobs.housekeeping.releasing import Releaser
from zoolet.jobs.queue.moves import Move
from zoolet.jobs.records.limits import LIMITS_MOST, NAME_LIMIT_CHARACTERS
from zoolet.jobs.records.transitions import Event, Place
from zoolet.jobs.znodes.multis import JOBS_AT_ONCE


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[1, 3], ids=["flat", "sharded"])
def queue(request: pytest.FixtureRequest, client: KazooClient, clock: Clock) -> JobQueue:
    queue = JobQueue(client, ROOT, clock_ms=clock)
    queue.ensure_layout(QueueSettings(shards=request.param))
    assert queue.register("w")
    return queue


@pytest.mark.parametrize("character", ["x", "\N{LATIN SMALL LETTER U WITH DIAERESIS}"])
def test_many_limits_of_many_jobs_fit_into_requests(queue: JobQueue, character: str) -> None:
    """50 jobs with 50 limits each: all their slots together do not fit into one request."""
    for number in range(LIMITS_MOST):
        name = f"{number:02d}".ljust(NAME_LIMIT_CHARACTERS, character)
        queue.limits.add(Limit(name, concurrent=100, per_key=number % 2 == 0))
    names = submit(queue, JOBS_AT_ONCE, key=character * 120)
    jobs = take_all(queue)
    assert sorted(job.name for job in jobs) == sorted(names)
    assert {len(job.slots) for job in jobs} == {LIMITS_MOST}
    assert len(queue.cancel(names[:25])) == 25
    ended = [Move(Event.LOSE_WORKER, Place.OWNED, job, job.waiting()) for job in queue.owned()]
    assert len(queue.mover.move(ended)) == 25
    assert queue.owned() == []
    assert_consistent(queue)


def test_a_cancelled_job_gives_back_its_slot_or_its_place_in_the_line(queue: JobQueue) -> None:
    queue.limits.add(Limit("one", concurrent=1))
    first, second, third = submit(queue, 3)
    assert [job.name for job in take_all(queue)] == [first]
    found = releaser(queue)
    release(found)
    assert len(queue.cancel([second])) == 1
    assert_consistent(queue)
    assert len(queue.cancel([first])) == 1
    assert_consistent(queue)
    [job] = take_when_released(queue, found, 1)
    assert job.name == third
    assert {job.name: job.state for job in queue.done()} == dict.fromkeys(
        (first, second), JobState.FAILED
    )
    assert_consistent(queue)


@pytest.mark.parametrize("seed", range(3))
def test_the_waiting_time_begins_when_a_worker_may_take_the_job(
    queue: JobQueue,
    client: KazooClient,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """Waits for a time, a limit and a retry come before the waiting time."""
    monkeypatch.setattr(limit_releases, "RELEASED_S", 0.01)
    chance = random.Random(seed)
    queue.limits.add(Limit("one", concurrent=1))
    names = submit(queue, 3, max_attempts=20)
    names += submit(queue, 3, max_attempts=20, not_before_ms=START_MS + 1000)
    limited, timed = releaser(queue), Releaser(queue, lambda: None)
    timed.begin()
    returned = 0

    def step() -> bool:
        nonlocal returned
        release(limited)
        timed.release()
        created = {
            name.name: client.exists(queue.layout.unowned(name.name)).ctime
            for name in queue.layout.names(Place.UNOWNED)
        }
        for job in queue.own_jobs(list(created), "w").owned:
            assert job.ready_ms == created[job.name]
            assert Job.decode(job.name, job.encode(), 0).ready_ms is None
            if returned < 8 and chance.random() < 0.5:
                returned += 1
                after = chance.choice([queue.fail, lambda one, _: queue.release(one)])(job, "x")
                assert after.ready_ms is None
            else:
                assert queue.finish(job, 1).ready_ms is None
        clock.now_ms += 500
        return queue.counts()["done"] == len(names)

    wait_until(step, "the end of all jobs")
