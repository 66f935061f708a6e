"""A state is restored into a running server, as ordinary writes of a client."""

import asyncio
import random
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from tests.support.trees import random_tree, stat_of
from tests.support.waiting import WAIT_S
from zoolet.archive.errors import ArchiveError
from zoolet.archive.live.comparing import in_order, znode_of
from zoolet.archive.live.counters import counter_of
from zoolet.archive.live.plan import Plan
from zoolet.archive.live.planning import plan_restore
from zoolet.archive.live.restoring import Outcome, restore
from zoolet.client import (
    ACL,
    OPEN_ACL,
    AsyncClient,
    ClientOptions,
    ConnectionLossError,
    CreateMode,
    Credential,
    Id,
    NodeExistsError,
    NoNodeError,
    ZooKeeperError,
)
from zoolet.data.directory_reader import directories_of, state_of
from zoolet.model.codes import OpCode
from zoolet.model.owner_kinds import CONTAINER_OWNER, owner_of_ttl
from zoolet.state_machine.tree import Tree
from zoolet.testing import EmbeddedServer
from zoolet.testing.servers.process import ExternalServer

DIGEST = "user:secret"
OWN_ACL = (ACL(31, Id("auth", "")),)
READABLE = (ACL(1, Id("world", "anyone")), ACL(31, Id("auth", "")))


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, WAIT_S))


SUPER = {"DigestAuthenticationProvider.superDigest": "super:D/InIHSb7yEEbrWz8b9l71RjZJU="}


@pytest.fixture
def embedded() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(settings=SUPER) as running:
        yield running


async def plan_for(client: AsyncClient, tree: Tree, root: str = "/") -> Plan:
    return await plan_restore(client, tree, root, 10_000)


async def restored(client: AsyncClient, tree: Tree, root: str = "/") -> Outcome:
    return await restore(client, tree, await plan_for(client, tree, root))


async def contents(client: AsyncClient, root: str) -> dict[str, tuple[object, object]]:
    return {found.path: (found.data, found.acl) async for found in client.read_subtree(root)}


def state_in(server: ExternalServer) -> Tree:
    return state_of(directories_of(server.config.data_dir)).machine.tree


def test_all_kinds_of_znodes_come_back(any_server: ExternalServer) -> None:
    """On zoolet and on Apache ZooKeeper; the state is read from the files of the server."""
    options = ClientOptions(auth=(Credential("digest", DIGEST),))

    async def scenario() -> None:
        async with AsyncClient(any_server.hosts, options) as client:
            await client.create("/app", b"1")
            await client.create("/app/null", None)
            await client.create("/app/own", b"2", acl=OWN_ACL)
            await client.create("/app/own/readable", b"3", acl=READABLE)
            await client.create("/app/box", mode=CreateMode.CONTAINER)
            await client.create("/app/box/in", b"4")
            await client.create("/app/alive", mode=CreateMode.EPHEMERAL)
            for _ in range(3):
                await client.create("/app/queue-", mode=CreateMode.PERSISTENT_SEQUENTIAL)
            await client.create("/app/numbers")
            for _ in range(3):
                created = await client.create(
                    "/app/numbers/n", mode=CreateMode.PERSISTENT_SEQUENTIAL
                )
                await client.delete(created.path)
            before = await contents(client, "/app")
            tree = state_in(any_server)
            assert (await plan_for(client, tree)).is_empty
            await client.delete_recursive("/app")
            await client.create("/app", b"other")
            await client.create("/app/new")
            await client.create("/app/new/below")
            outcome = await restored(client, tree, "/app")
            assert outcome.conflicts == []
            after = await contents(client, "/app")
            lost = {path for path in before if path not in after}
            assert lost == {"/app/alive"}
            assert {path: before[path] for path in after} == after
            again = await plan_for(client, tree)
            assert again.is_empty
            assert again.lost_ephemerals == ["/app/alive"]
            assert dict(state_in(any_server).perishable.items()) == {"/app/box": CONTAINER_OWNER}
            for parent, counter in (("/app", 9), ("/app/numbers", 3)):
                stat = await client.exists(parent)
                assert stat is not None
                assert counter_of(stat) >= counter

    run(scenario())


