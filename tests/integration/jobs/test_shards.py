"""A queue of several shards: jobs on pages, found by their names; workers that see a part of it."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import (
    ROOT,
    all_results,
    assert_done_once,
    assert_in_one_place,
    numbered,
    write_tasks,
)
from zoolet.jobs import (
    Dispatcher,
    JobQueue,
    JobRequest,
    JobState,
    QueueSettings,
    Worker,
)
from zoolet.jobs.housekeeping import removal
from zoolet.jobs.housekeeping.removal import Remover
from zoolet.jobs.overview.overview import explain_job, queue_overview
from zoolet.jobs.records import job_names
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.worker import page_feed
from zoolet.jobs.znodes.layout import PAGE_JOBS

SHARDS = 4


@pytest.fixture
def queue(client: KazooClient) -> JobQueue:
    queue = JobQueue(client, ROOT)
    queue.ensure_layout(QueueSettings(shards=SHARDS))
    assert queue.register("w")
    return queue


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_tasks(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def dispatcher(client: KazooClient, queue: JobQueue) -> Iterator[Dispatcher]:
    assert queue.settings.shards == SHARDS
    with Dispatcher(client, ROOT) as dispatcher:
        yield dispatcher


def one_group(count: int, priority: int = 0) -> list[JobRequest]:
    return [JobRequest("m:f", "d", "g", {"n": n}, priority) for n in range(count)]


def test_a_job_is_found_by_its_name_in_every_place(queue: JobQueue, client: KazooClient) -> None:
    [submission] = queue.submit(one_group(1, priority=7))
    shard = queue.layout.shard_of("d", "g")
    assert submission.name == "entry-007-d:g-0000010000000000"
    page = f"{shard:03d}/007-000001"
    assert client.get_children(f"{ROOT}/unowned/{page}") == [submission.name]
    job = queue.own_job(submission.name, "w")
    assert client.get_children(f"{ROOT}/owned/{shard:03d}") == [submission.name]
    assert queue.find(submission.name).state is JobState.STAGING
    queue.finish(job, 1)
    assert client.get_children(f"{ROOT}/done/{page}") == [submission.name]
    assert queue.find(submission.name).result == 1
    assert queue.counts() == {"deferred": 0, "unowned": 0, "owned": 0, "done": 1}


def test_all_of_one_group_fill_page_after_page_in_order(
    queue: JobQueue, client: KazooClient
) -> None:
    submissions = queue.submit(one_group(2 * PAGE_JOBS + 120))
    shard = queue.layout.shard_of("d", "g")
    pages = queue.layout.pages(Place.UNOWNED, shard)
    assert pages == ["000-000001", "000-000002", "000-000003"]
    sizes = [len(client.get_children(f"{ROOT}/unowned/{shard:03d}/{page}")) for page in pages]
    assert sum(sizes) == 2 * PAGE_JOBS + 120
    assert max(sizes) <= PAGE_JOBS + 50
    assert [name.name for name in queue.waiting()] == [s.name for s in submissions]
    assert len({s.name for s in submissions}) == len(submissions)


def test_two_submitters_fill_the_same_pages(queue: JobQueue, server: Any) -> None:
    other_client = KazooClient(hosts=server.hosts)
    other_client.start()
    other = JobQueue(other_client, ROOT)
    names = [
        submission.name
        for number in range(30)
        for jobs in (queue, other)
        for submission in jobs.submit(
            [JobRequest("m:f", "d", "g", {"n": [number, id(jobs), n]}) for n in range(20)]
        )
    ]
    other_client.stop()
    other_client.close()
    assert len(set(names)) == 1200
    assert_in_one_place(queue, names)
    assert len(queue.layout.pages(Place.UNOWNED, queue.layout.shard_of("d", "g"))) == 3


def test_a_greater_priority_has_pages_of_its_own_that_come_first(queue: JobQueue) -> None:
    queue.submit(one_group(3))
    queue.submit(one_group(2, priority=9), reuse=False)
    shard = queue.layout.shard_of("d", "g")
    assert queue.layout.pages(Place.UNOWNED, shard) == ["009-000002", "000-000001"]
    assert [name.priority for name in queue.waiting()] == [9, 9, 0, 0, 0]


def test_pages_that_are_empty_are_removed_and_made_again_for_a_job_that_returns(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "PAGE_EMPTY_MS", -1000)
    submissions = queue.submit(one_group(PAGE_JOBS + 60))
    shard = queue.layout.shard_of("d", "g")
    jobs = [queue.own_job(s.name, "w") for s in submissions[:PAGE_JOBS]]
    remover = Remover(queue, ResultReader(queue))
    assert remover.remove_empty_pages() == 2
    assert queue.layout.pages(Place.UNOWNED, shard) == ["000-000002"]
    assert queue.layout.pages(Place.DONE, shard) == ["000-000002"]
    queue.release(jobs[0])
    queue.finish(jobs[1], "result")
    assert queue.waiting()[0].name == jobs[0].name
    assert queue.find(jobs[1].name).result == "result"
    # The number is not given again, although the newest page was removed too.
    assert job_names.parse(queue.submit(one_group(1), reuse=False)[0].name).page == 2  # type: ignore[union-attr]


def test_a_submitter_whose_page_was_removed_finds_another(
    queue: JobQueue, dispatcher: Dispatcher, client: KazooClient
) -> None:
    dispatcher.submit_batch(one_group(1))
    shard = queue.layout.shard_of("d", "g")
    [name] = queue.waiting()
    queue.finish(queue.own_job(name.name, "w"), 1)
    client.delete(f"{ROOT}/unowned/{shard:03d}/000-000001")
    [submission] = dispatcher.submit_batch(one_group(1), reuse=False).submissions
    assert submission.name == "entry-000-d:g-0000020000000000"


def test_workers_do_all_jobs_of_all_shards_once(
    queue: JobQueue, dispatcher: Dispatcher, server: Any, tasks: Path
) -> None:
    assert tasks
    options: Any = {"loader": "pipe_tasks:load", "threads": True, "locality_wait_ms": 10}
    with Worker(server.hosts, ROOT, **options), Worker(server.hosts, ROOT, **options):
        batch = dispatcher.submit_batch(numbered(800, groups=40))
        assert_done_once(queue, batch, all_results(batch))
    shards = Counter(queue.layout.shard_of("flights", str(group)) for group in range(40))
    assert len(shards) == SHARDS


@pytest.mark.usefixtures("tasks")
def test_a_worker_finds_jobs_in_the_shards_that_it_does_not_watch(
    queue: JobQueue, dispatcher: Dispatcher, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_feed, "WATCHERS", 0)
    monkeypatch.setattr(page_feed, "SHARDS_LEAST", 1)
    batch = dispatcher.submit_batch(numbered(200, groups=40))
    with Worker(server.hosts, ROOT, loader="pipe_tasks:load", threads=True, locality_wait_ms=10):
        assert_done_once(queue, batch, all_results(batch))


def test_each_shard_is_ranked_first_by_some(queue: JobQueue) -> None:
    firsts = Counter(page_feed.rank_shards(f"w{n}", range(16))[0] for n in range(800))
    assert set(firsts) == set(range(16))
    assert max(firsts.values()) < 100
    assert sorted(page_feed.rank_shards("w", range(16))) == list(range(16))
    assert queue.settings.shards == SHARDS


def test_an_overview_counts_by_pages(queue: JobQueue) -> None:
    queue.submit([JobRequest("m:f", "d", str(n), priority=n % 2) for n in range(20)])
    job = queue.own_job(queue.waiting()[0].name, "w")
    queue.finish(job, 1)
    found = queue_overview(queue)
    assert found.counts == {
        "deferred": Counter(),
        "unowned": Counter({1: 9, 0: 10}),
        "owned": Counter(),
        "done": Counter({1: 1}),
    }
    assert found.oldest is not None
    low = queue.find(queue.waiting()[-1].name)
    expected = "9 jobs of greater priority go first, on 1 executors"
    assert explain_job(queue, low) == expected
