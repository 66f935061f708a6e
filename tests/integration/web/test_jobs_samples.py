"""Samples of queues: taken while somebody looks, bounded, with gaps while the server is away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from zoolet.client import AsyncClient, Client
from zoolet.jobs import AccessDeniedError, JobQueue, JobRequest, Place, UnknownQueueError
from zoolet.model.acl_texts import parse_acl
from zoolet.testing import EmbeddedServer, ServerProcess
from zoolet.web.clusters.clients import Connection
from zoolet.web.clusters.lists import ChildLists
from zoolet.web.jobs import samples
from zoolet.web.jobs.samples import KEPT_S, QueueSamples, SampledQueue

ROOT = "/jobs/a"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "EVERY_S", 0.01)


@asynccontextmanager
async def connected(hosts: str) -> AsyncIterator[Connection]:
    connection = Connection(7, AsyncClient(hosts), lambda: 0.0)
    await connection.started
    try:
        yield connection
    finally:
        await connection.client.close(1.0)


def run(hosts: str, work: Callable[[QueueSamples, Connection, Clock], Awaitable[None]]) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with connected(hosts) as connection:
            queues = QueueSamples(ChildLists(), clock, clock)
            try:
                async with asyncio.timeout(60):
                    await work(queues, connection, clock)
            finally:
                queues.close()

    asyncio.run(scenario())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


@pytest.fixture
def queue(zk: Client) -> JobQueue:
    queue = JobQueue(zk, ROOT)
    queue.ensure_layout()
    return queue


def test_samples_follow_the_queue(server: EmbeddedServer, queue: JobQueue) -> None:
    async def work(queues: QueueSamples, connection: Connection, clock: Clock) -> None:
        first, second = await asyncio.gather(
            queues.look(connection, ROOT), queues.look(connection, ROOT)
        )
        assert first is second
        assert [one.jobs[Place.UNOWNED] for one in first.samples] == [0]
        assert first.samples[-1].successful_per_s is None
        await asyncio.to_thread(queue.submit, [JobRequest("m:f")] * 3)
        assert await asyncio.to_thread(queue.register, "w", b'{"successful": 2}')
        clock.s += 5
        await until(lambda: first.samples[-1].jobs[Place.UNOWNED] == 3)
        await until(lambda: first.samples[-1].workers == 1)
        await asyncio.to_thread(queue.report, "w", b'{"successful": 32, "failed_attempts": "x"}')
        clock.s += 5
        await until(lambda: first.samples[-1].successful_per_s == 32 / 10)
        assert first.samples[-1].failed_per_s == 0
        assert first.now.overview.oldest is not None

    run(server.hosts, work)


def test_nobody_looks_any_more(server: EmbeddedServer, queue: JobQueue) -> None:
    del queue

    async def work(queues: QueueSamples, connection: Connection, clock: Clock) -> None:
        found = await queues.look(connection, ROOT)
        await until(lambda: len(found.samples) > 2)
        clock.s += KEPT_S + 1
        await until(lambda: not queues._entries)
        assert await queues.look(connection, ROOT) is not found
        queues.forget(8)
        assert queues._entries
        queues.forget(7)
        assert not queues._entries
        await queues.look(connection, ROOT)
        await connection.client.close()
        await until(lambda: not queues._entries)

    run(server.hosts, work)


def test_requests_share_an_overview(server: EmbeddedServer, queue: JobQueue) -> None:
    async def work(queues: QueueSamples, connection: Connection, clock: Clock) -> None:
        first, second = await asyncio.gather(*(queues.overview(connection, ROOT) for _ in range(2)))
        assert first is second
        await asyncio.to_thread(queue.submit, [JobRequest("m:f")])
        assert await queues.overview(connection, ROOT) is first
        clock.s += 1
        assert (await queues.overview(connection, ROOT)).total(Place.UNOWNED) == 1
        for _ in range(2):
            with pytest.raises(UnknownQueueError):
                await queues.overview(connection, "/jobs/none")
        clock.s += 1
        await queues.overview(connection, ROOT)
        assert len(queues._overviews) == 1

    run(server.hosts, work)


def test_the_number_of_queues_is_bounded(
    server: EmbeddedServer, zk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "MOST_QUEUES", 3)
    roots = [f"/jobs/{number}" for number in range(5)]
    for root in roots:
        JobQueue(zk, root).ensure_layout()

    async def work(queues: QueueSamples, connection: Connection, clock: Clock) -> None:
        del clock
        await asyncio.gather(*(queues.look(connection, root) for root in roots))
        assert [root for _, root in queues._entries] == roots[2:]
        await queues.look(connection, roots[0])
        assert len(queues._entries) == 3

    run(server.hosts, work)


def test_a_queue_that_is_removed_or_forbidden_is_an_error_again(
    server: EmbeddedServer, zk: Client, queue: JobQueue
) -> None:
    del queue

    async def work(queues: QueueSamples, connection: Connection, clock: Clock) -> None:
        del clock
        with pytest.raises(UnknownQueueError):
            await queues.look(connection, "/jobs/none")
        await queues.look(connection, ROOT)
        acl = await asyncio.to_thread(zk.get_acl, f"{ROOT}/settings")
        nobody = parse_acl("digest:a:b:cdrwa,world:anyone:cdwa")
        await asyncio.to_thread(zk.set_acl, f"{ROOT}/settings", nobody)
        await until(lambda: not queues._entries)
        with pytest.raises(AccessDeniedError):
            await queues.look(connection, ROOT)
        await asyncio.to_thread(zk.set_acl, f"{ROOT}/settings", acl.acl)
        await queues.look(connection, ROOT)
        await asyncio.to_thread(zk.delete_recursive, ROOT)
        await until(lambda: not queues._entries)
        with pytest.raises(UnknownQueueError):
            await queues.look(connection, ROOT)

    run(server.hosts, work)


def test_the_server_stops_and_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoolet.jobs.znodes.requests.TIMEOUT_S", 0.5)
    monkeypatch.setattr("zoolet.jobs.queue.queue.TIMEOUT_S", 0.5)
    with ServerProcess(tmp_path / "server") as process:
        with Client(process.hosts) as zk:
            JobQueue(zk, ROOT).ensure_layout()

        async def work(queues: QueueSamples, connection: Connection, clock: Clock) -> None:
            del clock
            found: SampledQueue = await queues.look(connection, ROOT)
            await asyncio.to_thread(process.stop)
            await until(lambda: found.problem != "")
            count = len(found.samples)
            await asyncio.to_thread(process.start)
            await until(lambda: found.problem == "" and len(found.samples) > count)
            assert await queues.look(connection, ROOT) is found

        run(process.hosts, work)