def test_a_subtree_leaves_the_rest_and_gets_its_ancestors(embedded: EmbeddedServer) -> None:
    tree = Tree.fresh()
    for path in ("/a", "/a/b", "/a/b/c", "/a/other", "/z"):
        tree.add(path, path.encode(), OPEN_ACL, stat_of())

    async def scenario() -> None:
        async with AsyncClient(embedded.hosts) as client:
            await client.create("/y", b"stays")
            outcome = await restored(client, tree, "/a/b")
            assert outcome.written == 3
            assert set(await contents(client, "/")) == {"/", "/a", "/a/b", "/a/b/c", "/y"}
            assert (await client.get("/a")).data == b"/a"

    run(scenario())


def test_a_ttl_znode_gets_its_ttl_if_the_server_has_ttls(embedded: EmbeddedServer) -> None:
    tree = Tree.fresh()
    tree.add("/ttl", b"1", OPEN_ACL, stat_of(owner=owner_of_ttl(60_000)))
    tree.add("/plain", b"1", OPEN_ACL, stat_of())

    async def scenario() -> None:
        async with AsyncClient(embedded.hosts) as client:
            outcome = await restored(client, tree)
            assert [(found.what, found.path) for found in outcome.conflicts] == [("create", "/ttl")]
            assert await client.exists("/plain") is not None

    run(scenario())


def test_changes_after_the_comparison_are_conflicts(embedded: EmbeddedServer) -> None:
    """Each is in a multi with other changes, which are made."""
    tree = Tree.fresh()
    for name in ("set", "acl", "created", "gone", "set2", "created2"):
        tree.add(f"/{name}", b"old", OPEN_ACL, stat_of())

    async def scenario() -> None:
        async with AsyncClient(embedded.hosts) as client:
            for name in ("set", "set2", "acl", "gone", "extra", "extra2", "extra3", "full"):
                await client.create(f"/{name}", b"new", acl=READABLE[:1] + OPEN_ACL)
            plan = await plan_for(client, tree)
            await client.set("/set", b"newest")
            await client.set_acl("/acl", OPEN_ACL + READABLE[:1])
            await client.create("/created", b"newest")
            await client.delete("/gone")
            await client.set("/extra", b"newest")
            await client.delete("/extra3")
            await client.create("/full/child")
            outcome = await restore(client, tree, plan)
            assert sorted((found.what, found.path) for found in outcome.conflicts) == [
                ("create", "/created"),
                ("delete", "/extra"),
                ("delete", "/full"),
                ("set ACL", "/acl"),
                ("set ACL", "/gone"),
                ("set data", "/gone"),
                ("set data", "/set"),
            ]
            assert (await client.get("/set")).data == b"newest"
            assert (await client.get("/created")).data == b"newest"
            assert (await client.get("/set2")).data == b"old"
            assert (await client.get("/created2")).data == b"old"
            assert await client.exists("/extra2") is None
            assert await client.exists("/full/child") is not None
            assert await client.exists("/gone") is None
            assert outcome.written == len(plan.steps) - len(outcome.conflicts)

    run(scenario())


