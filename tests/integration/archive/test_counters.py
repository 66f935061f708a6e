"""The counter of a parent is raised on zoolet and on Apache ZooKeeper."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.support.waiting import WAIT_S
from zoolet.archive.live.counters import add_steps, counter_of, raise_counter
from zoolet.client import AsyncClient, CreateMode, Multi, NoNodeError
from zoolet.testing.servers.process import ExternalServer


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, WAIT_S))


async def next_number(client: AsyncClient, parent: str) -> int:
    created = await client.create(f"{parent}/s-", mode=CreateMode.PERSISTENT_SEQUENTIAL)
    return int(created.path.rpartition("-")[2])


async def counter_at(client: AsyncClient, path: str) -> int:
    stat = await client.exists(path)
    assert stat is not None
    return counter_of(stat)


def test_sequential_znodes_continue_at_the_raised_counter(any_server: ExternalServer) -> None:
    async def scenario() -> None:
        async with AsyncClient(any_server.hosts) as client:
            await client.create("/p")
            for name in "abc":
                await client.create(f"/p/{name}")
            await client.delete("/p/b")
            assert await counter_at(client, "/p") == 3
            assert await raise_counter(client, "/p", 2, 0) == 3  # nothing to do
            assert await raise_counter(client, "/p", 1204, 1200) == 3  # above the limit
            assert await raise_counter(client, "/p", 1203, 1200) == 1203
            assert sorted((await client.children("/p")).names) == ["a", "c"]
            assert await next_number(client, "/p") == 1203
            assert await raise_counter(client, "/p", 1210, 100) == 1210
            assert await next_number(client, "/p") == 1210
            with pytest.raises(NoNodeError):
                await raise_counter(client, "/missing", 1, 1)

    run(scenario())


def test_the_counter_of_a_parent_with_a_long_path_is_raised(any_server: ExternalServer) -> None:
    """250 steps with a path of 4,000 bytes are longer than jute.maxbuffer."""

    async def scenario() -> None:
        async with AsyncClient(any_server.hosts) as client:
            parent = ""
            for _ in range(20):
                parent += f"/{'x' * 200}"
                await client.create(parent)
            assert await raise_counter(client, parent, 300, 300) == 300
            assert await next_number(client, parent) == 300

    run(scenario())


def test_steps_in_the_multi_that_creates_the_parent(any_server: ExternalServer) -> None:
    async def scenario() -> None:
        async with AsyncClient(any_server.hosts) as client:
            batch = Multi().create("/q")
            add_steps(batch, "/q", 7)
            await client.multi(batch)
            assert await next_number(client, "/q") == 7

    run(scenario())
