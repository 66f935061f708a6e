"""How pages read queues: which there are, their overviews, bounded also with many jobs."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import pytest

from zoolet.client import AsyncClient, Client
from zoolet.jobs import (
    AsyncDispatcher,
    Dispatcher,
    JobQueue,
    JobRequest,
    Place,
    QueueSettings,
    UnknownQueueError,
    explain_job,
    job_lists,
    jobs_in,
    queue_overview,
)
from zoolet.testing import EmbeddedServer
from zoolet.web.clusters.clients import Connection
from zoolet.web.clusters.lists import ChildLists
from zoolet.web.jobs.reading import find_queues, open_queue
from zoolet.web.jobs.samples import QueueSamples

T = TypeVar("T")


def with_connection(server: EmbeddedServer, work: Callable[[Connection], Awaitable[T]]) -> T:
    async def run() -> T:
        connection = Connection(1, AsyncClient(server.hosts), lambda: 0.0)
        await connection.started
        try:
            return await work(connection)
        finally:
            await connection.client.close()

    return asyncio.run(run())


def submit(server: EmbeddedServer, root: str, count: int, shards: int = 1) -> list[str]:
    """Submit jobs to a new queue; return their names."""
    requests = [JobRequest("m:f", "d", str(number), priority=number % 3) for number in range(count)]
    with Client(server.hosts) as client:
        JobQueue(client, root).ensure_layout(QueueSettings(shards=shards))
    with Dispatcher(server.hosts, root) as dispatcher:
        return list(dispatcher.submit_batch(requests).names)


def test_queues_are_found_below_a_znode(server: EmbeddedServer, zk: Client) -> None:
    submit(server, "/jobs/a", 3)
    submit(server, "/jobs/b", 5, shards=4)
    zk.create("/jobs/team")
    zk.create("/jobs/zz")
    zk.create("/jobs/zz/settings", b"not valid")

    async def look(connection: Connection) -> None:
        overview_of = QueueSamples(ChildLists(), time.monotonic, time.time).overview
        find = partial(find_queues, ChildLists(), connection, start=0, overview_of=overview_of)
        found = await find(root="/jobs", filter_text="")
        assert (found.total, found.is_queue) == (4, False)
        a, b, team, zz = found.children
        assert [child.name for child in found.children] == ["a", "b", "team", "zz"]
        assert a.overview is not None
        assert a.overview.total(Place.UNOWNED) == 3
        assert a.overview.why == "the queue has no worker: start zoolet worker"
        assert b.overview is not None
        assert b.overview.counts[Place.UNOWNED] == {0: 2, 1: 2, 2: 1}
        assert (team.is_queue, team.overview) == (False, None)
        assert (zz.is_queue, zz.overview, zz.error != "") == (True, None, True)
        assert (await find(root="/jobs/a", filter_text="")).is_queue
        assert (await find(root="/jobs", filter_text="TEA")).total == 1

    with_connection(server, look)


async def look_at(connection: Connection, path: str) -> None:
    async with open_queue(connection, path):
        pass


def test_there_must_be_a_queue(server: EmbeddedServer) -> None:
    with pytest.raises(UnknownQueueError, match="/none"):
        with_connection(server, lambda connection: look_at(connection, "/none"))


def test_the_names_of_many_jobs_are_not_read(server: EmbeddedServer, zk: Client) -> None:
    del zk
    submit(server, "/jobs/a", 10)

    async def look(dispatcher: AsyncDispatcher) -> None:
        queue = dispatcher.queue
        few = await dispatcher.run(queue_overview, queue, most_names=9)
        assert few.counts[Place.UNOWNED] == {-1: 10}
        assert (few.oldest, few.why) == (None, "")
        all_of_them = await dispatcher.run(queue_overview, queue, most_names=10)
        assert all_of_them.counts[Place.UNOWNED] == {0: 4, 1: 3, 2: 3}
        assert all_of_them.oldest is not None
        await dispatcher.run(queue.register, "w", b'{"executors": 2}')
        few = await dispatcher.run(queue_overview, queue, most_names=9)
        why = await dispatcher.run(explain_job, queue, all_of_them.oldest, few)
        assert why.startswith("10 jobs can start, on 2 executors; jobs of greater priority")

    async def open_it(connection: Connection) -> None:
        async with open_queue(connection, "/jobs/a") as dispatcher:
            await look(dispatcher)
        assert await connection.client.exists("/jobs/a") is not None  # the client is still open

    with_connection(server, open_it)


@pytest.mark.parametrize("shards", [1, 4])
def test_a_queue_has_lists_of_jobs(server: EmbeddedServer, zk: Client, shards: int) -> None:
    names = submit(server, "/jobs/a", 20, shards)
    queue = JobQueue(zk, "/jobs/a")
    lists = job_lists(queue, Place.UNOWNED)
    assert len({found.path for found in lists}) == len(lists) >= (1 if shards == 1 else 8)
    assert sum(found.jobs for found in lists) == 20
    listed = [name for found in lists for name in found.names(zk.children(found.path).names)]
    assert sorted(name.name for name in listed) == sorted(names)
    priorities = [name.priority for name in listed]
    assert priorities == sorted(priorities, reverse=True)
    assert len(jobs_in(queue, Place.UNOWNED, names)) == 20
    assert job_lists(queue, Place.DONE) == []
    queue.cancel(names)
    [*lists] = job_lists(queue, Place.DONE)
    for found in lists:
        sequences = [name.sequence for name in found.names(zk.children(found.path).names)]
        assert sequences == sorted(sequences, reverse=True)
    assert jobs_in(queue, Place.UNOWNED, names) == []
