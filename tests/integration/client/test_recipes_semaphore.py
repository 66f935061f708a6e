"""Semaphores and their leases, of both clients, on zoolet and on Apache ZooKeeper."""

import asyncio

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
from zoolet.client import DeadlineError, LockLostError, WaitCancelledError
from zoolet.testing import EmbeddedServer, OpCode
from zoolet.testing.servers.process import ExternalServer


@both
def test_at_most_the_number_of_leases_is_held(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            one, two = await make(any_server.hosts), await make(any_server.hosts)
            ours, theirs = one.semaphore("/s", 2, "one"), two.semaphore("/s", 2, "two")
            first = await ours.acquire(timeout_s=LIMIT_S)
            async with await theirs.acquire(timeout_s=LIMIT_S) as second:
                assert second.token > first.token
                assert await ours.try_acquire() is None
                with pytest.raises(DeadlineError):
                    await ours.acquire(timeout_s=0.05)
                assert sorted(await ours.holders()) == ["one", "two"]
                waiting = asyncio.ensure_future(ours.acquire())
                assert await first.release()
                assert not await first.release()
                third = await waiting
                assert third.is_held
            assert not second.is_held
            assert await two.semaphore("/s", 2).try_acquire() is not None
            with pytest.raises(ValueError, match="has 2 leases, not 3"):
                await two.semaphore("/s", 3).acquire()
            with pytest.raises(ValueError, match="at least 1"):
                two.semaphore("/s", 0)

    run(scenario())


@both
def test_waiters_get_leases_in_their_order_and_a_wait_can_be_cancelled(
    any_server: ExternalServer, kind: str
) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client = await make(any_server.hosts)
            held = await client.semaphore("/s", 1).acquire()
            semaphores = [client.semaphore("/s", 1, str(number)) for number in range(3)]
            order: list[int] = []

            async def work(number: int) -> None:
                async with await semaphores[number].acquire():
                    order.append(number)

            tasks = []
            for number in range(3):
                tasks.append(asyncio.ensure_future(work(number)))
                while len(await client.lock("/s-__lock__").contenders()) != number + 1:
                    pass
            semaphores[1].cancel()
            with pytest.raises(WaitCancelledError):
                await tasks[1]
            await held.release()
            await asyncio.gather(tasks[0], tasks[2])
            assert order == [0, 2]

    run(scenario())


@both
def test_kazoo_and_zoolet_share_the_leases(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client = await make(any_server.hosts)
            kazoo = KazooClient(any_server.hosts)
            await asyncio.to_thread(kazoo.start, 10)
            try:
                theirs = kazoo.Semaphore("/s", "kazoo", max_leases=2)
                assert await asyncio.to_thread(theirs.acquire)
                ours = client.semaphore("/s", 2, "zoolet")
                lease = await ours.acquire(timeout_s=LIMIT_S)
                assert await ours.try_acquire() is None
                other = kazoo.Semaphore("/s", "kazoo", max_leases=2)
                assert not await asyncio.to_thread(other.acquire, False)
                holders = await asyncio.to_thread(other.lease_holders)
                assert sorted(holders) == ["kazoo", "zoolet"]
                waiting = asyncio.ensure_future(ours.acquire())
                await asyncio.to_thread(theirs.release)
                assert (await waiting).is_held
                await lease.release()
                assert await asyncio.to_thread(other.acquire)
            finally:
                await asyncio.to_thread(kazoo.stop)
                await asyncio.to_thread(kazoo.close)

    run(scenario())


@both
def test_a_lease_is_lost_with_its_session(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                one, two = await make(server.hosts), await make(server.hosts)
                lease = await one.semaphore("/s", 1).acquire()
                waiting = asyncio.ensure_future(two.semaphore("/s", 1).acquire())

                async def work() -> None:
                    async with lease:
                        server.faults.expire(one.session_id.id)
                        await is_set(lease.lost)

                with pytest.raises(LockLostError):
                    await work()
                assert not lease.is_held
                assert (await waiting).is_held
                await until_children(server, "/s", 1)

    run(scenario())


@both
def test_the_first_waiter_waits_again_after_its_session_has_expired(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                one, two = await make(server.hosts), await make(server.hosts)
                lease = await one.semaphore("/s", 1).acquire()
                waiting = asyncio.ensure_future(two.semaphore("/s", 1).acquire())
                before = await until_children(server, "/s-__lock__", 1)
                await asyncio.to_thread(server.inside.wait_until_quiet)
                server.faults.expire(two.session_id.id)
                await until(
                    lambda: server.inside.paths("/s-__lock__") not in ([], before), "another znode"
                )
                assert not waiting.done()
                await lease.release()
                assert (await waiting).is_held
                await until_children(server, "/s-__lock__", 0)

    run(scenario())


@both
@pytest.mark.parametrize("op", [OpCode.MULTI, OpCode.CREATE2, OpCode.SET_DATA, OpCode.DELETE])
def test_lost_replies_take_one_lease(kind: str, op: OpCode) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                for at, fault in enumerate(["drop_reply", "lose_request", "drop_reply"]):
                    path = f"/s{at}"
                    with getattr(server.faults.on(op, times=at + 1), fault)() as lost:
                        lease = await client.semaphore(path, 1).acquire(timeout_s=LIMIT_S)
                        assert len(server.inside.paths(path)) == 1
                        assert await lease.release()
                    assert lost.count > 0
                    await until_children(server, path, 0)
                    await until_children(server, f"{path}-__lock__", 0)

    run(scenario())


def test_a_cancelled_acquire_leaves_neither_a_lease_nor_a_watch() -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of("asyncio") as make:
                client = await make(server.hosts)
                semaphore = client.semaphore("/s", 1)
                for is_held in (True, False):
                    held = await semaphore.acquire() if is_held else None
                    for steps in range(40):
                        waiting = asyncio.ensure_future(semaphore.acquire())
                        for _ in range(steps):
                            await asyncio.sleep(0)
                            await client.sync("/") if steps % 2 else None
                        waiting.cancel()
                        results = await asyncio.gather(waiting, return_exceptions=True)
                        if not isinstance(results[0], BaseException):
                            await results[0].release()
                        await client.sync("/")
                    await until_children(server, "/s", 1 if is_held else 0)
                    await until_children(server, "/s-__lock__", 0)
                    if held is not None:
                        await held.release()
                assert client._engine.listeners == []
                await until(lambda: len(client._engine.session.watches) == 0, "no watch")

    run(scenario())
