"""A mirror is killed between any two steps, connections break, and others write: copies converge.

The source's own tree is the model. Each value of a znode is unique, so a copy with a value that its
path never had in the source is found. A world is a seed: it decides the changes, the moments of the
kills, and the lost connections. Without changes of others in the target, the mirror must never
report a conflict, whatever was killed.
"""

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.waiting import WAIT_S
from zoolet.archive.live.counters import counter_of
from zoolet.archive.mirror.mirror import Mirror, MirrorOptions
from zoolet.archive.mirror.records.state_file import StateFile
from zoolet.client import (
    ACL,
    OPEN_ACL,
    AsyncClient,
    ClientOptions,
    CreateMode,
    Id,
    NoNodeError,
    ZooKeeperError,
)
from zoolet.client.protocol.calls import Call
from zoolet.testing import EmbeddedServer, FaultError

T = TypeVar("T")
Servers = tuple[EmbeddedServer, EmbeddedServer]
"""The source and the target."""

ACLS = (OPEN_ACL, (ACL(31, Id("world", "anyone")), ACL(1, Id("ip", "127.0.0.1"))))
RUNS = 6
"""Runs of the mirror in a world; all but the last are killed, if they do not end before."""


MOST_WRITES = 6
"""The most writes of a multi here: large subtrees are replaced in parts."""


class KilledError(BaseException):
    """The process of the mirror is killed here."""


