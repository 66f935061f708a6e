"""Queues and locking queues of both clients, on zoolet and on Apache ZooKeeper."""

import asyncio
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.both_clients import (
    LIMIT_S,
    both,
    clients_of,
    is_set,
    run,
    until,
    until_children,
)
from zoolet.client import DeadlineError, LockLostError
from zoolet.testing import EmbeddedServer, OpCode
from zoolet.testing.servers.process import ExternalServer


@both
def test_values_come_in_their_order(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client, other = await make(any_server.hosts), await make(any_server.hosts)
            queue = client.queue("/q")
            assert await queue.size() == 0
            assert await queue.try_get() is None
            with pytest.raises(DeadlineError):
                await queue.get(timeout_s=0.05)
            await other.queue("/q").put(b"1")
            await queue.put_all([b"2", b"3"])
            await queue.put(b"first", priority=1)
            await queue.put(b"last", priority=999)
            assert await queue.size() == 5
            for value in (b"first", b"1", b"2", b"3", b"last"):
                assert await queue.get(timeout_s=LIMIT_S) == value
            waiting = asyncio.ensure_future(queue.get())
            await other.queue("/q").put(b"")
            assert await waiting == b""
            with pytest.raises(ValueError, match="0 to 999"):
                await queue.put(b"", priority=1000)
            with pytest.raises(TypeError):
                await queue.put("text")
            assert (await client.children("/q")).names == ()
            assert (await client.children("/q-__once__")).names == ()
            inner = getattr(client, "inner", client)
            assert len(inner._engine.session.watches) == 0

    run(scenario())


@both
def test_each_value_is_taken_by_one_consumer(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            clients = [await make(any_server.hosts) for _ in range(3)]
            taken: list[bytes] = []

            async def consume(client: Any, *, locks: bool) -> None:
                while True:
                    if not locks:
                        value = await client.queue("/q").get(timeout_s=LIMIT_S)
                    else:
                        async with await client.locking_queue("/l").get(timeout_s=LIMIT_S) as entry:
                            value = entry.value
                    if value == b"end":
                        return
                    taken.append(value)

            for name, locks in (("queue", False), ("locking_queue", True)):
                taken.clear()
                queue = getattr(clients[0], name)("/l" if locks else "/q")
                consumers = [
                    asyncio.ensure_future(consume(client, locks=locks)) for client in clients
                ]
                values = [b"%d" % number for number in range(30)]
                await queue.put_all(values[:10])
                for value in values[10:]:
                    await queue.put(value)
                await queue.put_all([b"end"] * 3)
                await asyncio.gather(*consumers)
                assert sorted(taken) == sorted(values)
                assert await queue.size() == 0

    run(scenario())


@both
def test_kazoo_and_zoolet_share_queues(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client = await make(any_server.hosts)
            kazoo = KazooClient(any_server.hosts)
            await asyncio.to_thread(kazoo.start, 10)
            try:
                theirs, ours = kazoo.Queue("/q"), client.queue("/q")
                await asyncio.to_thread(theirs.put, b"kazoo")
                await ours.put(b"zoolet")
                assert await ours.get(timeout_s=LIMIT_S) == b"kazoo"
                assert await asyncio.to_thread(theirs.get) == b"zoolet"
                theirs, ours = kazoo.LockingQueue("/l"), client.locking_queue("/l")
                await asyncio.to_thread(theirs.put, b"1")
                await ours.put_all([b"2", b"3"])
                entry = await ours.get(timeout_s=LIMIT_S)
                assert entry.value == b"1"
                assert await asyncio.to_thread(theirs.get, LIMIT_S) == b"2"
                other = await ours.get(timeout_s=LIMIT_S)
                assert other.value == b"3"
                assert await ours.try_get() is None
                assert await asyncio.to_thread(theirs.consume)
                await entry.consume()
                await other.release()
                assert await asyncio.to_thread(theirs.get, LIMIT_S) == b"3"
            finally:
                await asyncio.to_thread(kazoo.stop)
                await asyncio.to_thread(kazoo.close)

    run(scenario())


@both
def test_a_taken_value_stays_in_the_queue_until_it_is_consumed(
    any_server: ExternalServer, kind: str
) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client, other = await make(any_server.hosts), await make(any_server.hosts)
            ours, theirs = client.locking_queue("/l"), other.locking_queue("/l")
            await ours.put_all([b"1", b"2"])
            entry = await ours.get(timeout_s=LIMIT_S)
            assert entry.value == b"1"
            assert await ours.size() == 2
            second = await theirs.get(timeout_s=LIMIT_S)
            assert second.value == b"2"
            with pytest.raises(DeadlineError):
                await theirs.get(timeout_s=0.05)
            waiting = asyncio.ensure_future(theirs.get())
            await entry.release()
            await entry.release()
            third = await waiting
            assert third.value == b"1"
            with pytest.raises(LockLostError):
                await entry.consume()
            await third.consume()
            with pytest.raises(LockLostError):
                await third.consume()

            async def fail() -> None:
                async with second:
                    raise KeyError

            with pytest.raises(KeyError):
                await fail()
            assert (await ours.get(timeout_s=LIMIT_S)).value == b"2"
            await ours.close()
            async with await theirs.get(timeout_s=LIMIT_S) as last:
                assert last.value == b"2"
            assert await theirs.size() == 0

    run(scenario())


@both
def test_a_value_can_be_taken_again_after_the_session_of_its_consumer_has_expired(
    kind: str,
) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client, other = await make(server.hosts), await make(server.hosts)
                ours, theirs = client.locking_queue("/l"), other.locking_queue("/l")
                await ours.put(b"1")
                entry = await ours.get(timeout_s=LIMIT_S)
                waiting = asyncio.ensure_future(theirs.get(timeout_s=LIMIT_S))
                server.faults.expire(client.session_id.id)
                taken = await waiting
                assert await is_set(entry.lost)
                with pytest.raises(LockLostError):
                    await entry.consume(timeout_s=LIMIT_S)
                server.faults.expire(other.session_id.id)
                await is_set(taken.lost)
                again = await ours.get(timeout_s=LIMIT_S)
                with server.faults.on(OpCode.MULTI).expire(), pytest.raises(LockLostError):
                    await again.consume(timeout_s=LIMIT_S)
                async with await theirs.get(timeout_s=LIMIT_S):
                    pass
                await until_children(server, "/l/entries", 0)
                await until_children(server, "/l/taken", 0)
                await until_children(server, "/l-__once__", 0)

    run(scenario())


@both
@pytest.mark.parametrize("fault", ["drop_reply", "lose_request", "expire"])
@pytest.mark.parametrize(
    "op", [OpCode.MULTI, OpCode.DELETE, OpCode.GET_CHILDREN2, OpCode.SYNC, OpCode.GET_DATA]
)
def test_faults_neither_lose_nor_repeat_a_value(kind: str, fault: str, op: OpCode) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                queue = client.queue("/q")
                await queue.put(b"0")
                for number in range(1, 4):
                    with (
                        getattr(server.faults.on(op, times=number), fault)(),
                        server.faults.on(OpCode.MULTI).drop_reply(),
                    ):
                        await queue.put(b"%d" % number, timeout_s=LIMIT_S)
                    with (
                        getattr(server.faults.on(op, times=number), fault)(),
                        server.faults.on(OpCode.MULTI).drop_reply(),
                    ):
                        assert await queue.get(timeout_s=LIMIT_S) == b"%d" % (number - 1)
                assert len(server.inside.paths("/q")) == 1
                await until_children(server, "/q-__once__", 0)
                locking = client.locking_queue("/l")
                for number in range(1, 4):
                    await locking.put(b"%d" % number)
                    with getattr(server.faults.on(op, times=number), fault)():
                        entry = await locking.get(timeout_s=LIMIT_S)
                    assert entry.value == b"%d" % number
                    await consumed(locking, entry, server, op, fault)
                    await until_children(server, "/l/entries", 0)
                    await until_children(server, "/l/taken", 0)

    run(scenario())


async def consumed(queue: Any, entry: Any, server: EmbeddedServer, op: OpCode, fault: str) -> None:
    """Consume an entry with a fault; if its session has expired, take it again."""
    try:
        with getattr(server.faults.on(op), fault)():
            await entry.consume(timeout_s=LIMIT_S)
    except LockLostError:
        again = await queue.try_get(timeout_s=LIMIT_S)
        if again is not None:
            await again.consume(timeout_s=LIMIT_S)


def test_a_cancelled_get_takes_no_value_of_a_locking_queue() -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of("asyncio") as make:
                client = await make(server.hosts)
                queue = client.locking_queue("/l")
                await queue.put(b"1")
                for steps in range(60):
                    waiting = asyncio.ensure_future(queue.get())
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    waiting.cancel()
                    await asyncio.wait([waiting])
                    if not waiting.cancelled():
                        await waiting.result().release()
                    await until(lambda: server.inside.paths("/l/taken") == [], "not taken")
                assert (await queue.get(timeout_s=LIMIT_S)).value == b"1"

    run(scenario())


@both
def test_two_callers_of_one_locking_queue_do_not_get_the_same_value(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                queue = client.locking_queue("/l")
                for _ in range(10):
                    await queue.put_all([b"1", b"2", b"3"])
                    entries = await asyncio.gather(
                        *[queue.get(timeout_s=LIMIT_S) for _ in range(3)]
                    )
                    assert sorted(entry.value for entry in entries) == [b"1", b"2", b"3"]
                    for entry in entries:
                        await entry.consume()

    run(scenario())


def test_a_value_is_back_after_a_cancelled_consume() -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of("asyncio") as make:
                client = await make(server.hosts)
                queue = client.locking_queue("/l")
                for steps in range(1, 12):
                    await queue.put(b"1")
                    entry = await queue.get(timeout_s=LIMIT_S)
                    consuming = asyncio.ensure_future(entry.consume())
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    consuming.cancel()
                    await asyncio.wait([consuming])
                    await until(lambda: server.inside.paths("/l/taken") == [], "not taken")
                    if server.inside.paths("/l/entries"):
                        await (await queue.get(timeout_s=LIMIT_S)).consume()

    run(scenario())
