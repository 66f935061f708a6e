"""Locks, read locks and write locks of both clients, on zoolet and on Apache ZooKeeper."""

import asyncio
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.both_clients import LIMIT_S, both, clients_of, is_set, run, until, until_children
from zoolet.client import (
    AsyncClient,
    DeadlineError,
    LockLostError,
    WaitCancelledError,
)
from zoolet.testing import EmbeddedServer, OpCode
from zoolet.testing.servers.process import ExternalServer


@both
def test_one_client_holds_the_lock_at_a_time(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            one, two = await make(any_server.hosts), await make(any_server.hosts)
            lock = one.lock("/locks/a", "one")
            async with lock as held:
                assert held.is_held
                assert held.token > 0
                first_token = held.token
                assert await two.lock("/locks/a").try_acquire() is None
                other = two.lock("/locks/a", "two")
                waiting = asyncio.ensure_future(other.acquire())
                while await one.lock("/locks/a").contenders() != ["one", "two"]:
                    assert not waiting.done()
            assert await waiting > first_token
            assert not lock.is_held
            assert lock.token == 0
            assert await other.release()
            assert not await other.release()
            assert await one.lock("/locks/a").try_acquire() is not None

    run(scenario())


@both
def test_a_wait_for_a_lock_ends_in_time_and_leaves_no_znode(
    any_server: ExternalServer, kind: str
) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            one, two = await make(any_server.hosts), await make(any_server.hosts)
            async with one.lock("/locks/a", "holder"):
                with pytest.raises(DeadlineError, match="not done within"):
                    await two.lock("/locks/a", "late").acquire(timeout_s=0.05)
                with pytest.raises(TimeoutError):
                    async with two.lock("/locks/a", "late", timeout_s=0.05):
                        raise AssertionError
                while await one.lock("/locks/a").contenders() != ["holder"]:
                    pass

    run(scenario())


@both
def test_a_waiting_acquire_can_be_cancelled(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            one, two = await make(any_server.hosts), await make(any_server.hosts)
            async with one.lock("/locks/a", "holder"):
                lock = two.lock("/locks/a", "waits")
                waiting = asyncio.ensure_future(lock.acquire())
                while await one.lock("/locks/a").contenders() != ["holder", "waits"]:
                    assert not waiting.done()
                lock.cancel()
                with pytest.raises(WaitCancelledError):
                    await waiting
                while await one.lock("/locks/a").contenders() != ["holder"]:
                    pass
            assert await lock.acquire(timeout_s=LIMIT_S)

    run(scenario())


@both
def test_tasks_and_threads_that_share_a_lock_wait_for_each_other(
    any_server: ExternalServer, kind: str
) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client = await make(any_server.hosts)
            lock = client.lock("/locks/shared")
            inside, tokens = 0, []

            async def work() -> None:
                nonlocal inside
                for _ in range(5):
                    tokens.append(await lock.acquire(timeout_s=LIMIT_S))
                    inside += 1
                    assert inside == 1
                    await asyncio.sleep(0)
                    inside -= 1
                    assert await lock.release()

            await asyncio.gather(*[work() for _ in range(4)])
            assert tokens == sorted(set(tokens))
            assert await lock.try_acquire() is not None
            with pytest.raises(DeadlineError):
                await lock.acquire(timeout_s=0.05)

    run(scenario())


@both
def test_a_write_lock_waits_for_readers_and_a_read_lock_only_for_writers(
    any_server: ExternalServer, kind: str
) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            clients = [await make(any_server.hosts) for _ in range(4)]
            readers = [client.read_lock("/locks/rw", "reader") for client in clients[:2]]
            for reader in readers:
                await reader.acquire(timeout_s=LIMIT_S)
            writer = clients[2].write_lock("/locks/rw", "writer")
            assert await writer.try_acquire() is None
            writing = asyncio.ensure_future(writer.acquire())
            while len(await clients[3].write_lock("/locks/rw").contenders()) != 3:
                pass
            late = clients[3].read_lock("/locks/rw", "late reader")
            assert await late.try_acquire() is None
            reading = asyncio.ensure_future(late.acquire())
            await readers[0].release()
            assert not writing.done()
            await readers[1].release()
            assert await writing > 0
            assert not reading.done()
            await writer.release()
            assert await reading > 0

    run(scenario())


@both
def test_contenders_of_kazoo_and_of_zoolet_wait_for_each_other(
    any_server: ExternalServer, kind: str
) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client = await make(any_server.hosts)
            kazoo = KazooClient(any_server.hosts)
            await asyncio.to_thread(kazoo.start, 10)
            try:
                theirs = kazoo.Lock("/locks/both", "kazoo")
                assert await asyncio.to_thread(theirs.acquire, True, LIMIT_S)
                ours = client.lock("/locks/both", "zoolet")
                assert await ours.try_acquire() is None
                waiting = asyncio.ensure_future(ours.acquire())
                while await asyncio.to_thread(theirs.contenders) != ["kazoo", "zoolet"]:
                    assert not waiting.done()
                await asyncio.to_thread(theirs.release)
                assert await waiting > 0
                assert not await asyncio.to_thread(theirs.acquire, False)
                assert await ours.contenders() == ["zoolet"]
            finally:
                await asyncio.to_thread(kazoo.stop)
                await asyncio.to_thread(kazoo.close)

    run(scenario())


@both
def test_the_token_rises_when_the_parent_is_created_again(
    any_server: ExternalServer, kind: str
) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client = await make(any_server.hosts)
            lock = client.lock("/locks/a")
            tokens = []
            for _ in range(3):
                tokens.append(await lock.acquire())
                await lock.release()
                await client.delete_recursive("/locks")
            assert tokens == sorted(set(tokens))

    run(scenario())


@both
def test_a_holder_learns_that_its_session_has_expired(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                one, two = await make(server.hosts), await make(server.hosts)
                lock = one.lock("/locks/a", "one")
                token = await lock.acquire()
                waiting = asyncio.ensure_future(two.lock("/locks/a", "two").acquire())
                await until_children(server, "/locks/a", 2)
                server.faults.expire(one.session_id.id)
                assert await is_set(lock.lost)
                assert not lock.is_held
                assert await waiting > token
                assert not await lock.release()
                with pytest.raises(DeadlineError):
                    await lock.acquire(timeout_s=0.05)

    run(scenario())


@both
def test_a_block_whose_lock_is_lost_raises(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                one, two = await make(server.hosts), await make(server.hosts)
                lock = one.lock("/locks/a", "one")

                async def lose(error: Exception | None) -> None:
                    async with lock:
                        await two.delete_recursive("/locks/a")
                        await is_set(lock.lost)
                        if error is not None:
                            raise error

                with pytest.raises(LockLostError, match="its znode was deleted"):
                    await lose(None)
                with pytest.raises(KeyError):
                    await lose(KeyError())
                async with lock:
                    pass
                await until_children(server, "/locks/a", 0)

    run(scenario())


@both
def test_a_waiting_contender_waits_again_after_its_session_has_expired(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                one, two = await make(server.hosts), await make(server.hosts)
                lock = one.lock("/locks/a", "one")
                await lock.acquire()
                waiting = asyncio.ensure_future(two.lock("/locks/a", "two").acquire())
                await until_children(server, "/locks/a", 2)
                before = server.inside.paths("/locks/a")
                server.faults.expire(two.session_id.id)
                await until(
                    lambda: (
                        len(server.inside.paths("/locks/a")) == 2
                        and server.inside.paths("/locks/a") != before
                    ),
                    "another znode",
                )
                assert not waiting.done()
                await lock.release()
                assert await waiting > 0
                assert len(server.inside.paths("/locks/a")) == 1

    run(scenario())


@both
@pytest.mark.parametrize("op", [OpCode.CREATE2, OpCode.GET_CHILDREN2, OpCode.DELETE])
def test_lost_replies_neither_lose_the_lock_nor_leave_a_znode(kind: str, op: OpCode) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                await client.ensure_path("/locks/a")
                lock = client.lock("/locks/a")
                for times in (1, 2, 3):
                    with server.faults.on(op, times=times).drop_reply() as lost:
                        assert await lock.acquire(timeout_s=LIMIT_S) > 0
                        assert lock.is_held
                        assert len(server.inside.paths("/locks/a")) == 1
                        assert await lock.release()
                    assert lost.count > 0
                    await until_children(server, "/locks/a", 0)

    run(scenario())


@both
def test_a_lost_reply_and_an_expired_session_leave_one_znode(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                await client.ensure_path("/locks/a")
                with (
                    server.faults.on(OpCode.CREATE2).drop_reply(),
                    server.faults.on(OpCode.SYNC).expire(),
                ):
                    lock = client.lock("/locks/a")
                    assert await lock.acquire(timeout_s=LIMIT_S) > 0
                assert len(server.inside.paths("/locks/a")) == 1
                assert lock.is_held

    run(scenario())


@both
def test_a_wait_that_ends_during_the_create_leaves_no_znode(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                await client.ensure_path("/locks/a")
                server.disk.hold_syncs()
                lock = client.lock("/locks/a")
                acquiring = asyncio.ensure_future(lock.acquire(timeout_s=0.3))
                await asyncio.to_thread(server.disk.wait_for_sync)
                with pytest.raises(DeadlineError):
                    await acquiring
                server.disk.release_syncs()
                await client.sync("/")
                await until_children(server, "/locks/a", 0)
                assert await lock.acquire(timeout_s=LIMIT_S) > 0

    run(scenario())


@both
def test_a_lock_is_lost_after_a_session_timeout_without_a_server(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                from tests.support.both_clients import OPTIONS  # noqa: PLC0415

                one = await make(server.hosts, OPTIONS._replace(session_timeout_ms=600))
                lock = one.lock("/locks/a", "one")
                await lock.acquire()
                server.stop()
                assert await is_set(lock.lost)
                server.start()
                assert not await lock.release()
                await until_children(server, "/locks/a", 0)

    run(scenario())


def test_a_contender_watches_only_the_znode_before_its_own() -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of("asyncio") as make:
                clients = [await make(server.hosts) for _ in range(5)]
                holding = clients[0].lock("/locks/a")
                await holding.acquire()
                waits = []
                for count, client in enumerate(clients[1:], 2):
                    waits.append(asyncio.ensure_future(client.lock("/locks/a").acquire()))
                    await until_children(server, "/locks/a", count)
                await asyncio.to_thread(server.inside.wait_until_quiet)
                watched = [
                    [watch.path for watch in server.inside.watches(client.session_id.id)]
                    for client in clients
                ]
                znodes = sorted(server.inside.paths("/locks/a"), key=lambda path: path[-10:])
                assert watched[0] == [znodes[0]]
                for at, paths in enumerate(watched[1:], 1):
                    assert sorted(paths) == sorted([znodes[at - 1], znodes[at]])
                for wait in waits:
                    wait.cancel()

    run(scenario())


def test_cancelled_waits_leave_no_znode_and_no_watch() -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of("asyncio") as make:
                one, two = await make(server.hosts), await make(server.hosts)
                async with one.lock("/locks/a"):
                    for steps in range(40):
                        waiting = asyncio.ensure_future(two.lock("/locks/a").acquire())
                        for _ in range(steps):
                            await asyncio.sleep(0)
                        waiting.cancel()
                        with pytest.raises(asyncio.CancelledError):
                            await waiting
                        await two.sync("/")
                    await until_children(server, "/locks/a", 1)
                    await until(lambda: len(two._engine.session.watches) == 0, "no watch")
                    assert two._engine.listeners == []
                    await until(
                        lambda: server.inside.watches(two.session_id.id) == [],
                        "no watch at the server",
                    )
                current = asyncio.current_task()
                tasks = {task.get_name() for task in asyncio.all_tasks() if task is not current}
                assert len(tasks) == 2, "the tasks of the two clients"

    run(scenario())


class TestCancelOnLoss:
    """The task of a holder is cancelled when its lock is lost."""

    def test_the_block_is_cancelled(self) -> None:
        async def scenario(client: AsyncClient, server: EmbeddedServer) -> None:
            lock = client.lock("/locks/a", cancel_on_loss=True)

            async def hold() -> None:
                async with lock:
                    server.faults.expire(client.session_id.id)
                    await asyncio.Event().wait()

            with pytest.raises(LockLostError, match="lost"):
                await hold()
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            async with lock:
                await client.sync("/")

        self.run(scenario)

    def test_a_block_that_ends_by_itself_raises_too(self) -> None:
        async def scenario(client: AsyncClient, _: EmbeddedServer) -> None:
            lock = client.lock("/locks/a", cancel_on_loss=True)

            async def hold() -> None:
                async with lock:
                    contender = lock._held
                    assert contender is not None
                    contender._lose("the session has expired")

            with pytest.raises(LockLostError):
                await hold()
            await client.sync("/")

        self.run(scenario)

    def test_a_cancellation_by_others_stays_one(self) -> None:
        async def scenario(client: AsyncClient, server: EmbeddedServer) -> None:
            lock = client.lock("/locks/a", cancel_on_loss=True)

            async def hold() -> None:
                async with lock:
                    await asyncio.Event().wait()

            task = asyncio.ensure_future(hold())
            await until(lambda: lock.is_held, "the lock is held")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until_children(server, "/locks/a", 0)

        self.run(scenario)

    @staticmethod
    def run(scenario: Any) -> None:
        async def main() -> None:
            with EmbeddedServer() as server:
                async with clients_of("asyncio") as make:
                    await scenario(await make(server.hosts), server)

        run(main())
