"""When a worker lists a page again: after a pause, or after lost tries that took as long."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from zoolet.jobs.records import job_names
from zoolet.jobs.records.job_names import PAGE_SHIFT
from zoolet.jobs.worker import page_feed
from zoolet.jobs.worker.page_feed import LOST_JOB_NAMES, LOST_TRY_NAMES, Feed
from zoolet.jobs.worker.selection import Affinity, Candidate
from zoolet.jobs.znodes.layout import page_order

FLAT = (0, "")


class Queue:
    """A queue of one shard, as far as a feed knows it; counts the lists of its page."""

    shards = range(1)

    def __init__(self, count: int) -> None:
        self.lists = 0
        self.watches: list[Any] = []
        self.names = [f"{job_names.build(1, 'd', 'g')}{n:010d}" for n in range(count)]
        self.znodes = self

    def path(self, name: str) -> str:
        return f"/{name}"

    def count_children(self, path: str) -> int:
        del path
        return 2

    def pages(self, place: str, shard: int, watch: object) -> list[str]:
        del place, shard, watch
        return [""]

    def page(self, place: str, shard: int, page: str) -> str:
        del shard, page
        return f"/{place}"

    def children(self, path: str, watch: Any) -> Sequence[str]:
        del path
        self.lists += 1
        self.watches.append(watch)
        return self.names

    def change(self) -> None:
        self.watches.pop()(None)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(s=100.0)
    monkeypatch.setattr(page_feed, "time", SimpleNamespace(monotonic=lambda: clock.s))
    return clock


def feed_of(queue: Queue) -> Feed:
    feed = Feed(queue, "w", lambda: None)  # type: ignore[arg-type]
    feed.refresh()
    queue.change()
    feed.refresh()
    assert queue.lists == 1, "the second list must wait"
    return feed


def some(feed: Feed, count: int) -> list[Candidate]:
    return feed.waiting.choose(count, 0.0, Affinity()).jobs


@pytest.mark.parametrize("count", [10, 1000, 5000])
def test_lost_tries_allow_a_list_when_they_took_as_long(now: SimpleNamespace, count: int) -> None:
    queue = Queue(count)
    feed = feed_of(queue)
    tries = 0
    while queue.lists == 1:
        feed.lost(some(feed, 5))
        feed.refresh()
        tries += 1
    assert tries == -(-count // (LOST_TRY_NAMES + 5 * LOST_JOB_NAMES))
    queue.change()
    feed.refresh()
    assert queue.lists == 2, "the tries before a list do not allow another one"
    now.s += 10.0
    feed.refresh()
    assert queue.lists == 3


def test_a_try_in_which_no_job_was_lost_allows_no_list(now: SimpleNamespace) -> None:
    queue = Queue(10)
    feed = feed_of(queue)
    feed.lost([])
    feed.refresh()
    assert queue.lists == 1
    now.s += 10.0
    feed.refresh()
    assert queue.lists == 2


class PagedQueue(Queue):
    """A queue of two shards, whose jobs are on pages; records which pages are listed."""

    shards = range(2)

    def __init__(self, pages: dict[str, int]) -> None:
        super().__init__(0)
        self.count_on = pages
        self.listed: list[str] = []

    def pages(self, place: str, shard: int, watch: object) -> list[str]:
        del place, shard, watch
        return sorted(self.count_on, key=page_order)

    def page(self, place: str, shard: int, page: str) -> str:
        del place
        return f"{shard}/{page}"

    def children(self, path: str, watch: Any) -> Sequence[str]:
        del watch
        self.listed.append(path)
        shard, _, page = path.partition("/")
        priority, number = page.split("-")
        start = int(number) * PAGE_SHIFT
        names = [f"{job_names.build(int(priority), 'd', shard)}{start + n:016d}" for n in range(9)]
        return names[: self.count_on[page]]


def all_allowed(dataset: str) -> bool:
    del dataset
    return True


@pytest.mark.usefixtures("now")
def test_the_oldest_jobs_of_each_shard_need_one_more_list() -> None:
    queue = PagedQueue({"009-000002": 9, "009-000004": 9, "001-000001": 3, "001-000003": 9})
    feed = Feed(queue, "w", lambda: None)  # type: ignore[arg-type]
    feed.waiting.keep_ages(wanted=True)
    feed.refresh()
    assert sorted(queue.listed) == ["0/009-000002", "1/009-000002"]
    queue.listed.clear()
    oldest = feed.take_oldest(4, all_allowed)
    assert sorted(queue.listed) == ["0/001-000001", "1/001-000001"]
    assert sorted((one.page[0], one.job.sequence) for one in oldest) == [
        (shard, PAGE_SHIFT + number) for shard in (0, 1) for number in (0, 1)
    ]
    queue.listed.clear()
    # The oldest pages become empty; the next ones in age have a greater priority.
    assert [one.job.priority for one in feed.take_oldest(4, all_allowed)] == [1, 1, 9, 9]
    assert queue.listed == []


@pytest.mark.usefixtures("now")
def test_paused_jobs_do_not_hide_the_jobs_behind_them() -> None:
    queue = PagedQueue({"001-000001": 9, "001-000002": 9})
    feed = Feed(queue, "w", lambda: None)  # type: ignore[arg-type]
    feed.waiting.keep_ages(wanted=True)
    feed.refresh()
    assert feed.take_oldest(4, lambda _: False) == []
    assert feed.waiting.paused_count == 36
    feed.waiting.unpause()
    assert [one.job.page for one in feed.take_oldest(4, all_allowed)] == [1] * 4


def test_the_oldest_jobs_of_a_queue_without_pages_need_no_list(now: SimpleNamespace) -> None:
    del now
    queue = Queue(100)
    feed = Feed(queue, "w", lambda: None)  # type: ignore[arg-type]
    feed.waiting.keep_ages(wanted=True)
    feed.refresh()
    assert [one.job.sequence for one in feed.take_oldest(5, all_allowed)] == list(range(5))
    assert queue.lists == 1
