"""Limits of a queue: who may start, who waits, and who moves waiting jobs on."""

import random
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import ROOT
from tests.support.limited_jobs import (
    Clock,
    assert_consistent,
    release,
    releaser,
    submit,
    take_all,
    take_when_released,
)
from tests.support.waiting import wait_until
from zoolet.jobs import (
    JobQueue,
    JobRequest,
    JobState,
    Limit,
    LimitReachedError,
    QueueSettings,
    UnknownLimitError,
)
from zoolet.jobs.housekeeping.limit_releases import RELEASED_S
from zoolet.jobs.housekeeping.releasing import Releaser
from zoolet.jobs.limits.table import Limits, LimitTable
from zoolet.jobs.overview.overview import explain_job
from zoolet.jobs.records.transitions import Place


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[1, 3], ids=["flat", "sharded"])
def queue(request: pytest.FixtureRequest, client: KazooClient, clock: Clock) -> JobQueue:
    queue = JobQueue(client, ROOT, clock_ms=clock)
    queue.ensure_layout(QueueSettings(shards=request.param))
    assert queue.register("w")
    return queue


def test_no_more_jobs_start_than_the_limit_allows(queue: JobQueue) -> None:
    queue.limits.add(Limit("two", concurrent=2))
    names = submit(queue, 5)
    jobs = take_all(queue)
    assert len(jobs) == 2
    assert queue.counts() == {"deferred": 3, "unowned": 0, "owned": 2, "done": 0}
    assert_consistent(queue)
    assert "the limit two" in explain_job(queue, queue.find(names[-1]))
    found = releaser(queue)
    release(found)
    assert queue.counts()["unowned"] == 0
    for _ in range(3):
        queue.finish(jobs.pop(0), 1)
        jobs += take_when_released(queue, found, 1)
        assert len(queue.owned()) == 2
        assert_consistent(queue)
    for job in jobs:
        queue.finish(job, 1)
    assert sorted(job.name for job in queue.done()) == sorted(names)


def test_each_end_of_an_attempt_frees_the_slot(queue: JobQueue, client: KazooClient) -> None:
    queue.limits.add(Limit("one", concurrent=1))
    submit(queue, 1, max_attempts=5)
    [job] = take_all(queue)
    assert job.slots == ("one/slots/all-0",)
    queue.fail(job, "trouble")
    [job] = take_all(queue)
    queue.release(job)
    [job] = take_all(queue)
    running = queue.update_state(job, JobState.RUNNING)
    assert running.slots == job.slots
    client.delete(f"{ROOT}/workers/w")
    assert queue.return_jobs_of_dead_workers()
    assert queue.register("w2")
    [name] = queue.layout.names(Place.UNOWNED)
    job = queue.own_job(name.name, "w2")
    assert_consistent(queue)
    queue.cancel([job.name])
    assert_consistent(queue)
    assert queue.find(job.name).slots == ()


def test_a_slot_that_another_program_deleted_does_not_keep_the_job(
    queue: JobQueue, client: KazooClient
) -> None:
    queue.limits.add(Limit("one", concurrent=1))
    submit(queue)
    [job] = take_all(queue)
    client.delete(f"{ROOT}/limits/one", recursive=True)
    assert queue.finish(job, 1).state is JobState.SUCCESSFUL


def test_a_slot_without_a_job_is_deleted(queue: JobQueue, client: KazooClient) -> None:
    queue.limits.add(Limit("three", concurrent=4))
    submit(queue)
    [job] = take_all(queue)
    for slot, data in (("all-1", job.name), ("all-2", "entry-000-a:b-1"), ("x", "\x00/../")):
        client.create(f"{ROOT}/limits/three/slots/{slot}", data.encode())
    releaser(queue)
    assert client.get_children(f"{ROOT}/limits/three/slots") == ["all-0"]
    assert_consistent(queue)


def test_keys_take_turns(queue: JobQueue) -> None:
    queue.limits.add(Limit("one", concurrent=1))
    submit(queue, 6, "many")
    submit(queue, 2, "few")
    submit(queue, 1)
    found = releaser(queue)
    [job] = take_all(queue)
    order = [job.limit_key]
    for _ in range(8):
        queue.finish(job, 1)
        [job] = take_when_released(queue, found, 1)
        order.append(job.limit_key)
    assert order[1:6].count("few") == 2
    assert None in order[1:5]


def test_each_key_is_counted_on_its_own(queue: JobQueue) -> None:
    queue.limits.add(Limit("each", concurrent=1, per_key=True))
    for key in ("a", "b/ä%", None):
        submit(queue, 3, key)
    jobs = take_all(queue)
    assert Counter(job.limit_key for job in jobs) == {"a": 1, "b/ä%": 1, None: 3}
    found = releaser(queue)
    release(found)
    assert take_all(queue) == []
    [job] = [job for job in jobs if job.limit_key == "a"]
    queue.finish(job, 1)
    assert [job.limit_key for job in take_when_released(queue, found, 1)] == ["a"]
    assert_consistent(queue)


