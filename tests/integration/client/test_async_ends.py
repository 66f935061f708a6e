"""The start and the end of an `AsyncClient`, when they are cancelled or calls are outstanding."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.support.async_clients import Calls, on_loops, outcome, started, until_sent
from tests.support.loops import RunOnLoop, until
from zoolet.client import (
    AsyncClient,
    ClientClosedError,
    ClientOptions,
    ConnectionLossError,
    SessionState,
)
from zoolet.testing import EmbeddedServer


@pytest.fixture
def embedded() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that accepts connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@on_loops
def test_cancelled_starts(run: RunOnLoop, embedded: EmbeddedServer, silent: str) -> None:
    async def scenario() -> None:
        for turns in range(40):
            client = AsyncClient(embedded.hosts, ClientOptions(session_timeout_ms=60_000))
            starting = asyncio.create_task(client.start())
            for _ in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            await client.close()
            assert client.state is (SessionState.CLOSED if turns else SessionState.CONNECTING)
        client = AsyncClient(silent)
        starting = asyncio.create_task(client.start())
        call = asyncio.create_task(outcome_when_started(client))
        await until(lambda: client._engine._link is not None)
        starting.cancel()
        assert isinstance(await call, ClientClosedError)

    run(scenario())


async def outcome_when_started(client: AsyncClient) -> object:
    await until(lambda: client._engine.is_started)
    return await outcome(client.get("/"))


@on_loops
def test_cancelled_closes(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        for turns in range(1, 8):
            client = AsyncClient(embedded.hosts, ClientOptions(max_outstanding_bytes=100))
            await client.start()
            embedded.pause()
            calls = [client.set("/a", bytes(60)) for _ in range(10)]
            await until_sent(client)
            closing = asyncio.create_task(client.close())
            for _ in range(turns):
                await asyncio.sleep(0)
            closing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await closing
            for call in calls:
                assert isinstance(await outcome(call), (ConnectionLossError, ClientClosedError))
            await client.close()
            assert client.state is SessionState.CLOSED
            embedded.resume()

    run(scenario())


@on_loops
def test_close_ends_all_calls(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        client = AsyncClient(embedded.hosts, ClientOptions(max_outstanding_bytes=500))
        await client.start()
        embedded.pause()
        calls: Calls = [client.set("/a", bytes(60)) for _ in range(100)]
        calls.append(client.add_auth("digest", "a:b"))
        await until_sent(client)
        await client.close(0.05)
        found = {type(await outcome(call)) for call in calls}
        assert found == {ConnectionLossError, ClientClosedError}
        embedded.resume()

    run(scenario())


@on_loops
def test_a_fault_of_the_client_ends_all_calls(
    run: RunOnLoop, embedded: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as client:
            order = client._engine.order
            monkeypatch.setattr(order, "next", lambda: 1 / 0)
            waits: Calls = []
            client.add_listener(lambda _: waits.append(client.get("/")))
            await asyncio.to_thread(embedded.stop)
            await until(lambda: client.state is SessionState.CLOSED)
            assert isinstance(await outcome(client.get("/")), ClientClosedError)
            assert isinstance(await outcome(waits[0]), ClientClosedError)

    run(scenario())
