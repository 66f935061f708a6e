"""Waiting for what no longer exists, or cannot end, is an error at once and no endless wait."""

import asyncio
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, numbered
from tests.support.waiting import WAIT_S, wait_until
from zoolet.jobs import (
    Batch,
    Dispatcher,
    JobNotFoundError,
    JobRequest,
    JobState,
    UnknownQueueError,
)
from zoolet.jobs.housekeeping.removal import Remover
from zoolet.jobs.queue import deleted_jobs
from zoolet.jobs.results.reader import ResultReader


@pytest.fixture
def dispatcher(client: KazooClient) -> Iterator[Dispatcher]:
    with Dispatcher(client, ROOT, create=True) as dispatcher:
        assert dispatcher.queue.register("w")
        yield dispatcher


def finish(dispatcher: Dispatcher, name: str) -> None:
    queue = dispatcher.queue
    queue.finish(queue.own_job(name, "w"), name)


def purge(dispatcher: Dispatcher) -> None:
    Remover(dispatcher.queue, ResultReader(dispatcher.queue)).apply(None, 0)


def lone(dispatcher: Dispatcher, group: str = "1") -> Batch:
    return dispatcher.submit("m:f", "d", group, reuse=False)


# --- It is gone before anyone waits


def test_a_result_that_retention_has_removed(dispatcher: Dispatcher) -> None:
    batch = lone(dispatcher)
    finish(dispatcher, batch.names[0])
    purge(dispatcher)
    with pytest.raises(JobNotFoundError, match=batch.names[0]):
        list(batch.results())
    assert batch.next_result() is None
    assert sum(batch.progress().values()) == 0


def test_a_followed_batch_of_which_some_jobs_were_removed(dispatcher: Dispatcher) -> None:
    first, second = dispatcher.submit_batch(numbered(2), name="night").names
    finish(dispatcher, first)
    purge(dispatcher)
    batch = dispatcher.batch("night")
    with pytest.raises(JobNotFoundError, match=first):
        batch.next_result()
    finish(dispatcher, second)
    assert [job.name for job in batch.results()] == [second]


def test_jobs_that_a_batch_joined_and_that_were_removed(dispatcher: Dispatcher) -> None:
    request = JobRequest("m:f", "d", "1", idempotency_key="k")
    lonely = dispatcher.submit_batch([request])
    batch = dispatcher.submit_batch([request])
    assert batch.names == lonely.names
    finish(dispatcher, batch.names[0])
    purge(dispatcher)
    with pytest.raises(JobNotFoundError):
        list(batch.results())


def test_asynchronous_code_gets_the_error_too(dispatcher: Dispatcher) -> None:
    batch = lone(dispatcher)
    finish(dispatcher, batch.names[0])
    purge(dispatcher)

    async def wait() -> None:
        await batch

    with pytest.raises(JobNotFoundError):
        asyncio.run(wait())


def test_a_done_znode_that_holds_no_job(dispatcher: Dispatcher, client: KazooClient) -> None:
    batch = lone(dispatcher)
    finish(dispatcher, batch.names[0])
    client.set(dispatcher.queue.layout.done(batch.names[0]), b"no job")
    [job] = batch.results()
    assert job.state is JobState.FAILED
    assert "is not a valid job" in job.last_error


def test_a_job_that_moves_is_not_taken_for_a_removed_one(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleted_jobs, "FIRST_S", 0.0)
    batch = lone(dispatcher)
    name = batch.names[0]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(batch.next_result, WAIT_S)
        for _ in range(50):
            dispatcher.queue.release(dispatcher.queue.own_job(name, "w"))
        assert not waiting.done()
        finish(dispatcher, name)
        job = waiting.result(WAIT_S)
    assert job is not None
    assert job.state is JobState.SUCCESSFUL


# --- It goes while someone waits


def delete_job(dispatcher: Dispatcher, client: KazooClient, batch: Batch) -> None:
    client.delete(dispatcher.queue.layout.unowned(batch.names[0]))