def test_a_limit_is_only_for_its_jobs(queue: JobQueue) -> None:
    queue.limits.add(Limit("task", concurrent=1, task="m:g"))
    queue.limits.add(Limit("dataset", concurrent=1, dataset="e"))
    queue.limits.add(Limit("key", concurrent=1, key="k"))
    requests = [
        JobRequest(task, dataset, str(n), limit_key=key)
        for task, dataset, key in (
            ("m:f", "d", None), ("m:g", "d", None), ("m:f", "e", None), ("m:f", "d", "k"),
        )
        for n in range(2)
    ]  # fmt: skip
    queue.submit(requests, reuse=False)
    jobs = take_all(queue)
    found = Counter((job.task, job.dataset, job.limit_key) for job in jobs)
    assert found == {
        ("m:f", "d", None): 2,
        ("m:g", "d", None): 1,
        ("m:f", "e", None): 1,
        ("m:f", "d", "k"): 1,
    }
    assert Counter(len(job.slots) for job in jobs) == {0: 2, 1: 3}


def test_a_job_waits_for_each_of_its_limits(queue: JobQueue) -> None:
    queue.limits.add(Limit("a", concurrent=2))
    queue.limits.add(Limit("b", concurrent=1, key="k"))
    [first, second] = submit(queue, 2, "k")
    [third] = submit(queue, 1)
    jobs = {job.name: job for job in take_all(queue)}
    assert set(jobs) == {first, third}
    assert queue.find(second).limit == "b"
    found = releaser(queue)
    [fourth] = submit(queue, 1)
    assert take_all(queue) == []
    queue.finish(jobs[first], 1)
    # Limit a has room for one of the two; the other one goes on waiting.
    [job] = take_when_released(queue, found, 1)
    assert job.name in {second, fourth}
    assert_consistent(queue)
    queue.finish(jobs[third], 1)
    take_when_released(queue, found, 1)
    assert {job.name for job in queue.owned()} == {second, fourth}


def test_starts_per_second(queue: JobQueue, clock: Clock) -> None:
    queue.limits.add(Limit("rate", per_second=2, burst=2))
    submit(queue, 8)
    assert len(take_all(queue)) == 2
    found = releaser(queue)
    left_s = release(found)
    assert left_s is not None
    assert 0.4 < left_s <= 0.5
    for started in (3, 4, 5, 6):
        clock.now_ms += 499
        release(found)
        assert take_all(queue) == []
        clock.now_ms += 1
        take_when_released(queue, found, 1)
        assert len(queue.owned()) == started
    clock.now_ms += 60_000
    take_when_released(queue, found, 2)


def test_own_job_refuses_a_job_beyond_the_limit(queue: JobQueue) -> None:
    queue.limits.add(Limit("one", concurrent=1))
    [first, second] = submit(queue, 2)
    job = queue.own_job(first, "w")
    with pytest.raises(LimitReachedError, match="the limit one"):
        queue.own_job(second, "w")
    queue.finish(job, 1)
    queue.own_job(second, "w")


def test_a_removed_limit_lets_its_jobs_start(queue: JobQueue, client: KazooClient) -> None:
    queue.limits.add(Limit("one", concurrent=1))
    submit(queue, 4)
    jobs = take_all(queue)
    found = releaser(queue)
    queue.limits.remove("one")
    jobs += take_when_released(queue, found, 3)
    assert queue.limits.all() == []
    assert client.exists(f"{ROOT}/limits/one")
    for job in jobs:
        queue.finish(job, 1)

    def is_deleted() -> bool:
        release(found)
        return not client.get_children(f"{ROOT}/limits")

    wait_until(is_deleted, "the end of the limit")
    with pytest.raises(UnknownLimitError, match="limit list"):
        queue.limits.remove("one")


