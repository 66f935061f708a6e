"""The place for jobs that may not start yet: moves, the index, and who moves jobs on."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import ROOT
from tests.support.limited_jobs import START_MS, Clock
from tests.support.waiting import wait_until
from zoolet.jobs import Batch, Dispatcher, Job, JobQueue, JobRequest, JobState, QueueSettings
from zoolet.jobs.housekeeping.releasing import MULTIS_AT_ONCE, Releaser
from zoolet.jobs.overview.overview import explain_job, queue_overview
from zoolet.jobs.queue import deleted_jobs
from zoolet.jobs.queue.moves import Move
from zoolet.jobs.records.dependencies import Dependencies
from zoolet.jobs.records.transitions import Event, Place
from zoolet.jobs.znodes.deferred_index import entry_path, parse_entry
from zoolet.jobs.znodes.edge import Znodes
from zoolet.jobs.znodes.layout import Layout
from zoolet.jobs.znodes.operations import Create


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[1, 3], ids=["flat", "sharded"])
def queue(request: pytest.FixtureRequest, client: KazooClient, clock: Clock) -> JobQueue:
    queue = JobQueue(client, ROOT, clock_ms=clock)
    queue.ensure_layout(QueueSettings(shards=request.param))
    assert queue.register("w")
    return queue


def request(groupid: object = "1", **changes: Any) -> JobRequest:
    values: dict[str, Any] = {"task": "m:f", "dataset": "d", "groupid": groupid}
    return JobRequest(**values | changes)


def releaser(queue: JobQueue) -> Releaser:
    found = Releaser(queue, lambda: None)
    found.begin()
    return found


def drain(found: Releaser) -> float | None:
    """Release all that may start now; return in how many seconds there is more."""
    while (left_s := found.release()) == 0.0:
        pass
    return left_s


def places(queue: JobQueue) -> dict[str, Place]:
    """Return the place of each job, by name; fail if one is in two."""
    found = [
        (name.name, place)
        for place in Place
        for names in queue.layout.iterate_names(place)
        for name in names
    ]
    assert len(found) == len(dict(found)), Counter(name for name, _ in found)
    return dict(found)


def assert_indexed(queue: JobQueue) -> None:
    """Fail unless each job in deferred has its entry, and there is no other entry."""
    znodes = queue.layout.znodes
    entries = [
        f"{parent}/{child}/{name}"
        for parent in (znodes.path("due"), znodes.path("chains"))
        for child in znodes.children(parent)
        for name in znodes.children(f"{parent}/{child}")
    ]
    deferred = queue.layout.read(
        Place.DEFERRED, [n.name for n in queue.layout.names(Place.DEFERRED)]
    )
    assert sorted(entries) == sorted(str(entry_path(queue.layout, job)) for job in deferred)


def take_all(queue: JobQueue) -> list[Job]:
    return queue.own_jobs([name.name for name in queue.layout.names(Place.UNOWNED)], "w").owned


def test_a_delayed_job_is_deferred_and_is_released_in_time(queue: JobQueue, clock: Clock) -> None:
    [late, ready] = queue.submit([request(not_before_ms=START_MS + 90_000), request(task="m:g")])
    assert places(queue) == {late.name: Place.DEFERRED, ready.name: Place.UNOWNED}
    assert_indexed(queue)
    assert late.name.rpartition("-")[2] < ready.name.rpartition("-")[2]
    assert queue.counts() == {"deferred": 1, "unowned": 1, "owned": 0, "done": 0}
    assert queue.states()[JobState.PENDING] == 2
    assert explain_job(queue, queue.find(late.name)) == "its start time is in 90 s"
    found = releaser(queue)
    left_s = drain(found)
    assert left_s is not None
    assert 0 < left_s <= 90
    clock.now_ms = START_MS + 89_999
    drain(found)
    assert places(queue)[late.name] == Place.DEFERRED
    clock.now_ms = START_MS + 90_000
    drain(found)
    assert places(queue)[late.name] == Place.UNOWNED
    assert_indexed(queue)
    assert [job.name for job in take_all(queue)] == [late.name, ready.name]


def test_names_are_in_the_order_of_submission_in_both_places(queue: JobQueue) -> None:
    names = []
    for number in range(30):
        late = START_MS + 1000 if number % 3 else None
        wanted = request(str(number % 2), parameters={"n": number}, not_before_ms=late)
        [submission] = queue.submit([wanted])
        names.append(submission.name)
    jobs = {name: queue.find(name) for name in names}
    for group in ("0", "1"):
        mine = [name for name in names if jobs[name].groupid == group]
        assert sorted(mine, key=lambda name: int(name.rpartition("-")[2])) == mine
    assert len(set(names)) == 30


def test_a_retry_with_a_delay_is_deferred(queue: JobQueue, clock: Clock) -> None:
    [submission] = queue.submit([request(backoff_ms=1000)])
    [job] = take_all(queue)
    queue.fail(job, "trouble")
    assert places(queue) == {submission.name: Place.DEFERRED}
    assert "the back-off" in explain_job(queue, queue.find(submission.name))
    assert_indexed(queue)
    clock.now_ms += 1000
    drain(releaser(queue))
    [again] = take_all(queue)
    assert (again.attempts, again.not_before_ms) == (1, START_MS + 1000)
    assert_indexed(queue)


def test_jobs_of_a_batch_wait_in_deferred_until_the_other_is_done(
    client: KazooClient, queue: JobQueue, clock: Clock
) -> None:
    first = queue_batch(queue, [request("first")], "first")
    second = queue_batch(
        queue, [request("2"), request("3", not_before_ms=START_MS + 5000)], "second", after="first"
    )
    assert {places(queue)[name] for name in second.names} == {Place.DEFERRED}
    assert_indexed(queue)
    found = releaser(queue)
    drain(found)
    assert {places(queue)[name] for name in second.names} == {Place.DEFERRED}
    assert "until first is done" in explain_job(queue, queue.find(second.names[0]))
    [job] = take_all(queue)
    queue.finish(job, 1)
    found = releaser(queue)
    drain(found)
    assert [places(queue)[name] for name in second.names] == [Place.UNOWNED, Place.DEFERRED]
    assert_indexed(queue)
    assert client.get_children(f"{ROOT}/chains") == []
    clock.now_ms += 5000
    drain(found)
    assert [places(queue)[name] for name in second.names] == [Place.UNOWNED, Place.UNOWNED]
    assert first.names


def delete_jobs(queue: JobQueue, client: KazooClient, names: list[str]) -> None:
    """Delete jobs as an operator does it by hand, beside the job system."""
    where = places(queue)
    for name in names:
        client.delete(queue.layout.job(where[name], name))


@pytest.mark.parametrize("what", ["its jobs", "one of its jobs", "its record"])
def test_a_batch_does_not_wait_for_what_was_deleted(
    client: KazooClient, queue: JobQueue, what: str
) -> None:
    first = queue_batch(queue, [request("1"), request("2")], "first")
    second = queue_batch(queue, [request("3")], "second", after="first")
    found = releaser(queue)
    drain(found)
    names = list(first.names)
    if what == "its jobs":
        delete_jobs(queue, client, names)
    elif what == "one of its jobs":
        for job in take_all(queue):
            if job.name == names[0]:
                queue.finish(job, 1)
        delete_jobs(queue, client, names[1:])
    else:
        client.delete(f"{ROOT}/batches/first", recursive=True)

    def is_released() -> bool:
        drain(found)
        return places(queue)[second.names[0]] == Place.UNOWNED

    wait_until(is_released, "the second batch may start")


def test_a_batch_waits_for_a_job_however_long_it_waits(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = queue_batch(queue, [request("1")], "first")
    second = queue_batch(queue, [request("2")], "second", after="first")
    monkeypatch.setattr(deleted_jobs, "FIRST_S", 0.0)
    monkeypatch.setattr(deleted_jobs, "LONGEST_S", 0.0)
    found = releaser(queue)
    looks = 0
    where = Layout.where

    def counted(self: Layout, names: Sequence[str]) -> list[str | None]:
        nonlocal looks
        looks += 1
        return where(self, names)

    monkeypatch.setattr(Layout, "where", counted)
    while looks < 10:
        found.release()
    assert places(queue) == {first.names[0]: Place.UNOWNED, second.names[0]: Place.DEFERRED}


def queue_batch(
    queue: JobQueue, requests: list[JobRequest], name: str, after: str | None = None
) -> Batch:
    dispatcher = Dispatcher(queue.layout.znodes._link, ROOT)
    submitter = dispatcher._submitter
    submitter._clock_ms = queue.clock_ms
    dependencies = None if after is None else Dependencies((after,))
    submissions = submitter.submit_batch(requests, name, reuse=None, after=dependencies)
    return Batch(queue, submissions, name, dispatcher.results)


def test_a_job_whose_batch_is_released_while_it_is_submitted_may_start(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_batch(queue, [request("first")], "first")
    [job] = take_all(queue)
    queue.finish(job, 1)
    multi = Znodes.multi

    def releasing(self: Znodes, operations: Any, landed: Callable[[], bool]) -> Any:
        operations = list(operations)
        if any(isinstance(op, Create) and "/deferred/" in op.path for op in operations):
            monkeypatch.setattr(Znodes, "multi", multi)
            drain(releaser(queue))
        return multi(self, operations, landed)

    monkeypatch.setattr(Znodes, "multi", releasing)
    second = queue_batch(queue, [request("2")], "second", after="first")
    assert [places(queue)[name] for name in second.names] == [Place.UNOWNED]
    assert_indexed(queue)


def test_a_worker_moves_jobs_of_an_older_version_to_deferred(
    queue: JobQueue, client: KazooClient, clock: Clock
) -> None:
    [first, second] = queue.submit([request("1"), request("2")])
    later = START_MS + 70_000
    for submission in (first, second):
        job = queue.find(submission.name)
        value = job.encode().replace(b'"state"', f'"not_before_ms":{later},"state"'.encode())
        client.set(queue.layout.unowned(job.name), value)
    names = [first.name, second.name]
    picked = queue.own_jobs(names, "w")
    assert ([job.name for job in picked.deferred], picked.owned) == (names, [])
    assert set(places(queue).values()) == {Place.DEFERRED}
    assert_indexed(queue)
    clock.now_ms = later
    drain(releaser(queue))
    assert len(take_all(queue)) == 2


def test_a_worker_takes_no_more_than_it_wants_and_leaves_the_others(queue: JobQueue) -> None:
    names = [submission.name for submission in queue.submit([request(n) for n in range(5)])]
    picked = queue.own_jobs(names, "w", 2)
    assert [job.name for job in picked.owned] == names[:2]
    assert [job.name for job in picked.spare] == names[2:]
    assert Counter(places(queue).values()) == {Place.OWNED: 2, Place.UNOWNED: 3}


def test_deferred_jobs_are_cancelled_retried_listed_and_counted(queue: JobQueue) -> None:
    [submission] = queue.submit([request(not_before_ms=START_MS + 1000)])
    assert [job.name for job in queue.jobs()] == [submission.name]
    assert queue_overview(queue).total(Place.DEFERRED) == 1
    assert "its start time is in" in queue_overview(queue).why
    [job] = queue.cancel([submission.name])
    assert job.state is JobState.FAILED
    assert_indexed(queue)
    queue.retry(submission.name)
    assert places(queue) == {submission.name: Place.UNOWNED}


def test_what_is_missing_in_the_index_is_repaired_and_what_is_too_much_removed(
    queue: JobQueue, client: KazooClient, clock: Clock
) -> None:
    names = [
        submission.name
        for submission in queue.submit(
            [request(str(n), not_before_ms=START_MS + 1000) for n in range(3)]
        )
    ]
    [bucket] = client.get_children(f"{ROOT}/due")
    for child in client.get_children(f"{ROOT}/due/{bucket}"):
        client.delete(f"{ROOT}/due/{bucket}/{child}")
    client.delete(f"{ROOT}/due/{bucket}")
    client.create(f"{ROOT}/due/{bucket}", b"")
    client.create(f"{ROOT}/due/{bucket}/{START_MS:015d}-entry-000-d:9-0000000999", b"")
    client.create(f"{ROOT}/due/note", b"")
    client.create(queue.layout.job(Place.DEFERRED, names[0]) + "x", b"no job")
    found = releaser(queue)
    drain(found)
    client.delete(f"{ROOT}/due/note")
    assert_indexed(queue)
    clock.now_ms += 1000
    drain(found)
    assert [places(queue)[name] for name in names] == [Place.UNOWNED] * 3
    assert_indexed(queue)


def test_an_unreadable_job_in_deferred_fails_alone(
    queue: JobQueue, client: KazooClient, clock: Clock
) -> None:
    [bad, good] = queue.submit([request(n, not_before_ms=START_MS + 1000) for n in (1, 2)])
    client.set(queue.layout.job(Place.DEFERRED, bad.name), b'{"not": "a job"}')
    clock.now_ms += 1000
    drain(releaser(queue))
    assert places(queue) == {bad.name: "done", good.name: Place.UNOWNED}
    assert_indexed(queue)


def test_a_queue_of_an_older_version_gets_its_place(client: KazooClient, clock: Clock) -> None:
    queue = JobQueue(client, ROOT, clock_ms=clock)
    queue.ensure_layout()
    for name in ("deferred", "due"):
        client.delete(f"{ROOT}/{name}")
    assert queue.counts()["deferred"] == 0
    [submission] = queue.submit([request(not_before_ms=START_MS + 1000)])
    assert places(queue) == {submission.name: Place.DEFERRED}
    assert_indexed(queue)


def test_many_due_jobs_are_released_a_thousand_at_a_time(client: KazooClient, clock: Clock) -> None:
    queue = JobQueue(client, ROOT, clock_ms=clock)
    queue.ensure_layout()
    count = 50 * MULTIS_AT_ONCE + 20
    queue.submit([request(n, not_before_ms=START_MS + 1000) for n in range(count)])
    assert queue.waiting() == []
    clock.now_ms += 1000
    found = releaser(queue)
    assert found.release() == 0.0
    assert queue.counts()["unowned"] == 50 * MULTIS_AT_ONCE
    assert found.release() != 0.0
    assert queue.counts() == {"deferred": 0, "unowned": count, "owned": 0, "done": 0}
    assert_indexed(queue)


def test_a_worker_reads_only_what_may_start_however_much_is_deferred(
    client: KazooClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = JobQueue(client, ROOT, clock_ms=clock)
    queue.ensure_layout()
    assert queue.register("w")
    late = [request(n, not_before_ms=START_MS + 10**9) for n in range(500)]
    queue.submit([*late[:250], request("ready"), *late[250:]])
    read: list[str] = []
    get_all = Znodes.get_all

    def counting(self: Znodes, wanted: Any) -> Any:
        read.extend(wanted)
        return get_all(self, wanted)

    monkeypatch.setattr(Znodes, "get_all", counting)
    [job] = take_all(queue)
    assert (job.groupid, len(read)) == ("ready", 1)
    read.clear()
    drain(releaser(queue))
    assert read == []


# --- A random life of a queue


class Life:
    """A queue whose users, workers and two housekeepers do what chance wants.

    ``known`` are the names of all jobs that were submitted: the model is that each is in one place.
    """

    def __init__(self, queue: JobQueue, clock: Clock, seed: int) -> None:
        self.queue = queue
        self.clock = clock
        self.chance = random.Random(seed)
        self.known: list[str] = []
        self.batches = 0
        self.keepers = [releaser(queue), releaser(queue)]

    def submit(self) -> None:
        chance, now_ms = self.chance, self.clock.now_ms
        wanted = [
            request(
                chance.randrange(5),
                parameters={"n": len(self.known) + n},
                not_before_ms=chance.choice([None, now_ms + chance.randrange(200_000)]),
                backoff_ms=chance.choice([0, 50_000]),
                priority=chance.choice([0, 7]),
            )
            for n in range(chance.randrange(1, 5))
        ]
        is_after = self.batches and chance.random() < 0.6
        after = f"b{chance.randrange(self.batches)}" if is_after else None
        self.known += queue_batch(self.queue, wanted, f"b{self.batches}", after=after).names
        self.batches += 1

    def cancel(self) -> None:
        self.queue.cancel(self.chance.sample(self.known, min(2, len(self.known))))

    def jump(self) -> None:
        self.clock.now_ms += self.chance.choice([-30_000, 1000, 60_000, 200_000])

    def change_keeper(self) -> None:
        self.keepers[self.chance.randrange(2)] = releaser(self.queue)

    def release_twice(self) -> None:
        threads = [threading.Thread(target=keeper.release) for keeper in self.keepers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def work(self) -> None:
        for job in take_all(self.queue):
            end = self.chance.randrange(3)
            if end == 0:
                self.queue.release(job)
            elif end == 1:
                self.queue.fail(job, "no")
            else:
                self.queue.finish(job, 1)

    def end(self) -> None:
        """Let time go by until all jobs are done."""
        for _ in range(200):
            if not self.queue.counts()["deferred"] and not self.queue.waiting():
                return
            self.clock.now_ms += 200_000
            for keeper in self.keepers:
                drain(keeper)
            for job in take_all(self.queue):
                self.queue.finish(job, 1)


@pytest.mark.parametrize("seed", range(4))
def test_every_job_is_in_one_place_whatever_happens(
    queue: JobQueue, clock: Clock, seed: int
) -> None:
    life = Life(queue, clock, seed)
    steps = [life.submit, life.submit, life.cancel, life.jump, life.change_keeper,
             life.release_twice, life.work, life.work]  # fmt: skip
    for _ in range(60):
        life.chance.choice(steps)()
        assert_indexed(queue)
        assert sorted(places(queue)) == sorted(life.known)
    life.end()
    assert set(places(queue).values()) <= {"done"}
    assert len(life.known) > 0
    assert_indexed(queue)


def test_two_moves_of_the_same_job_from_deferred_are_one(queue: JobQueue, clock: Clock) -> None:
    [submission] = queue.submit([request(not_before_ms=START_MS + 1000)])
    job = queue.find(submission.name)
    clock.now_ms += 1000
    move = Move(Event.RELEASE, Place.DEFERRED, job, job.put_off(clock.now_ms))
    assert [len(queue.mover.move([move])), len(queue.mover.move([move]))] == [1, 0]
    assert places(queue) == {submission.name: Place.UNOWNED}
    [owned] = take_all(queue)
    assert places(queue) == {submission.name: Place.OWNED}
    assert owned.waits_for is None


def test_an_entry_says_its_time_and_its_job() -> None:
    entry = parse_entry("000000000001000-entry-001-d:g-7")
    assert entry is not None
    assert (entry.not_before_ms, entry.name) == (1000, "entry-001-d:g-7")
    assert entry.child == "000000000001000-entry-001-d:g-7"
    assert parse_entry("1000-entry-001-d:g-7") is parse_entry("000000000001000-note") is None
