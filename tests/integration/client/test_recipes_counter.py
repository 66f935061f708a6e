"""Counters of both clients, on zoolet and on Apache ZooKeeper."""

import asyncio

import pytest
from kazoo.client import KazooClient

from tests.support.both_clients import LIMIT_S, both, clients_of, run, until_children
from zoolet.client import DeadlineError, SessionExpiredError
from zoolet.testing import EmbeddedServer, OpCode
from zoolet.testing.servers.process import ExternalServer


@both
def test_a_counter_adds(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client = await make(any_server.hosts)
            counter = client.counter("/app/count")
            assert await counter.value() == 0
            assert await counter.add(3) == 3
            assert await counter.add(-5) == -2
            assert await client.counter("/app/count").value() == -2
            assert (await client.get("/app/count")).data == b"-2"
            assert (await client.children("/app/count-__once__")).names == ()
            with pytest.raises(TypeError):
                await counter.add(1.5)
            floats = client.counter("/app/float", default=0.5)
            assert await floats.value() == 0.5
            assert await floats.add(0.25) == 0.75
            await client.set("/app/count", b"many")
            with pytest.raises(ValueError, match="/app/count are no number: b'many'"):
                await counter.value()

    run(scenario())


@both
def test_changes_of_many_clients_and_of_kazoo_add_up(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            clients = [await make(any_server.hosts) for _ in range(3)]
            kazoo = KazooClient(any_server.hosts)
            await asyncio.to_thread(kazoo.start, 10)

            async def add(counter: object) -> None:
                for _ in range(10):
                    await counter.add(1)  # type: ignore[attr-defined]

            def add_with_kazoo() -> None:
                counter = kazoo.Counter("/count")
                for _ in range(10):
                    counter += 1

            try:
                await asyncio.gather(
                    *[add(client.counter("/count")) for client in clients],
                    asyncio.to_thread(add_with_kazoo),
                )
                assert await clients[0].counter("/count").value() == 40
                assert await asyncio.to_thread(lambda: kazoo.Counter("/count").value) == 40
            finally:
                await asyncio.to_thread(kazoo.stop)
                await asyncio.to_thread(kazoo.close)

    run(scenario())


@both
@pytest.mark.parametrize("fault", ["drop_reply", "lose_request"])
@pytest.mark.parametrize("op", [OpCode.MULTI, OpCode.DELETE, OpCode.SYNC, OpCode.GET_DATA])
def test_lost_replies_add_once(kind: str, fault: str, op: OpCode) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                counter = client.counter("/count")
                await counter.add(1)
                for times in (1, 2, 3):
                    with (
                        getattr(server.faults.on(op, times=times), fault)(),
                        server.faults.on(OpCode.MULTI).drop_reply(),
                    ):
                        assert await counter.add(1, timeout_s=LIMIT_S) == times + 1
                assert server.inside.znode("/count").data == b"4"  # type: ignore[union-attr]
                await until_children(server, "/count-__once__", 0)

    run(scenario())


@both
def test_a_lost_reply_and_an_expired_session_add_once(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                counter = client.counter("/count")
                for total in (1, 2, 3):
                    with (
                        server.faults.on(OpCode.MULTI).drop_reply(),
                        server.faults.on(OpCode.SYNC).expire(),
                    ):
                        assert await counter.add(1, timeout_s=LIMIT_S) == total
                await until_children(server, "/count-__once__", 0)
                with server.faults.on(OpCode.MULTI).expire():
                    assert await counter.add(1, timeout_s=LIMIT_S) == 4

    run(scenario())


@both
def test_a_wait_without_a_server_ends_in_time(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                counter = client.counter("/count")
                await counter.add(1)
                server.stop()
                for call in (counter.value, lambda timeout_s: counter.add(1, timeout_s=timeout_s)):
                    with pytest.raises((DeadlineError, SessionExpiredError)):
                        await call(timeout_s=0.1)
                server.start()
                assert await counter.add(1, timeout_s=LIMIT_S) >= 2

    run(scenario())
