"""Cancelled calls of `AsyncClient`: the session goes on, and no watch, task or future is left."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.async_clients import (
    Calls,
    Inbox,
    on_loops,
    outcome,
    started,
    until_sent,
    watches_of,
)
from tests.support.loops import RunOnLoop, until
from zoolet.client import (
    AddWatchMode,
    AsyncClient,
    ConnectionLossError,
    DeadlineError,
    EventType,
    SessionState,
)
from zoolet.model.codes import OpCode
from zoolet.testing import EmbeddedServer
from zoolet.testing.servers.process import ExternalServer


@pytest.fixture
def embedded() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


def ignored(_what: object) -> None:
    pytest.fail("the watch of a cancelled call was called")


def cancel(calls: Calls) -> None:
    for call in calls:
        call.cancel()


async def assert_works(client: AsyncClient) -> None:
    """The client works, and has no watch and no outstanding call."""
    assert await client.exists("/") is not None
    assert len(client._engine.session.watches) == 0
    assert not client._engine.session.has_outstanding
    assert client._engine.session.outstanding_bytes == 0


@on_loops
def test_cancelled_before_it_is_sent(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as client:
            await asyncio.to_thread(embedded.stop)
            await until(lambda: client.state is SessionState.SUSPENDED)
            calls: Calls = [client.create(f"/{number}") for number in range(10)]
            calls.append(client.exists("/a", watch=ignored))
            task = asyncio.create_task(outcome(client.create("/task")))
            await asyncio.sleep(0)
            for call in (*calls, task):
                call.cancel()
            await asyncio.gather(*calls, task, return_exceptions=True)
            await asyncio.to_thread(embedded.start)
            await client.create("/last")
            sent = [request.op_code for request in embedded.inside.requests(client.session_id.id)]
            assert sent.count(OpCode.CREATE2) == 1
            assert watches_of(embedded, client) == set()
            await assert_works(client)

    run(scenario())


@on_loops
def test_cancelled_while_too_many_bytes_are_outstanding(
    run: RunOnLoop, embedded: EmbeddedServer
) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts, max_outstanding_bytes=1000) as client:
            embedded.pause()
            first = client.create("/first", bytes(1000))
            await until_sent(client)
            calls = [client.create(f"/{number}", bytes(500)) for number in range(10)]
            for call in calls[:-1]:
                call.cancel()
            await asyncio.gather(*calls[:-1], return_exceptions=True)
            embedded.resume()
            await asyncio.gather(first, calls[-1])
            assert sorted((await client.children("/")).names) == ["9", "first", "zookeeper"]
            await assert_works(client)

    run(scenario())


@on_loops
def test_cancelled_in_the_moment_of_its_start(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    """The server may get it; the session works, and no watch is left."""

    async def scenario() -> None:
        async with started(embedded.hosts) as client:
            for number in range(20):
                client.create(f"/{number}").cancel()
                client.exists("/a", watch=ignored).cancel()
                client.add_watch("/b", ignored).cancel()
            await assert_works(client)
            await client.exists("/")
            assert watches_of(embedded, client) == set()
            await client.create("/a")
            await client.create("/b")
            await assert_works(client)

    run(scenario())


@on_loops
def test_cancelled_while_the_connection_is_lost(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    """A call is started in the iteration in which the connection ends, and cancelled later."""

    async def scenario() -> None:
        async with started(embedded.hosts) as client:
            await asyncio.to_thread(embedded.stop)
            calls: Calls = []
            while client.state is SessionState.CONNECTED:
                calls.append(client.create("/a"))
                await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.to_thread(embedded.start)
            await client.exists("/")
            assert await client.exists("/a") is None
            await assert_works(client)

    run(scenario())


@on_loops
def test_cancelled_after_it_was_sent(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as client:
            await client.create("/a")
            embedded.pause()
            calls: Calls = [
                client.create("/created"),
                client.get("/a", watch=ignored),
                client.children("/a", watch=ignored),
                client.exists("/missing", watch=ignored),
                client.get("/missing", watch=ignored),
                client.add_watch("/a", ignored),
                client.add_watch("/deep", ignored, mode=AddWatchMode.PERSISTENT_RECURSIVE),
            ]
            await until_sent(client)
            for call in calls:
                call.cancel()
            embedded.resume()
            assert await client.exists("/created") is not None
            await assert_works(client)
            assert watches_of(embedded, client) == set()
            await client.set("/a", b"x")
            await client.create("/a/b")
            await client.create("/missing")
            await assert_works(client)

    run(scenario())


@on_loops
def test_cancelled_by_a_watch_before_the_reply_in_the_same_read(
    run: RunOnLoop, embedded: EmbeddedServer
) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as client, started(embedded.hosts) as other:
            await client.create("/a")
            calls: Calls = []
            await client.get("/a", watch=lambda _: cancel(calls))
            embedded.pause()
            change = other.set("/a", b"x")
            await until_sent(other)
            calls += [client.get("/a", watch=ignored), client.exists("/b", watch=ignored)]
            await until_sent(client)
            embedded.resume()
            await change
            found = await asyncio.gather(*calls, return_exceptions=True)
            await assert_works(client)
            assert all(isinstance(each, asyncio.CancelledError) for each in found)
            assert watches_of(embedded, client) == set()

    run(scenario())


@on_loops
def test_a_cancelled_watch_leaves_the_others(run: RunOnLoop, any_server: ExternalServer) -> None:
    """Also a watch whose call comes just after the cancelled one, and one of another kind."""

    async def scenario() -> None:
        async with started(any_server.hosts) as client:
            kept = Inbox()
            for path in ("/a", "/b", "/c"):
                await client.create(path)
            await client.children("/a", watch=kept)
            cancelled = [client.get(path, watch=ignored) for path in ("/a", "/b", "/c")]
            following = client.get("/b", watch=kept)
            await until_sent(client)
            for call in cancelled:
                call.cancel()
            await following
            await client.sync("/")
            later = Inbox()
            await client.get("/c", watch=later)
            await client.set("/b", b"x")
            assert await kept.next() == (EventType.NODE_DATA_CHANGED, "/b")
            await client.set("/c", b"x")
            assert await later.next() == (EventType.NODE_DATA_CHANGED, "/c")
            await client.create("/a/child")
            assert await kept.next() == (EventType.NODE_CHILDREN_CHANGED, "/a")
            await assert_works(client)

    run(scenario())


@on_loops
def test_a_deadline_leaves_no_watch(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as client:
            await client.create("/a")
            embedded.pause()
            calls: Calls = [client.get("/a", watch=ignored, timeout_s=0.02) for _ in range(3)]
            calls.append(client.add_watch("/b", ignored, timeout_s=0.02))
            for call in calls:
                assert isinstance(await outcome(call), DeadlineError)
            embedded.resume()
            await assert_works(client)
            await client.exists("/")
            assert watches_of(embedded, client) == set()
            await client.set("/a", b"x")
            await client.create("/b")

    run(scenario())


@on_loops
def test_a_cancelled_task_ends_at_once(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as client:
            embedded.pause()

            async def work() -> None:
                await client.get("/")

            tasks = [asyncio.create_task(work()) for _ in range(10)]
            await until_sent(client)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await client.get("/")
            embedded.resume()
            await assert_works(client)

    run(scenario())


@on_loops
def test_a_cancelled_call_whose_connection_is_lost(
    run: RunOnLoop, embedded: EmbeddedServer
) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as client:
            await client.create("/a")
            embedded.pause()
            calls = [client.get("/a", watch=ignored) for _ in range(4)]
            await until_sent(client)
            calls[0].cancel()
            calls[1].cancel()
            client._engine.drop_connection("the test")
            embedded.resume()
            for call in calls[2:]:
                assert isinstance(await outcome(call), ConnectionLossError)
            await assert_works(client)
            assert watches_of(embedded, client) == set()

    run(scenario())


@on_loops
def test_a_cancelled_task_with_a_watch(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as client:
            seen: list[object] = []

            async def follow() -> None:
                async with client.watch("/a", recursive=True) as events:
                    seen.extend([event async for event in events])

            for turns in range(12):
                task = asyncio.create_task(follow())
                if turns > 8:
                    await until(lambda: "/a" in watches_of(embedded, client))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                await assert_works(client)
                assert watches_of(embedded, client) == set()

    run(scenario())


@on_loops
def test_a_cancelled_login_is_still_made(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as client:
            client.add_auth("digest", "ann:secret").cancel()
            await client.add_auth("digest", "bob:secret")
            states = Inbox()
            client.add_listener(states)
            for _ in range(2):
                names = {identity.id for identity in await client.who_am_i()}
                assert {"ann", "bob"} <= names
                embedded.faults.cut(client.session_id.id)
                await states.until(SessionState.CONNECTED)
            await assert_works(client)

    run(scenario())
