"""A share of the jobs that workers take are the oldest ones, so low priorities do not starve."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, WorkerProcess, all_results, next_result, write_tasks
from tests.support.oldest_jobs import HIGH, first_low, late_jobs, low_and_high
from tests.support.waiting import wait_until
from zoolet.cli import main
from zoolet.jobs import Dispatcher, JobQueue, JobRequest, JobState, Limit, QueueSettings, Worker
from zoolet.jobs.housekeeping.limit_releases import LimitReleaser
from zoolet.jobs.overview.overview import explain_job
from zoolet.jobs.queue.oldest_share import ShareSetting
from zoolet.jobs.records.transitions import Place

PERCENT = 20


@pytest.fixture(autouse=True)
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_tasks(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture(params=[1, 3], ids=["flat", "sharded"])
def dispatcher(
    request: pytest.FixtureRequest, client: KazooClient, server: Any
) -> Iterator[Dispatcher]:
    JobQueue(client, ROOT).ensure_layout(QueueSettings(shards=request.param))
    with Dispatcher(server.hosts, ROOT) as dispatcher:
        yield dispatcher


def test_the_oldest_jobs_are_taken_in_time_by_one_worker(
    server: Any, dispatcher: Dispatcher
) -> None:
    queue = dispatcher.queue
    queue.configure(oldest_share_percent=PERCENT)
    batch = dispatcher.submit_batch(low_and_high(20, 1500, random.Random(1)))
    with Worker(server.hosts, ROOT, threads=True):
        jobs = all_results(batch)
    layout = queue.layout
    assert late_jobs(jobs, PERCENT, 1, layout.shard_of, len(layout.shards)) == []
    assert first_low(jobs) < 200


def test_without_a_share_priorities_decide(server: Any, dispatcher: Dispatcher) -> None:
    batch = dispatcher.submit_batch(low_and_high(20, 600, random.Random(1)))
    with Worker(server.hosts, ROOT, threads=True):
        jobs = all_results(batch)
    assert first_low(jobs) >= 400


@pytest.mark.parametrize("seed", range(2))
def test_the_oldest_jobs_are_taken_in_time_although_workers_are_killed(
    dispatcher: Dispatcher,
    start_worker: Callable[..., WorkerProcess],
    seed: int,
) -> None:
    chance = random.Random(seed)
    percent = chance.choice([10, 25, 60])
    queue = dispatcher.queue
    queue.configure(oldest_share_percent=percent)
    batch = dispatcher.submit_batch(low_and_high(10, 2000, chance, s=0.0005))
    workers = [start_worker() for _ in range(3)]
    lives = len(workers)
    jobs = []
    for _ in range(3):
        jobs += [next_result(batch) for _ in range(chance.randint(1, 300))]
        workers.pop(chance.randrange(len(workers))).kill()
        workers.append(start_worker())
        lives += 1
    jobs += all_results(batch)
    assert {job.state for job in jobs} == {JobState.SUCCESSFUL}
    layout = queue.layout
    assert late_jobs(jobs, percent, lives, layout.shard_of, len(layout.shards)) == []


def test_a_running_worker_knows_a_new_setting(client: KazooClient, dispatcher: Dispatcher) -> None:
    woken: list[int] = []
    setting = ShareSetting(JobQueue(client, ROOT).layout, lambda: woken.append(1))
    assert setting.percent() == 0
    dispatcher.queue.configure(oldest_share_percent=7)
    wait_until(lambda: bool(woken), "the watch")
    assert setting.percent() == 7
    woken.clear()
    # Another program has written invalid settings: the last valid value stays.
    client.set(f"{ROOT}/settings", b'{"oldest_share_percent": 500}')
    wait_until(lambda: bool(woken), "the watch")
    assert setting.percent() == 7


def test_an_operator_sees_the_share(dispatcher: Dispatcher, server: Any) -> None:
    target = ["--server", server.hosts, "--queue", ROOT]
    run = CliRunner().invoke
    assert run(main, ["jobs", "configure", *target, "--oldest-share-percent", "101"]).exit_code == 2
    changed = run(main, ["jobs", "configure", *target, "--oldest-share-percent", "5"])
    assert '"oldest_share_percent": 5' in changed.output
    queue = dispatcher.queue
    [low] = dispatcher.submit("m:f").names
    dispatcher.submit("m:f", priority=HIGH)
    assert "share of the oldest jobs: 5%" in run(main, ["jobs", "status", *target]).output
    queue.register("w")
    queue.configure(oldest_share_percent=5)
    assert "of 100 jobs that a worker takes, 5 are the oldest ones" in explain_job(
        queue, queue.find(low)
    )
    off = run(main, ["jobs", "configure", *target, "--oldest-share-percent", "0"])
    assert '"oldest_share_percent": 0' in off.output
    assert "share of the oldest" not in run(main, ["jobs", "status", *target]).output


def test_jobs_that_wait_for_a_limit_have_the_same_share(dispatcher: Dispatcher) -> None:
    queue = dispatcher.queue
    queue.configure(oldest_share_percent=25)
    queue.register("w")
    queue.limits.add(Limit("one", concurrent=1))
    requests = [
        JobRequest("m:f", parameters={"n": n}, priority=HIGH if n >= 4 else 0, limit_key="ada")
        for n in range(40)
    ]
    names = [submission.name for submission in queue.submit(requests, reuse=False)]
    owned = queue.own_jobs(names, "w").owned
    releaser = LimitReleaser(queue, lambda: None)
    releaser.begin()
    order = [owned[0].priority]
    while len(order) < len(names):
        queue.finish(owned.pop(), 1)

        def look() -> bool:
            releaser.release()
            waiting = [name.name for name in queue.layout.names(Place.UNOWNED)]
            owned.extend(queue.own_jobs(waiting, "w").owned)
            return bool(owned)

        wait_until(look, "a job that may start")
        order.append(owned[0].priority)
    shards = len(queue.layout.shards)
    lows = [position for position, priority in enumerate(order) if priority == 0]
    assert lows[-1] <= 4 * 4 * shards + 1, order
