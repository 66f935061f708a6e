"""The local copy of a subtree, of both clients, on zoolet and on Apache ZooKeeper."""

import asyncio
import random
from typing import Any

import pytest

from tests.support.both_clients import LIMIT_S, both, clients_of, run, until
from zoolet.client import ChangeKind, Multi, TreeChange, ZooKeeperError
from zoolet.testing import EmbeddedServer
from zoolet.testing.servers.process import ExternalServer


async def changes_until(cache: Any, kind: ChangeKind, path: str) -> list[TreeChange]:
    """Return the changes up to the first one of a kind and a path."""
    found = []
    while True:
        found.append(await cache.next(timeout_s=LIMIT_S))
        if (found[-1].kind, found[-1].path) == (kind, path):
            return found


def shown(changes: list[TreeChange]) -> list[tuple[str, str, bytes | None]]:
    return [(one.kind.value, one.path, one.found and one.found.data) for one in changes]


@both
def test_the_copy_follows_the_server(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client, other = await make(any_server.hosts), await make(any_server.hosts)
            await other.ensure_path("/tree/a/b")
            await other.create("/treeish")
            async with client.tree_cache("/tree") as cache:
                assert not cache.is_stale
                assert cache.paths() == ["/tree", "/tree/a", "/tree/a/b"]
                first = await changes_until(cache, ChangeKind.FRESH, "/tree")
                assert [one.path for one in first[:-1]] == cache.paths()
                await other.create("/tree/c", b"1")
                await other.create("/treeish/no")
                assert shown(await changes_until(cache, ChangeKind.CREATED, "/tree/c")) == [
                    ("created", "/tree/c", b"1")
                ]
                stat = await other.set("/tree/c", b"2")
                (change,) = await changes_until(cache, ChangeKind.CHANGED, "/tree/c")
                assert change.zxid == stat.mzxid
                assert cache.get("/tree/c").data == b"2"
                assert cache.children("/tree") == ("a", "c")
                await other.delete_recursive("/tree/a")
                found = await changes_until(cache, ChangeKind.DELETED, "/tree/a")
                assert [one.path for one in found] == ["/tree/a/b", "/tree/a"]
                assert cache.get("/tree/a") is None
                assert cache.children("/tree") == ("c",)
                await other.delete_recursive("/tree")
                await changes_until(cache, ChangeKind.DELETED, "/tree")
                assert len(cache) == 0
                await other.create("/tree", b"again")
                await changes_until(cache, ChangeKind.CREATED, "/tree")
                assert cache.get("/tree").data == b"again"
            with pytest.raises(StopAsyncIteration):
                await cache.__anext__()
            inner = getattr(client, "inner", client)
            assert len(inner._engine.session.watches) == 0
            assert inner._engine.listeners == []

    run(scenario())


@both
def test_the_copy_is_stale_while_no_server_is_connected(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client, other = await make(server.hosts), await make(server.hosts)
                for path in ("/tree", "/tree/a", "/tree/b"):
                    await other.create(path, b"1")
                async with client.tree_cache("/tree") as cache:
                    await changes_until(cache, ChangeKind.FRESH, "/tree")
                    partition = server.faults.partition(client.session_id.id)
                    await other.delete("/tree/a")
                    await other.set("/tree/b", b"2")
                    await other.create("/tree/c", b"3")
                    server.faults.cut(client.session_id.id)
                    assert shown([await cache.next(timeout_s=LIMIT_S)]) == [
                        ("stale", "/tree", None)
                    ]
                    partition.heal()
                    found = await changes_until(cache, ChangeKind.FRESH, "/tree")
                    assert shown(found) == [
                        ("deleted", "/tree/a", None),
                        ("changed", "/tree/b", b"2"),
                        ("created", "/tree/c", b"3"),
                        ("fresh", "/tree", None),
                    ]
                    assert not cache.is_stale
                    server.faults.expire(client.session_id.id)
                    await changes_until(cache, ChangeKind.STALE, "/tree")
                    assert shown(await changes_until(cache, ChangeKind.FRESH, "/tree")) == [
                        ("fresh", "/tree", None)
                    ]
                    server.stop()
                    await changes_until(cache, ChangeKind.STALE, "/tree")
                    assert cache.is_stale
                    assert cache.get("/tree/c").data == b"3"
                    server.start()
                    await changes_until(cache, ChangeKind.FRESH, "/tree")

    run(scenario())


@both
def test_a_slow_program_misses_changes_but_has_the_whole_copy(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                async with client.tree_cache("/tree", max_changes=3) as cache:
                    await client.create("/tree")
                    for number in range(10):
                        await client.create(f"/tree/{number}")
                    await until(lambda: len(cache.paths()) == 11, "the whole copy")
                    assert (await cache.next(timeout_s=LIMIT_S)).kind is ChangeKind.MISSED

    run(scenario())


async def write_at_random(client: Any, generator: random.Random, count: int) -> None:
    """Change a small subtree, also with several changes in one txn."""
    names = ["/tree/a", "/tree/b", "/tree/a/c", "/tree/a/d"]
    for _ in range(count):
        one, two = generator.choice(names), generator.choice(names)
        data = b"%d" % generator.randrange(1000)
        batch = generator.choice(
            [
                Multi().create(one, data),
                Multi().set(one, data),
                Multi().set(one, b"x").set(one, data),
                Multi().delete(one),
                Multi().delete(one).create(one, data),
                Multi().set(one, data).set(two, data),
            ]
        )
        try:
            await client.multi(batch)
        except ZooKeeperError:
            continue


def states_of(changes: list[TreeChange]) -> tuple[dict[str, bytes | None], list[int]]:
    """Return the subtree that the changes make, and the zxids that are known, in order."""
    tree: dict[str, bytes | None] = {}
    zxids = []
    for change in changes:
        if change.kind is ChangeKind.DELETED:
            assert change.path in tree
            assert not [path for path in tree if path.startswith(f"{change.path}/")]
            del tree[change.path]
        elif change.found is not None:
            assert (change.path in tree) == (change.kind is ChangeKind.CHANGED)
            assert change.path == "/tree" or change.path.rpartition("/")[0] in tree
            tree[change.path] = change.found.data
        if change.zxid != -1:
            zxids.append(change.zxid)
    return tree, zxids


@both
@pytest.mark.parametrize("seed", range(3))
def test_changes_come_in_the_order_of_their_zxids(
    any_server: ExternalServer, kind: str, seed: int
) -> None:
    async def scenario() -> None:
        print("seed", seed)
        generator = random.Random(seed)
        async with clients_of(kind) as make:
            client, one, two = [await make(any_server.hosts) for _ in range(3)]
            await one.create("/tree")
            writers = [
                asyncio.ensure_future(write_at_random(each, generator, 150)) for each in (one, two)
            ]
            async with client.tree_cache("/tree") as cache:
                await asyncio.gather(*writers)
                await one.create("/tree/end")
                changes = await changes_until(cache, ChangeKind.CREATED, "/tree/end")
                tree, zxids = states_of(changes)
                assert zxids == sorted(zxids)
                assert len(zxids) > 20
                assert tree == {path: cache.get(path).data for path in cache.paths()}
                for path in cache.paths():
                    assert (await one.get(path)).data == tree[path]
                    assert sorted((await one.children(path)).names) == list(cache.children(path))

    run(scenario())


@both
@pytest.mark.parametrize("seed", [0, 1, 17])
def test_the_copy_is_right_after_random_faults(kind: str, seed: int) -> None:
    async def scenario() -> None:
        print("seed", seed)
        generator = random.Random(seed)
        with EmbeddedServer(seed=seed) as server:
            async with clients_of(kind) as make:
                client, other = await make(server.hosts), await make(server.hosts)
                await other.create("/tree")
                async with client.tree_cache("/tree") as cache:
                    for _ in range(12):
                        writing = asyncio.ensure_future(write_at_random(other, generator, 15))
                        fault = generator.randrange(4)
                        session_id = client.session_id.id
                        if fault == 0:
                            server.faults.on(session=session_id).drop_reply()
                        elif fault == 1:
                            server.faults.on(session=session_id).expire()
                        elif fault == 2 and server.inside.watches(session_id):
                            server.faults.cut(session_id)
                        await writing
                        server.faults.clear()
                    await other.create("/tree/end")
                    changes = await changes_until(cache, ChangeKind.CREATED, "/tree/end")
                    tree, _ = states_of(changes)
                    assert tree == {path: cache.get(path).data for path in cache.paths()}
                    assert cache.paths() == sorted(["/tree", *server.inside.paths("/tree")])
                    for path, data in tree.items():
                        znode = server.inside.znode(path)
                        assert znode is not None
                        assert znode.data == data

    run(scenario())