def test_a_limit_that_is_added_again_while_it_is_deleted_is_complete(
    queue: JobQueue, client: KazooClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.limits.add(Limit("two", concurrent=2))
    queue.limits.remove("two")
    found = releaser(queue)
    znodes = queue.layout.znodes
    get_all = znodes.get_all

    def get_all_late(paths: Sequence[str]) -> Any:
        if any(path.endswith("/two/slots") for path in paths):
            monkeypatch.setattr(znodes, "get_all", get_all)
            queue.limits.add(Limit("two", concurrent=2))
        return get_all(paths)

    monkeypatch.setattr(znodes, "get_all", get_all_late)
    release(found)
    assert [use.limit.name for use in queue.limits.all()] == ["two"]
    submit(queue, 3)
    assert len(take_all(queue)) == 2
    assert sorted(client.get_children(f"{ROOT}/limits/two")) == ["next", "slots", "waiting"]


def test_a_limit_without_its_znodes_is_repaired_by_add(
    queue: JobQueue, client: KazooClient
) -> None:
    queue.limits.add(Limit("two", concurrent=2))
    for part in ("slots", "next", "waiting"):
        client.delete(f"{ROOT}/limits/two/{part}", recursive=True)
    queue.limits.add(Limit("two", concurrent=2))
    submit(queue, 3)
    assert len(take_all(queue)) == 2


def test_slots_of_a_removed_limit_without_a_job_are_deleted(
    queue: JobQueue, client: KazooClient
) -> None:
    queue.limits.add(Limit("one", concurrent=1))
    client.create(f"{ROOT}/limits/one/slots/all-0", b"entry-000-a:b-0000000001")
    queue.limits.remove("one")
    found = releaser(queue)
    found.begin()
    release(found)
    assert client.get_children(f"{ROOT}/limits") == []


def test_a_changed_limit_applies_to_waiting_jobs(queue: JobQueue) -> None:
    queue.limits.add(Limit("one", concurrent=1))
    submit(queue, 5)
    take_all(queue)
    found = releaser(queue)
    release(found)
    queue.limits.add(Limit("one", concurrent=3))
    take_when_released(queue, found, 2)
    [use] = queue.limits.all()
    assert (use.limit.concurrent, use.running, use.waiting) == (3, 3, 2)
    queue.limits.add(Limit("one", concurrent=2))
    queue.finish(queue.owned()[0], 1)
    release(found)
    assert take_all(queue) == []


def test_a_job_whose_limit_was_deleted_by_another_program_starts(
    queue: JobQueue, client: KazooClient
) -> None:
    queue.limits.add(Limit("one", concurrent=1))
    submit(queue, 2)
    take_all(queue)
    client.delete(f"{ROOT}/limits", recursive=True)
    wait_until(lambda: not queue.gate.table.current().active, "the end of the limit")
    Releaser(queue, lambda: None).begin()
    assert len(take_all(queue)) == 1


def test_a_lost_entry_is_created_again(queue: JobQueue, client: KazooClient) -> None:
    queue.limits.add(Limit("one", concurrent=1))
    submit(queue, 2)
    [job] = take_all(queue)
    client.delete(f"{ROOT}/limits/one/waiting", recursive=True)
    Releaser(queue, lambda: None).begin()
    assert_consistent(queue)
    queue.finish(job, 1)
    take_when_released(queue, releaser(queue), 1)


def test_a_released_job_that_nobody_takes_does_not_keep_the_room(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.limits.add(Limit("one", concurrent=1))
    submit(queue, 3)
    [job] = take_all(queue)
    found = releaser(queue)
    queue.finish(job, 1)
    wait_until(lambda: bool(release(found)), "the release")
    assert queue.counts()["unowned"] == 1
    left_s = release(found)
    assert left_s is not None
    assert 0 < left_s <= RELEASED_S
    monkeypatch.setattr("time.monotonic", lambda: 1e9)
    release(found)
    assert queue.counts()["unowned"] == 2
    assert len(take_all(queue)) == 1
    assert_consistent(queue)


def test_random_moves_keep_all_limits(queue: JobQueue, clock: Clock) -> None:
    """Two workers, two housekeepers and random ends: no limit is exceeded, and all jobs end."""
    chance = random.Random(1)
    queue.register("w2")
    queue.limits.add(Limit("all", concurrent=3))
    queue.limits.add(Limit("each", concurrent=2, per_key=True))
    queue.limits.add(Limit("rate", per_second=2, burst=1, task="m:f"))
    keepers = [releaser(queue), releaser(queue)]
    names = submit(queue, 5, "a")
    starts: list[int] = []

    def step() -> bool:
        event = chance.randrange(4)
        if event == 0:
            clock.now_ms += chance.randrange(600)
            if len(names) < 12:
                key = chance.choice((None, "a", "b"))
                names.extend(submit(queue, chance.randint(1, 3), key, priority=chance.randrange(3)))
        elif event == 1:
            chance.choice(keepers).release()
        elif event == 2:
            waiting = [name.name for name in queue.layout.names(Place.UNOWNED)]
            chance.shuffle(waiting)
            worker = chance.choice(("w", "w2"))
            taken = queue.own_jobs(waiting, worker, chance.randint(1, 3)).owned
            starts.extend([clock.now_ms] * len(taken))
        elif owned := queue.owned():
            assert len(owned) <= 3
            keys = Counter(job.limit_key for job in owned if job.limit_key)
            assert max(keys.values(), default=0) <= 2
            assert_consistent(queue)
            job = chance.choice(owned)
            if chance.random() < 0.2:
                queue.release(job)
            else:
                queue.finish(job, 1)
        return len(names) >= 12 and queue.counts()["done"] == len(names)

    assert any(step() for _ in range(5000))
    assert {job.state for job in queue.done()} == {JobState.SUCCESSFUL}
    assert max(sum(at <= one < at + 10_000 for one in starts) for at in starts) <= 21


def test_a_thread_waits_while_another_thread_reads_the_limits(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would take jobs as if there were no limits."""
    queue.limits.add(Limit("one", concurrent=1))
    table = LimitTable(queue.layout)
    children = queue.layout.znodes.children
    found: list[Limits] = []
    other = threading.Thread(target=lambda: found.append(table.current()))

    def children_later(*arguments: Any) -> Any:
        monkeypatch.undo()
        other.start()
        # The other thread has time to return too early.
        other.join(0.2)
        return children(*arguments)

    monkeypatch.setattr(queue.layout.znodes, "children", children_later)
    assert [limit.name for limit in table.current().active] == ["one"]
    other.join()
    assert [limit.name for one in found for limit in one.active] == ["one"]
