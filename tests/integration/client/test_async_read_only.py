"""`AsyncClient` and read-only servers, with fake servers: real ones need an ensemble."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.async_clients import Inbox, on_loops, outcome, started
from tests.support.loops import RunOnLoop, until
from tests.support.read_only_server import fake_zookeeper
from zoolet.client import AsyncClient, ClientOptions, NoServerError, SessionState, ZooKeeperError


@contextlib.asynccontextmanager
async def two_fakes() -> AsyncIterator[tuple[Any, Any]]:
    async with fake_zookeeper(is_read_only=True) as one, fake_zookeeper(is_read_only=True) as two:
        yield one, two


@on_loops
def test_a_client_changes_to_a_read_write_server(run: RunOnLoop) -> None:
    async def scenario() -> None:
        async with two_fakes() as (one, two):
            hosts = f"{one.hosts},{two.hosts}"
            async with started(hosts, takes_read_only_server=True) as client:
                assert client.state is SessionState.READ_ONLY
                states, noticed = Inbox(), Inbox()
                client.add_listener(states)
                assert await client.exists("/a", watch=noticed) is None
                error = await outcome(client.create("/a"))
                assert isinstance(error, ZooKeeperError)
                assert "only reads" in str(error)
                reads_at, other = (one, two) if str(client.address) == one.hosts else (two, one)
                await until(lambda: len(other.words) >= 2)
                assert states.is_empty()
                other.is_read_only = False
                await states.until(SessionState.CONNECTED)
                assert str(client.address) == other.hosts
                assert set(other.words) == {b"isro"}
                assert not reads_at.words
                # A read-only server made the session, so no other server knows it.
                assert [connect.session_id for connect in other.connects] == [0]
                session = client.session_id
                other.is_read_only = True
                other.cut()
                await states.until(SessionState.READ_ONLY)
                assert client.session_id == session

    run(scenario())


@on_loops
def test_a_client_that_takes_no_read_only_server(run: RunOnLoop) -> None:
    async def scenario() -> None:
        async with two_fakes() as (one, two):
            hosts = f"{one.hosts},{two.hosts}"
            client = AsyncClient(hosts, ClientOptions(connect_timeout_s=0.5))
            with pytest.raises(NoServerError) as caught:
                await client.start()
            assert str(caught.value).count("the server closed the connection") == 2
            client = AsyncClient(hosts)
            starting = asyncio.create_task(client.start())
            two.is_read_only = False
            await starting
            assert str(client.address) == two.hosts
            assert not two.words
            await client.close()

    run(scenario())


@on_loops
def test_the_search_ends_with_the_client(run: RunOnLoop) -> None:
    async def scenario() -> None:
        async with two_fakes() as (one, two):
            hosts = f"{one.hosts},{two.hosts}"
            for _ in range(3):
                async with started(hosts, takes_read_only_server=True) as client:
                    assert client.state is SessionState.READ_ONLY
                    search = client._engine._search
                    assert search is not None
                assert search.cancelled()

    run(scenario())