def finish_and_purge(dispatcher: Dispatcher, client: KazooClient, batch: Batch) -> None:
    assert client.connected
    finish(dispatcher, batch.names[0])
    purge(dispatcher)


def delete_queue(dispatcher: Dispatcher, client: KazooClient, batch: Batch) -> None:
    assert batch.names
    assert dispatcher.queue.counts()
    client.delete(ROOT, recursive=True)


REMOVALS = [
    (delete_job, JobNotFoundError),
    (finish_and_purge, JobNotFoundError),
    (delete_queue, UnknownQueueError),
]


@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize(("remove", "error"), REMOVALS)
def test_the_removal_ends_the_wait(
    dispatcher: Dispatcher,
    client: KazooClient,
    remove: Callable[..., None],
    error: type[Exception],
    *,
    is_named: bool,
) -> None:
    batch = dispatcher.submit_batch(numbered(1)) if is_named else lone(dispatcher)
    stirred = batch._stirred
    assert isinstance(stirred, SimpleQueue)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(batch.next_result)
        wait_until(stirred.empty, "the first look")
        remove(dispatcher, client, batch)
        try:
            job = waiting.result(WAIT_S)
        except error:
            return
    # The result was read before it was removed.
    assert remove is finish_and_purge
    assert job is not None


def test_a_batch_whose_record_was_removed_still_gives_its_results(
    dispatcher: Dispatcher, client: KazooClient
) -> None:
    batch = dispatcher.submit_batch(numbered(3), name="night")
    first, second, third = batch.names
    finish(dispatcher, first)
    assert next(batch.results()).name == first
    client.delete(f"{ROOT}/batches/night", recursive=True)
    finish(dispatcher, second)
    assert next(batch.results()).name == second
    assert batch.progress()[JobState.SUCCESSFUL] == 2
    finish(dispatcher, third)
    assert [job.name for job in batch.results()] == [third]


def test_submitting_to_a_queue_that_was_removed_is_an_error(
    dispatcher: Dispatcher, client: KazooClient
) -> None:
    lone(dispatcher)
    client.delete(ROOT, recursive=True)
    for reuse in (True, False):
        with pytest.raises(UnknownQueueError, match="there is no queue"):
            dispatcher.submit("m:f", "d", "1", reuse=reuse)
    with pytest.raises(UnknownQueueError):
        dispatcher.submit_batch(numbered(1))
    for call in (dispatcher.queue.check, dispatcher.queue.workers):
        with pytest.raises(UnknownQueueError):
            call()


@pytest.mark.parametrize("seed", range(4))
def test_each_job_ends_as_a_result_or_as_an_error(
    dispatcher: Dispatcher, client: KazooClient, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Model: each job of a batch is finished, or deleted by hand, or finished and purged."""
    monkeypatch.setattr(deleted_jobs, "FIRST_S", 0.01)
    chance = random.Random(seed)
    batch = dispatcher.submit_batch(numbered(40), name="night")
    layout, names = dispatcher.queue.layout, list(batch.names)
    deleted, finished, purged = set[str](), set[str](), set[str]()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_all_ends, batch)
        for name in chance.sample(names, len(names)):
            end = chance.choice(("delete", "finish", "purge"))
            if end == "delete":
                client.delete(layout.unowned(name))
                deleted.add(name)
                continue
            finish(dispatcher, name)
            (finished if end == "finish" else purged).add(name)
            if end == "purge":
                client.delete(layout.done(name))
        results, lost = waiting.result(WAIT_S)
    assert len(results) + lost == len(names)
    assert finished <= set(results) <= finished | purged
    assert deleted.isdisjoint(results)


def _all_ends(batch: Batch) -> tuple[list[str], int]:
    results: list[str] = []
    lost = 0
    while batch.outstanding:
        try:
            job: Any = batch.next_result()
        except JobNotFoundError:
            lost += 1
        else:
            results.append(job.name)
    return results, lost
