"""Barriers and double barriers of both clients, on zoolet and on Apache ZooKeeper."""

import asyncio

import pytest

from tests.support.both_clients import LIMIT_S, both, clients_of, is_set, run, until, until_children
from zoolet.client import DeadlineError
from zoolet.testing import EmbeddedServer, OpCode
from zoolet.testing.servers.process import ExternalServer


@both
def test_clients_wait_until_a_barrier_is_removed(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            one, two = await make(any_server.hosts), await make(any_server.hosts)
            barrier = one.barrier("/gates/a")
            await barrier.wait(timeout_s=LIMIT_S)
            await barrier.create()
            await barrier.create()
            with pytest.raises(DeadlineError):
                await barrier.wait(timeout_s=0.05)
            waits = [asyncio.ensure_future(barrier.wait()) for _ in range(3)]
            await two.create("/gates/a/child")
            await two.delete("/gates/a/child")
            await two.barrier("/gates/a").remove()
            await two.barrier("/gates/a").remove()
            await asyncio.gather(*waits)
            inner = getattr(one, "inner", one)
            assert len(inner._engine.session.watches) == 0
            assert inner._engine.listeners == []

    run(scenario())


@both
def test_a_barrier_outlives_faults(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client, other = await make(server.hosts), await make(server.hosts)
                barrier = client.barrier("/a")
                server.faults.on(OpCode.CREATE2).drop_reply()
                await barrier.create(timeout_s=LIMIT_S)
                waiting = asyncio.ensure_future(barrier.wait(timeout_s=LIMIT_S))
                await asyncio.to_thread(server.inside.wait_until_quiet)
                first_id = client.session_id.id
                server.faults.expire(first_id)
                await until(
                    lambda: (
                        client.session_id.id not in (0, first_id) and server.inside.watches() != []
                    ),
                    "a watch in the next session",
                )
                server.faults.cut(client.session_id.id)
                assert not waiting.done()
                with server.faults.on(OpCode.DELETE).drop_reply():
                    await other.barrier("/a").remove(timeout_s=LIMIT_S)
                await waiting

    run(scenario())


@both
def test_members_enter_together_and_leave_together(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            clients = [await make(any_server.hosts) for _ in range(3)]
            inside = 0

            async def work(client: object) -> None:
                nonlocal inside
                barrier = client.double_barrier("/b", 3)  # type: ignore[attr-defined]
                for _ in range(4):
                    await barrier.enter(timeout_s=LIMIT_S)
                    inside += 1
                    while inside % 3:
                        await asyncio.sleep(0)
                    await barrier.leave(timeout_s=LIMIT_S)

            late = clients[0].double_barrier("/b", 3)
            with pytest.raises(DeadlineError):
                await late.enter(timeout_s=0.05)
            await clients[0].sync("/")
            await asyncio.gather(*[work(client) for client in clients])
            assert inside == 12
            while (await clients[0].children("/b")).names:
                pass

    run(scenario())


@both
def test_a_member_enters_once_and_cannot_leave_alone(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            one, two = await make(any_server.hosts), await make(any_server.hosts)
            first, second = one.double_barrier("/b", 2), two.double_barrier("/b", 2)
            await asyncio.gather(first.enter(), second.enter(timeout_s=LIMIT_S))
            with pytest.raises(RuntimeError, match="call leave first"):
                await first.enter()
            with pytest.raises(DeadlineError):
                await first.leave(timeout_s=0.05)
            await second.leave(timeout_s=LIMIT_S)
            await second.leave()
            async with two.double_barrier("/b", 1, timeout_s=LIMIT_S):
                pass
            assert (await one.children("/b")).names == ()

    run(scenario())


@both
@pytest.mark.parametrize("op", [OpCode.CREATE2, OpCode.MULTI, OpCode.EXISTS, OpCode.DELETE])
def test_members_outlive_lost_replies(kind: str, op: OpCode) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                clients = [await make(server.hosts) for _ in range(2)]
                barriers = [client.double_barrier("/b", 2) for client in clients]
                for _ in range(3):
                    with server.faults.on(op, times=2).drop_reply() as lost:
                        await asyncio.gather(*[one.enter(timeout_s=LIMIT_S) for one in barriers])
                        assert len(server.inside.paths("/b")) == 3
                        await asyncio.gather(*[one.leave(timeout_s=LIMIT_S) for one in barriers])
                    assert lost.count > 0
                    await until_children(server, "/b", 0)

    run(scenario())


@both
def test_a_member_that_waits_outlives_its_session(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                one, two = await make(server.hosts), await make(server.hosts)
                first, second = one.double_barrier("/b", 2), two.double_barrier("/b", 2)
                waiting = asyncio.ensure_future(first.enter(timeout_s=LIMIT_S))
                before = await until_children(server, "/b", 1)
                server.faults.expire(one.session_id.id)
                while server.inside.paths("/b") in ([], before):
                    await asyncio.sleep(0.01)
                await second.enter(timeout_s=LIMIT_S)
                await waiting
                server.faults.expire(two.session_id.id)
                assert await is_set(second.lost)
                await asyncio.gather(
                    first.leave(timeout_s=LIMIT_S), second.leave(timeout_s=LIMIT_S)
                )
                await until_children(server, "/b", 0)

    run(scenario())


@both
def test_the_round_of_dead_members_is_over(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                one, two = await make(server.hosts), await make(server.hosts)
                async with one.double_barrier("/b", 1):
                    server.faults.expire(one.session_id.id)
                    assert await until_children(server, "/b", 1) == ["/b/ready"]
                    with pytest.raises(DeadlineError):
                        await two.double_barrier("/b", 2).enter(timeout_s=0.2)
                await until_children(server, "/b", 0)

    run(scenario())