def test_a_client_without_permission_is_told_what_to_do(embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        options = ClientOptions(auth=(Credential("digest", DIGEST),))
        async with AsyncClient(embedded.hosts, options) as owner:
            await owner.create("/own", acl=OWN_ACL)
        async with AsyncClient(embedded.hosts) as client:
            with pytest.raises(ArchiveError, match=r"/own .* Log in with --auth"):
                await plan_for(client, Tree.fresh())

    run(scenario())


def test_a_new_sequential_child_gets_no_number_of_a_restored_one(embedded: EmbeddedServer) -> None:
    """The parent never exists without its counter, although it takes several multis."""
    tree = Tree.fresh()
    tree.add("/q", b"", OPEN_ACL, stat_of(), 3000)
    for number in (5, 1700):
        tree.add(f"/q/e-{number:010}", b"restored", OPEN_ACL, stat_of())
    tree.count_all_children()

    async def produce(client: AsyncClient) -> list[str]:
        made: list[str] = []
        while len(made) < 50:
            try:
                created = await client.create(
                    "/q/e-", b"new", mode=CreateMode.PERSISTENT_SEQUENTIAL
                )
            except NoNodeError:
                continue
            made.append(created.path)
        return made

    async def scenario() -> None:
        async with AsyncClient(embedded.hosts) as client, AsyncClient(embedded.hosts) as other:
            plan = await plan_for(client, tree)
            producer = asyncio.create_task(produce(other))
            outcome = await restore(client, tree, plan)
            made = await producer
            assert outcome.conflicts == []
            assert outcome.counters == 1
            assert not {"/q/e-0000000005", "/q/e-0000001700"} & set(made)
            last = await client.create("/q/e-", mode=CreateMode.PERSISTENT_SEQUENTIAL)
            assert int(last.path[-10:]) >= 3000

    run(scenario())


async def disturb(client: AsyncClient, chance: random.Random, count: int) -> dict[str, bytes]:
    """Write in the restored tree; return the last written data, by path."""
    written: dict[str, bytes] = {}
    for number in range(count):
        path = chance.choice(("/d", "/a", "/b", "/a/a", "/a/b", "/c", "/b/!"))
        data = f"disturbed {number}".encode()
        try:
            if chance.random() < 0.5:
                await client.create(path, data)
            else:
                await client.set(path, data)
        except (NoNodeError, NodeExistsError):
            continue
        except ZooKeeperError:  # a read-only ACL
            continue
        written[path] = data
    return written


@pytest.mark.parametrize("seed", range(12))
def test_random_restores_among_other_clients(embedded: EmbeddedServer, seed: int) -> None:
    """In the end each znode is as in the state, or as another client wrote it: a conflict."""
    chance = random.Random(seed)
    present, wanted = random_tree(chance), random_tree(chance)

    async def scenario() -> None:
        options = ClientOptions(auth=(Credential("digest", "super:test"),))
        async with AsyncClient(embedded.hosts, options) as client:
            async with AsyncClient(embedded.hosts) as other:
                await restored(client, present)
                plan = await plan_for(client, wanted)
                disturbing = asyncio.create_task(disturb(other, chance, 30))
                outcome = await restore(client, wanted, plan)
                written = await disturbing
            now = await contents(client, "/")
            for path in in_order(wanted, "/"):
                znode = znode_of(wanted, path)
                if path in plan.lost_ephemerals:
                    continue
                refused = {found.path for found in outcome.conflicts}
                if path in now and now[path][0] == znode.data:
                    continue
                assert path in written or any(path.startswith(f"{each}/") for each in refused)
            for path in set(now) - set(wanted.records):
                below = {each for each in written if each.startswith(f"{path}/")}
                assert path in written or below
            # Without other clients, another run makes both equal.
            again = await restored(client, wanted)
            assert again.conflicts == []
            assert (await plan_for(client, wanted)).is_empty

    run(scenario())


def test_a_lost_connection_ends_the_restore_and_another_run_completes_it(
    embedded: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    tree = Tree.fresh()
    for number in range(2500):
        tree.add(f"/n{number}", b"", OPEN_ACL, stat_of())

    async def scenario() -> None:
        async with AsyncClient(embedded.hosts) as client:
            plan = await plan_for(client, tree)
            embedded.faults.on(OpCode.MULTI, chance=0.6, seed=1).drop_reply()
            with pytest.raises(ConnectionLossError):
                await restore(client, tree, plan)
            again = await plan_for(client, tree)
            assert len(again.creations) < 2500
            outcome = await restore(client, tree, again)
            assert outcome.conflicts == []
            assert (await plan_for(client, tree)).is_empty

    run(scenario())
    assert "never retrieved" not in caplog.text


def test_a_counter_that_went_back_meanwhile_is_a_conflict(embedded: EmbeddedServer) -> None:
    tree = Tree.fresh()
    tree.add("/q", b"", OPEN_ACL, stat_of(), 9)

    async def scenario() -> None:
        async with AsyncClient(embedded.hosts) as client:
            await client.create("/q")
            for name in "abc":
                await client.create(f"/q/{name}")
                await client.delete(f"/q/{name}")
            plan = await plan_for(client, tree)
            await client.delete("/q")
            await client.create("/q")
            (conflict,) = (await restore(client, tree, plan)).conflicts
            assert conflict[:2] == ("raise the counter", "/q")
            assert "it is 0 now" in conflict.reason

    run(scenario())
