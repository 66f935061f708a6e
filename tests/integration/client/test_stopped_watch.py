"""A watch that was stopped stays stopped."""

import asyncio
import random
from typing import Any

import pytest

from tests.support.both_clients import LIMIT_S, both, clients_of, run
from zoolet.client import NoWatcherError
from zoolet.model.codes import OpCode, WatcherType
from zoolet.testing import EmbeddedServer, ErrorCode
from zoolet.testing.servers.process import ExternalServer


@both
def test_the_iteration_of_a_stopped_watch_sets_no_watch(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                for is_used in (True, False):
                    watch = client.watch("/a")
                    if is_used:
                        await watch.start()
                    await watch.stop()
                    with pytest.raises(StopAsyncIteration):
                        await watch.__anext__()
                    await client.sync("/")
                    assert server.inside.watches() == []

    run(scenario())


@both
@pytest.mark.parametrize("recursive", [False, True])
def test_a_stopped_watch_is_removed_at_a_server_before_3_9(kind: str, recursive: bool) -> None:
    """Such a server knows the types CHILDREN, DATA and ANY only (ZOOKEEPER-4472)."""

    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                watch = client.watch("/a", recursive=recursive)
                await watch.start()
                await watch.stop()
                await client.sync("/")
                assert server.inside.watches() == []
                [removal] = [
                    one
                    for one in server.inside.requests(client.session_id.id)
                    if one.op_code == OpCode.REMOVE_WATCHES
                ]
                assert removal.record.watcher_type == WatcherType.ANY
                assert removal.err == ErrorCode.OK

    run(scenario())


@both
@pytest.mark.parametrize("seed", range(5))
def test_the_end_of_a_watch_leaves_the_others_on_its_path(kind: str, seed: int) -> None:
    chance = random.Random(seed)

    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client, other = await make(server.hosts), await make(server.hosts)
                await client.create("/a")
                live: list[Any] = []
                for number in range(30):
                    if live and chance.random() < 0.5:
                        stopped = live.pop(chance.randrange(len(live)))
                        stopping = asyncio.ensure_future(stopped.stop())
                        if chance.random() < 0.5:  # another watch is being set meanwhile
                            live.append(client.watch("/a"))
                            await live[-1].start()
                        await stopping
                    else:
                        live.append(client.watch("/a"))
                        await live[-1].start()
                    await client.sync("/")
                    assert bool(server.inside.watches(client.session_id.id)) == bool(live)
                    await other.set("/a", str(number).encode())
                    for watch in live:
                        event = await watch.next(timeout_s=LIMIT_S)
                        assert event.path == "/a"
                        assert watch.take_waiting() == []

    run(scenario())


@both
def test_a_watch_is_removed_if_another_is_set_on_its_path_at_the_same_time(kind: str) -> None:
    """The removal of the first watch must not remove the second one."""

    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                for _ in range(20):
                    first, second = client.watch("/a"), client.watch("/a")
                    await first.start()
                    await asyncio.gather(second.start(), first.stop())
                    await client.create("/a")
                    assert (await second.next(timeout_s=LIMIT_S)).path == "/a"
                    await second.stop()
                    await client.delete("/a")
                    assert server.inside.watches() == []

    run(scenario())


@both
@pytest.mark.parametrize("recursive", [False, True])
def test_no_server_keeps_a_stopped_watch(
    kind: str, recursive: bool, any_server: ExternalServer
) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client = await make(any_server.hosts)
            await client.create("/a")
            async with client.watch("/a", recursive=recursive):
                await client.check_watches("/a")
            with pytest.raises(NoWatcherError):
                await client.check_watches("/a")
            # The path is free for a watch of another kind.
            async with client.watch("/a", recursive=not recursive) as other:
                await client.set("/a", b"1")
                event = await other.next(timeout_s=LIMIT_S)
                assert event.path == "/a"

    run(scenario())