class Fate:
    """Decides when the process of a mirror is killed, and when its connections break."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.steps_left = 0
        self.breaks = 0.0

    def step(self) -> None:
        """Count a step of the mirror, which is perhaps its last one."""
        self.steps_left -= 1
        if self.steps_left == 0:
            raise KilledError


class MortalClient(AsyncClient):
    """A client of a mirror that is killed, or whose connection breaks, at a request."""

    fate: Fate

    def _run(self, call: Call[T], timeout_s: float | None) -> asyncio.Future[T]:
        self.fate.step()
        future = super()._run(call, timeout_s)
        if self.fate.chance.random() < self.fate.breaks:
            asyncio.get_running_loop().call_soon(self._engine.drop_connection, "a test")
        self.fate.step()
        return future


class MortalState(StateFile):
    """The state file of a mirror that is killed before or after a commit."""

    fate: Fate | None = None

    def commit(self) -> None:
        if self.fate is not None:
            self.fate.step()
        super().commit()
        if self.fate is not None:
            self.fate.step()


class World:
    """Two servers, the clients that change them, and the mirror."""

    def __init__(self, seed: int, servers: Servers, directory: Path) -> None:
        self.chance = random.Random(seed)
        self.source, self.target = f"/source-{seed}", f"/target-{seed}"
        self.servers = servers
        self.clients: list[MortalClient] = []
        self.state_path = directory / f"{seed}.sqlite"
        self.values: defaultdict[str, set[bytes]] = defaultdict(set)
        self.number = 0
        self.paths = [""]
        self.fate = Fate(self.chance)

    @property
    def hosts(self) -> list[str]:
        return [server.hosts for server in self.servers]

    def expire(self) -> None:
        """End the session of a client of the mirror at the server."""
        if self.clients:
            side = self.chance.randrange(2)
            session = self.clients[side].session_id.id
            with contextlib.suppress(FaultError):  # there is no session at the moment
                self.servers[side].faults.expire(session)

    def value(self, relative: str) -> bytes:
        self.number += 1
        value = f"{relative}#{self.number}".encode()
        self.values[relative].add(value)
        return value

    async def change(self, client: AsyncClient) -> None:
        """Change the source once."""
        relative = self.chance.choice(self.paths)
        path = self.source + relative
        step = self.chance.random()
        with contextlib.suppress(NoNodeError, ZooKeeperError):
            if step < 0.35:
                child = f"{relative}/{self.chance.choice('abcd')}"
                if child.count("/") < 4:
                    acl = self.chance.choice(ACLS)
                    await client.create(self.source + child, self.value(child), acl=acl)
                    self.paths.append(child)
            elif step < 0.5:
                mode = self.chance.choice(
                    [CreateMode.PERSISTENT_SEQUENTIAL, CreateMode.EPHEMERAL_SEQUENTIAL]
                )
                created = (await client.create(f"{path}/s-", b"", mode=mode)).path
                child = created[len(self.source) :]
                if mode is CreateMode.PERSISTENT_SEQUENTIAL:
                    await client.set(created, self.value(child))
                    self.values[child].add(b"")
                if self.chance.random() < 0.7:
                    await client.delete(created)
            elif step < 0.6:
                await client.set_acl(path, self.chance.choice(ACLS))
            elif step < 0.7 and relative:
                await client.delete_recursive(path)
            elif step < 0.75 and relative:
                await self.create_again(client, relative)
            else:
                await client.set(path, self.value(relative))

    async def create_again(self, client: AsyncClient, relative: str) -> None:
        """Delete a subtree of the source, and create it again with more znodes."""
        root = self.source + relative
        below = [znode.path[len(self.source) :] async for znode in client.read_subtree(root)]
        await client.delete_recursive(root)
        more = [f"{relative}/{number}" for number in range(2 * MOST_WRITES)]
        self.paths += more
        for again in sorted({*below, *more}):
            await client.create(self.source + again, self.value(again))

    async def interfere(self, client: AsyncClient) -> None:
        """Change the target once, as a client that should not."""
        relative = self.chance.choice(self.paths)
        path, step = self.target + relative, self.chance.random()
        self.values[relative].add(b"other")
        with contextlib.suppress(ZooKeeperError):
            if step < 0.3:
                await client.set(path, b"other")
            elif step < 0.5:
                await client.create(f"{path}/other", b"other")
            elif step < 0.6:
                await client.set_acl(path, self.chance.choice(ACLS))
            elif step < 0.8 and relative:
                await client.delete_recursive(path)
            else:
                await client.delete(path)
                await client.create(path, b"other")

    async def run_mirror(self, *, overwrites: bool) -> bool:
        """Run the mirror until both subtrees are equal, or it is killed; return which."""
        options = ClientOptions(session_timeout_ms=4000, connect_timeout_s=WAIT_S)
        clients = [MortalClient(hosts, options) for hosts in self.hosts]
        MortalState.fate = None
        state = MortalState(self.state_path, self.source, self.target)
        for client in clients:
            client.fate = Fate(self.chance)
            await client.start()
            client.fate = self.fate
        MortalState.fate = self.fate
        self.clients = clients
        mirror = Mirror(
            clients[0],
            self.source,
            clients[1],
            self.target,
            state,
            MirrorOptions(ends_when_equal=True, overwrites=overwrites, compare_s=WAIT_S),
            lambda _: None,
        )
        try:
            await mirror.run()
        except KilledError:
            for _ in range(self.chance.randrange(4)):  # the last requests are sent, or not
                await asyncio.sleep(0)
            return False
        else:
            return True
        finally:
            self.clients = []
            state.close()
            for client in clients:
                client.fate = Fate(self.chance)
                await client.close(0.1, keeps_session=True)

    async def live(self, *, with_others: bool) -> None:
        """Change the servers while the mirror runs and is killed; then compare."""
        async with AsyncClient(self.hosts[0]) as source, AsyncClient(self.hosts[1]) as target:
            await source.create(self.source, self.value(""))
            for _ in range(self.chance.choice([0, 20, 100])):
                await self.change(source)
            for _ in range(RUNS):
                self.fate.steps_left = self.chance.choice([20, 60, 150, 400])
                self.fate.steps_left = self.chance.randrange(1, self.fate.steps_left)
                self.fate.breaks = self.chance.choice([0.0, 0.0, 0.03])
                running = asyncio.ensure_future(self.run_mirror(overwrites=with_others))
                while not running.done():
                    await self.change(source)
                    if with_others and self.chance.random() < 0.3:
                        await self.interfere(target)
                    if self.chance.random() < 0.01:
                        self.expire()
                    await asyncio.sleep(0.001 * self.chance.random())
                    if self.number > 5000:
                        break
                await running
                await self.check_values(target)
            self.fate.steps_left, self.fate.breaks = 0, 0.0
            assert await self.run_mirror(overwrites=with_others)
            await self.check_equal(source, target)

    async def follow(self) -> None:
        """Change the source while one mirror runs; the copy becomes equal without a comparison."""
        async with contextlib.AsyncExitStack() as stack:
            source, target, *ends = [
                await stack.enter_async_context(AsyncClient(hosts)) for hosts in 2 * self.hosts
            ]
            await source.create(self.source, self.value(""))
            state = StateFile(self.state_path, self.source, self.target)
            stack.callback(state.close)
            options = MirrorOptions(compare_s=1e6)
            mirror = Mirror(
                ends[0], self.source, ends[1], self.target, state, options, lambda _: None
            )
            running = asyncio.ensure_future(mirror.run())
            for _ in range(300):
                await self.change(source)
                await asyncio.sleep(0.001 * self.chance.random())
            while not running.done() and (
                await self.data_at(source, self.source) != await self.data_at(target, self.target)
            ):
                await asyncio.sleep(0.01)
            assert mirror.report().figures.comparisons == 1
            mirror.stop()
            await running

    async def data_at(self, client: AsyncClient, root: str) -> dict[str, bytes | None]:
        """Return the data of the persistent znodes of a subtree; changes of ACLs have no events."""
        if await client.exists(root) is None:
            return {}
        return {
            znode.path[len(root) :]: znode.data
            async for znode in client.read_subtree(root)
            if not znode.stat.ephemeral_owner
        }

    async def check_values(self, target: AsyncClient) -> None:
        """Each copy has a value that its path had in the source."""
        with contextlib.suppress(NoNodeError):
            async for visited in target.walk(self.target, with_data=True):
                relative = visited.path[len(self.target) :]
                if visited.found is not None and not relative.endswith("/other"):
                    known = self.values[relative]
                    assert visited.found.data in known, relative

    async def check_equal(self, source: AsyncClient, target: AsyncClient) -> None:
        trees = []
        for client, root in ((source, self.source), (target, self.target)):
            found = {}
            async for znode in client.read_subtree(root):
                if not znode.stat.ephemeral_owner:
                    found[znode.path[len(root) :]] = (znode.data, sorted(znode.acl))
            trees.append(found)
        assert trees[1] == trees[0]
        for relative in trees[0]:
            stats = [
                await client.exists(root + relative)
                for client, root in ((source, self.source), (target, self.target))
            ]
            assert stats[0] is not None
            assert stats[1] is not None
            assert counter_of(stats[1]) >= counter_of(stats[0]), relative


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with EmbeddedServer() as source, EmbeddedServer() as target:
        yield source, target


@pytest.fixture(autouse=True)
def _small_multis(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("copying", "mirror"):
        monkeypatch.setattr(f"zoolet.archive.mirror.{module}.MOST_WRITES", MOST_WRITES)


def run_worlds(
    request: pytest.FixtureRequest, servers: Servers, directory: Path, *, with_others: bool
) -> None:
    first: int = request.config.getoption("--first-mirror-world")
    count: int = request.config.getoption("--mirror-worlds")

    async def run_all() -> None:
        asyncio.get_running_loop().set_exception_handler(ignore)  # of calls of killed mirrors
        for seed in range(first, first + count):
            try:
                world = World(2 * seed + with_others, servers, directory)
                await asyncio.wait_for(world.live(with_others=with_others), 2 * WAIT_S)
            except BaseException as error:
                error.add_note(
                    f"world {seed}: pytest --first-mirror-world={seed} --mirror-worlds=1"
                )
                raise

    asyncio.run(run_all())


def ignore(_: asyncio.AbstractEventLoop, __: dict[str, Any]) -> None:
    """Ignore what nobody waits for."""


def test_kills_and_lost_connections_cause_no_conflict(
    request: pytest.FixtureRequest, servers: Servers, tmp_path: Path
) -> None:
    run_worlds(request, servers, tmp_path, with_others=False)


def test_changes_of_others_are_overwritten(
    request: pytest.FixtureRequest, servers: Servers, tmp_path: Path
) -> None:
    run_worlds(request, servers, tmp_path, with_others=True)


def test_a_mirror_follows_all_changes_without_a_comparison(
    request: pytest.FixtureRequest, servers: Servers, tmp_path: Path
) -> None:
    first: int = request.config.getoption("--first-mirror-world")
    count: int = request.config.getoption("--mirror-worlds")
    for seed in range(first, first + count):
        world = World(10**6 + seed, servers, tmp_path)
        asyncio.run(asyncio.wait_for(world.follow(), WAIT_S))
