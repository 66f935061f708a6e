"""Jobs that expire while they wait in deferred are FAILED at once, and not when they may start."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, WorkerProcess, next_result, write_tasks
from tests.support.limited_jobs import (
    START_MS,
    Clock,
    release,
    releaser,
    submit,
    take_all,
    take_when_released,
)
from zoolet.jobs import Dispatcher, JobQueue, JobRequest, JobState, Limit, QueueSettings
from zoolet.jobs.housekeeping.expiring import Expirer
from zoolet.jobs.housekeeping.releasing import Releaser
from zoolet.jobs.queue.taking import EXPIRED
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.znodes.deferred_index import expiry_path

MOST_STEPS = 10_000
"""Far more random steps than the end of all jobs takes."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[1, 3], ids=["flat", "sharded"])
def queue(request: pytest.FixtureRequest, client: KazooClient, clock: Clock) -> JobQueue:
    queue = JobQueue(client, ROOT, clock_ms=clock)
    queue.ensure_layout(QueueSettings(shards=request.param))
    assert queue.register("w")
    return queue


def expirer(queue: JobQueue) -> Expirer:
    found = Expirer(queue, lambda: None)
    found.begin()
    return found


def entries(queue: JobQueue) -> list[str]:
    """Return the paths of all entries in expiries."""
    znodes = queue.layout.znodes
    parent = znodes.path("expiries")
    return [
        f"{parent}/{bucket}/{entry}"
        for bucket in znodes.children(parent)
        for entry in znodes.children(f"{parent}/{bucket}")
    ]


def assert_indexed(queue: JobQueue) -> None:
    """Fail unless each job in deferred that can expire there has an entry, and no other job."""
    names = [name.name for name in queue.layout.names(Place.DEFERRED)]
    wanted = [expiry_path(queue.layout, job) for job in queue.layout.read(Place.DEFERRED, names)]
    assert sorted(entries(queue)) == sorted(path for path in wanted if path is not None)


def test_a_job_that_waits_for_a_limit_expires_in_time(queue: JobQueue, clock: Clock) -> None:
    queue.limits.add(Limit("one", concurrent=1))
    [first] = submit(queue)
    [job] = take_all(queue)
    [late, later] = submit(queue, 2, expires_ms=START_MS + 5_000)
    assert take_all(queue) == []
    assert_indexed(queue)
    assert len(entries(queue)) == 2
    found = expirer(queue)
    clock.now_ms = START_MS + 5_000
    left_s = found.expire()
    assert left_s is not None
    assert 0 < left_s <= 0.001
    assert queue.counts()["deferred"] == 2, "a job may start at the time of its expiry"
    clock.now_ms += 1
    found.expire()
    assert {job.name: job.last_error for job in queue.done()} == {late: EXPIRED, later: EXPIRED}
    assert entries(queue) == []
    # The limit does not wait for the jobs that have expired.
    limited = releaser(queue)
    release(limited)
    assert [job.limit for job in queue.owned()] == [None]
    queue.finish(job, 1)
    assert queue.find(first).state is JobState.SUCCESSFUL
    assert queue.limits.all()[0].waiting == 0


def test_a_job_that_starts_in_time_leaves_no_entry(queue: JobQueue, clock: Clock) -> None:
    queue.limits.add(Limit("one", concurrent=1))
    submit(queue)
    [job] = take_all(queue)
    submit(queue, 1, expires_ms=START_MS + 5_000)
    assert take_all(queue) == []
    assert len(entries(queue)) == 1
    limited = releaser(queue)
    queue.finish(job, 1)
    [job] = take_when_released(queue, limited, 1)
    assert entries(queue) == []
    clock.now_ms += 10_000
    expirer(queue).expire()
    assert [one.name for one in queue.owned()] == [job.name]


