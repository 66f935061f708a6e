"""A queue has no more waiting jobs than its settings allow."""

import threading
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, numbered
from zoolet.jobs import (
    BatchExistsError,
    Dispatcher,
    InvalidJobError,
    JobQueue,
    JobRequest,
    QueueFullError,
    QueueSettings,
    UnknownBatchError,
)
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


def nothing_was_submitted(queue: JobQueue) -> bool:
    batches = queue.layout.znodes.children(queue.layout.znodes.path("batches"))
    return not batches and not sum(queue.counts().values())


def test_a_chord_is_submitted_as_a_whole_or_not_at_all(
    queue: JobQueue, client: KazooClient
) -> None:
    then = JobRequest("m:f")
    with Dispatcher(client, ROOT) as dispatcher:
        with pytest.raises(QueueFullError, match="so 6 more were"):
            dispatcher.submit_chord(numbered(5), then)
        invalid: list[tuple[type[Exception], JobRequest, dict[str, Any]]] = [
            (InvalidJobError, JobRequest(""), {}),
            (InvalidJobError, then, {"name": "a/b"}),
            (ValueError, then, {"when": "sometimes"}),
        ]
        for error, last, arguments in invalid:
            with pytest.raises(error):
                dispatcher.submit_chord(numbered(2), last, **arguments)
        assert nothing_was_submitted(queue)
        dispatcher.submit_batch([then], name="taken")
        with pytest.raises(BatchExistsError, match="a batch taken"):
            dispatcher.submit_chord(numbered(2), then, name="taken")
        dispatcher.submit_chord(numbered(3), then, name="fits")
    assert sum(queue.counts().values()) == 5


def test_a_map_with_its_merging_jobs_is_submitted_as_a_whole_or_not_at_all(
    queue: JobQueue, client: KazooClient, tmp_path: Path
) -> None:
    (tmp_path / "files").mkdir()
    for number in range(20):
        (tmp_path / "files" / f"{number}.bin").write_bytes(b"x")
    with Dispatcher(client, ROOT) as dispatcher:
        dispatcher.datasets.create("files", "files", tmp_path / "files")

        def ask(name: str) -> None:
            dispatcher.map("m:f", "files", reduce="m:g", name=name)

        # 20 jobs, 2 that merge their results, and 1 that merges the results of these.
        queue.configure(max_waiting_jobs=22)
        with Dispatcher(client, ROOT) as limited, pytest.raises(QueueFullError, match="so 23 more"):
            limited.map("m:f", "files", reduce="m:g")
        assert nothing_was_submitted(queue)
        queue.configure(max_waiting_jobs=28)
    with Dispatcher(client, ROOT) as dispatcher:
        with pytest.raises(InvalidJobError, match="batch name"):
            ask("x" * 198)
        assert nothing_was_submitted(queue)
        dispatcher.submit_batch(numbered(1), name="m-merged")
        with pytest.raises(BatchExistsError, match="m-merged"):
            ask("m")
        assert sum(queue.counts().values()) == 1
        ask("fits")
        assert sum(queue.counts().values()) == 24


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
