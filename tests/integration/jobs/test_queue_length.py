"""A queue has no more waiting jobs than its settings allow."""

import threading

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, numbered
from zoolet.jobs import Dispatcher, JobQueue, QueueFullError, QueueSettings, UnknownBatchError
from zoolet.jobs.znodes.edge import Znodes


@pytest.fixture(params=[1, 3], ids=["flat", "sharded"])
def queue(request: pytest.FixtureRequest, client: KazooClient) -> JobQueue:
    queue = JobQueue(client, ROOT)
    queue.ensure_layout(QueueSettings(shards=request.param, max_waiting_jobs=5))
    assert queue.register("w")
    return queue


def test_a_submission_that_is_too_large_is_refused_as_a_whole(
    queue: JobQueue, client: KazooClient
) -> None:
    with Dispatcher(client, ROOT) as dispatcher:
        dispatcher.submit_batch(numbered(2))
        dispatcher.submit("m:f", not_before_ms=4_000_000_000_000)
        with pytest.raises(QueueFullError, match="3 waiting jobs and may have 5, so 3 more were"):
            dispatcher.submit_batch(numbered(3, round=2), name="late")
        with pytest.raises(UnknownBatchError):
            dispatcher.batch("late")
        dispatcher.submit_batch(numbered(2, round=3))
        with pytest.raises(QueueFullError, match="--max-waiting-jobs"):
            dispatcher.submit("m:f")
        assert sum(queue.counts().values()) == 5


def test_jobs_that_are_taken_do_not_count(queue: JobQueue) -> None:
    names = [one.name for one in queue.submit(numbered(5))]
    jobs = queue.own_jobs(names, "w").owned
    queue.submit(numbered(5, round=2))
    with pytest.raises(QueueFullError):
        queue.submit(numbered(1, round=3))
    # A job that returns is never refused.
    queue.fail(jobs[0], "trouble")
    assert queue.counts()["unowned"] == 6


def test_programs_that_submit_at_once_exceed_the_limit_by_their_own_jobs(queue: JobQueue) -> None:
    def submit(number: int) -> None:
        for step in range(10):
            try:
                queue.submit(numbered(1, round=10 * number + step))
            except QueueFullError:
                return

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 5 <= queue.counts()["unowned"] <= 5 + 3


def test_without_a_limit_nothing_is_counted(
    client: KazooClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = JobQueue(client, ROOT)
    queue.ensure_layout()
    queue.submit(numbered(1))

    def refuse(*_: object) -> None:
        raise AssertionError("a submission reads znodes")

    monkeypatch.setattr(Znodes, "get_all", refuse)
    queue.submit(numbered(1, round=2))
