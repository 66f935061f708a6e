"""Watchers of data and of children, of both clients, on zoolet and on Apache ZooKeeper."""

import asyncio
import queue
from typing import Any

import pytest

from tests.support.both_clients import LIMIT_S, both, clients_of, run, until
from zoolet.client import DeadlineError
from zoolet.testing import EmbeddedServer, OpCode
from zoolet.testing.servers.process import ExternalServer


@both
def test_the_data_of_a_znode_come_each_time_they_change(
    any_server: ExternalServer, kind: str
) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client, other = await make(any_server.hosts), await make(any_server.hosts)
            watcher = client.data_watcher("/a")
            assert await watcher.next(timeout_s=LIMIT_S) is None
            with pytest.raises(DeadlineError):
                await watcher.next(timeout_s=0.05)
            await other.create("/a", b"1")
            assert (await watcher.next(timeout_s=LIMIT_S)).data == b"1"
            stat = await other.set("/a", b"2")
            found = await watcher.next(timeout_s=LIMIT_S)
            assert (found.data, found.stat) == (b"2", stat)
            await other.create("/a/child")
            await other.delete("/a/child")
            with pytest.raises(DeadlineError):
                await watcher.next(timeout_s=0.05)
            await other.delete("/a")
            assert await watcher.next(timeout_s=LIMIT_S) is None
            await other.create("/a", b"3")
            async for found in watcher:
                assert found.data == b"3"
                break
            watcher.stop()
            with pytest.raises(StopAsyncIteration):
                await watcher.__anext__()

    run(scenario())


@both
def test_the_children_come_each_time_they_change(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client, other = await make(any_server.hosts), await make(any_server.hosts)
            async with client.children_watcher("/a") as watcher:
                assert await watcher.next(timeout_s=LIMIT_S) is None
                await other.create("/a")
                assert (await watcher.next(timeout_s=LIMIT_S)).names == ()
                await other.create("/a/b")
                assert (await watcher.next(timeout_s=LIMIT_S)).names == ("b",)
                await other.set("/a", b"data")
                await other.create("/a/b/c")
                with pytest.raises(DeadlineError):
                    await watcher.next(timeout_s=0.05)
                await other.delete_recursive("/a")
                found = await watcher.next(timeout_s=LIMIT_S)
                while found is not None:
                    found = await watcher.next(timeout_s=LIMIT_S)

    run(scenario())


def function_of(kind: str, function: Any) -> Any:
    async def with_await(value: Any) -> Any:
        return function(value)

    return with_await if kind == "asyncio" else function


@both
def test_a_function_is_called_with_each_value_until_it_returns_false(
    any_server: ExternalServer, kind: str
) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client = await make(any_server.hosts)
            await client.create("/a", b"0")
            seen: queue.Queue[bytes | None] = queue.Queue()

            def note(found: Any) -> bool | None:
                seen.put(found and found.data)
                if found is not None and found.data == b"2":
                    raise ValueError("logged")
                return False if found is None else None

            client.data_watcher("/a").start(function_of(kind, note))
            assert (await asyncio.to_thread(seen.get, True, LIMIT_S)) == b"0"
            for data in (b"1", b"2", b"3"):
                await client.set("/a", data)
                assert (await asyncio.to_thread(seen.get, True, LIMIT_S)) == data
            await client.delete("/a")
            assert await asyncio.to_thread(seen.get, True, LIMIT_S) is None
            inner = getattr(client, "inner", client)
            await until(lambda: len(inner._engine.session.watches) == 0, "no watch")
            await client.create("/a", b"4")
            await client.sync("/")
            assert seen.empty()

    run(scenario())


@both
def test_the_newest_value_comes_after_a_lost_connection_and_an_expired_session(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client, other = await make(server.hosts), await make(server.hosts)
                await other.create("/a", b"0")
                data, children = client.data_watcher("/a"), client.children_watcher("/a")
                assert (await data.next(timeout_s=LIMIT_S)).data == b"0"
                assert (await children.next(timeout_s=LIMIT_S)).names == ()
                for number in range(6):
                    waiting = [
                        asyncio.ensure_future(watcher.next(timeout_s=LIMIT_S))
                        for watcher in (data, children)
                    ]
                    if number % 2:
                        server.faults.cut(client.session_id.id)
                    else:
                        server.faults.expire(client.session_id.id)
                    with server.faults.on(OpCode.GET_DATA).drop_reply():
                        await other.set("/a", b"%d" % number + b"!")
                        await other.create(f"/a/{number}")
                        found = await waiting[0]
                    assert found.data == b"%d" % number + b"!"
                    assert len((await waiting[1]).names) == number + 1

    run(scenario())


@both
def test_the_iteration_ends_when_the_client_is_closed(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                watcher = client.data_watcher("/a")
                assert await watcher.next() is None
                waiting = asyncio.ensure_future(watcher.__anext__())
                await until(lambda: len(server.inside.watches()) == 1, "the watch")
                await client.close()
                with pytest.raises(StopAsyncIteration):
                    await waiting
                with pytest.raises(StopAsyncIteration):
                    await watcher.__anext__()

    run(scenario())


@both
def test_a_watcher_of_a_closed_client_has_no_next_value(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                watcher = client.data_watcher("/a")
                assert await watcher.__anext__() is None
                await client.close()
                for _ in range(2):
                    with pytest.raises(StopAsyncIteration):
                        await asyncio.wait_for(watcher.__anext__(), LIMIT_S)

    run(scenario())


@both
def test_a_watcher_follows_the_session_that_comes_between_two_values(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client, other = await make(server.hosts), await make(server.hosts)
                watcher = client.data_watcher("/a")
                assert await watcher.next(timeout_s=LIMIT_S) is None
                first = client.session_id.id
                server.faults.expire(first)
                await until(lambda: client.session_id.id != first, "the next session")
                await other.create("/a", b"1")
                found = await watcher.next(timeout_s=LIMIT_S)
                assert found.data == b"1"

    run(scenario())


def test_a_cancelled_wait_can_go_on() -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of("asyncio") as make:
                client = await make(server.hosts)
                watcher = client.data_watcher("/a")
                assert await watcher.next() is None
                for steps in range(10):
                    waiting = asyncio.ensure_future(watcher.next())
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    waiting.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await waiting
                await client.create("/a", b"1")
                found = await watcher.next(timeout_s=LIMIT_S)
                assert found is not None
                assert client._engine.listeners == []

    run(scenario())