def test_jobs_that_wait_for_a_batch_or_too_long_for_a_time_expire(
    client: KazooClient, queue: JobQueue, clock: Clock
) -> None:
    with Dispatcher(client, ROOT) as dispatcher:
        dispatcher.submit_batch([JobRequest("m:f")], name="first")
        times = {"not_before_ms": START_MS + 90_000, "expires_ms": START_MS + 60_000}
        dispatcher.submit_batch([JobRequest("m:g", **times)], name="second", after="first")  # type: ignore[arg-type]
        # The dispatcher has the real clock; the job waits for its time by both clocks.
        far_ms = 4_000_000_000_000
        dispatcher.submit("m:h", not_before_ms=far_ms, expires_ms=START_MS + 60_000)
        dispatcher.submit("m:i", not_before_ms=far_ms, expires_ms=far_ms)
    assert len(entries(queue)) == 2
    assert_indexed(queue)
    clock.now_ms += 60_001
    expirer(queue).expire()
    assert sorted(job.task for job in queue.done()) == ["m:g", "m:h"]
    assert [job.last_error for job in queue.done()] == [EXPIRED] * 2
    assert entries(queue) == []
    assert queue.counts() == {"deferred": 1, "unowned": 1, "owned": 0, "done": 2}


def test_entries_of_other_versions_and_programs_do_no_harm(
    client: KazooClient, queue: JobQueue, clock: Clock
) -> None:
    queue.limits.add(Limit("one", concurrent=1))
    submit(queue)
    [job] = take_all(queue)
    [waiting] = submit(queue, 1, expires_ms=START_MS + 5_000)
    assert take_all(queue) == []
    [entry] = entries(queue)
    # An older version has moved the job to deferred: it has no entry, and is released anyway.
    client.delete(entry)
    # Entries without a job, and with another time, are removed when they are due.
    bucket = entry.rpartition("/")[0]
    client.create(f"{bucket}/{START_MS + 1:015d}-{job.name}")
    client.create(f"{bucket}/{START_MS + 2:015d}-{waiting}")
    client.create(f"{bucket}/nonsense")
    clock.now_ms += 100
    expirer(queue).expire()
    assert [path.rpartition("/")[2] for path in entries(queue)] == ["nonsense"]
    limited = releaser(queue)
    queue.finish(job, 1)
    [job] = take_when_released(queue, limited, 1)
    assert job.name == waiting


@pytest.mark.parametrize("seed", range(3))
def test_random_waits_and_expiries(queue: JobQueue, clock: Clock, seed: int) -> None:
    """Each job ends one time: it expires after its time, or it is taken before."""
    chance = random.Random(seed)
    queue.limits.add(Limit("two", concurrent=2))
    queue.limits.add(Limit("each", concurrent=1, per_key=True))
    limited, timed, expiring = releaser(queue), Releaser(queue, lambda: None), expirer(queue)
    timed.begin()
    names: list[str] = []

    def step() -> bool:
        event = chance.randrange(5)
        clock.now_ms += chance.randrange(2_000)
        if event == 0 and len(names) < 25:
            expires_ms = clock.now_ms + chance.choice([500, 5_000, 100_000])
            not_before_ms = chance.choice([None, clock.now_ms + 3_000])
            names.extend(
                submit(
                    queue,
                    chance.randint(1, 3),
                    chance.choice([None, "a", "b"]),
                    expires_ms=chance.choice([None, expires_ms]),
                    not_before_ms=not_before_ms,
                )
            )
        elif event == 1:
            release(limited)
        elif event == 2:
            timed.release()
        elif event == 3:
            assert_indexed(queue)
            expiring.expire()
        else:
            take_all(queue)
            for job in queue.owned()[: chance.randint(0, 2)]:
                queue.finish(job, 1)
        return len(names) >= 25 and queue.counts()["done"] == len(names)

    assert any(step() for _ in range(MOST_STEPS)), "not all jobs have ended"
    assert entries(queue) == []
    for job in queue.done():
        if job.state is JobState.FAILED:
            assert job.last_error == EXPIRED
            assert job.expires_ms is not None
            assert (job.finished_ms or 0) > job.expires_ms
            assert job.taken_ms is None


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    write_tasks(tmp_path)
    return tmp_path


def test_a_worker_ends_jobs_that_expire_while_they_wait(
    dispatcher: Dispatcher, start_worker: Callable[..., WorkerProcess]
) -> None:
    queue = dispatcher.queue
    queue.limits.add(Limit("none", per_second=1 / 86_400, task="pipe_tasks:number"))
    start_worker()
    first = dispatcher.submit("pipe_tasks:number", parameters={"n": 1})
    assert next_result(first).state is JobState.SUCCESSFUL
    expires_ms = queue.server_time_ms() + 300
    second = dispatcher.submit("pipe_tasks:number", parameters={"n": 2}, expires_ms=expires_ms)
    assert next_result(second).last_error == EXPIRED
