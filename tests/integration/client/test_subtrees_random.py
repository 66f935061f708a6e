"""Random subtrees are copied, moved, exported and imported, on a network that fails at random.

The model is the tree itself: what a transfer reports as written is on the server, what is there is
a copy of the source, and a transfer that is repeated until it succeeds makes an equal tree. A move
never loses a znode. Without faults of the network, the numbers are exact, also after an interrupt.
"""

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.outcomes import Running
from tests.support.proxy import Proxy
from tests.support.waiting import WAIT_S
from zoolet.client import (
    ACL,
    OPEN_ACL,
    AsyncClient,
    Client,
    ClientOptions,
    ConnectionLossError,
    CreateMode,
    DeadlineError,
    Id,
    NodeExistsError,
    NoNodeError,
    Permission,
    Transferred,
)
from zoolet.testing import EmbeddedServer

ROUNDS = 6
DEEPEST = 6
UNCERTAIN = (ConnectionLossError, DeadlineError)
"""The errors of a network that fails."""
IN_PROGRESS = 8 * 500
"""The most znodes that are written without being reported."""
GUARDED = (ACL(int(Permission.ALL & ~Permission.CREATE), Id("world", "anyone")),)

Tree = dict[str, tuple[bytes | None, tuple[ACL, ...]]]
"""The data and the ACL of each znode, by its path below the root."""


class Forest:
    """Makes random trees."""

    def __init__(self, client: Client, chance: random.Random) -> None:
        self._client = client
        self._chance = chance

    def grow(self, root: str, *, with_ephemerals: bool) -> Tree:
        """Create a random tree; return what a copy of it must be."""
        chance = self._chance
        tree: Tree = {"": (b"root", OPEN_ACL)}
        parents = [""]
        self._client.create(root, b"root")
        futures = []
        for number in range(chance.choice([3, 40, 300, 1500])):
            path = f"{chance.choice(parents)}/{chance.choice('abc')}-{number}"
            data = self._data()
            kind = chance.random()
            acl, mode = OPEN_ACL, CreateMode.PERSISTENT
            if with_ephemerals and kind < 0.05:
                mode = CreateMode.EPHEMERAL
            elif kind < 0.1:
                acl = GUARDED
            else:
                if path.count("/") < DEEPEST:
                    parents.append(path)
                if chance.random() < 0.1:
                    parents = ["", *parents[-3:]]
            futures.append(self._client.futures.create(root + path, data, mode=mode, acl=acl))
            if mode is CreateMode.PERSISTENT:
                tree[path] = (data, acl)
        for future in futures:
            future.result()
        return tree

    def _data(self) -> bytes | None:
        sizes = [0, 1, 100, 100, 100, 2000]
        size = self._chance.choice(sizes) if self._chance.random() < 0.995 else 200_000
        return self._chance.choice([None, b"", self._chance.randbytes(size), b"x" * size])


def tree_at(client: Client, root: str) -> Tree:
    """Read a tree; it is empty if its root does not exist."""
    with contextlib.suppress(NoNodeError):
        znodes = list(client.read_subtree(root))
        return {znode.path[len(root) :]: (znode.data, znode.acl) for znode in znodes}
    return {}


class Cuts:
    """Cuts the connections of a proxy a few times, at random moments."""

    def __init__(self, proxy: Proxy, seed: int) -> None:
        self._proxy = proxy
        self._chance = random.Random(seed)
        self.stops = threading.Event()

    def go_on(self) -> None:
        for _ in range(self._chance.randrange(4)):
            if self.stops.wait(self._chance.uniform(0.0, 0.15)):
                return
            fault = self._chance.choice([self._proxy.replies_lost, self._proxy.replies_held])
            with fault():
                self.stops.wait(self._chance.uniform(0.0, 0.03))
            if self._chance.random() < 0.5:
                self._proxy.cut()

    @classmethod
    @contextlib.contextmanager
    def made(cls, proxy: Proxy, seed: int) -> Iterator[None]:
        cuts = cls(proxy, seed)
        thread = Running(cuts.go_on)
        try:
            yield
        finally:
            cuts.stops.set()
            thread.end()


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


@contextlib.contextmanager
def client_of(hosts: str) -> Iterator[Client]:
    options = ClientOptions(session_timeout_ms=20_000, connect_timeout_s=WAIT_S)
    with Client(hosts, options) as client:
        yield client


def until_done(
    transfer: Callable[..., Transferred], there: Client, goal: str, expected: Tree
) -> int:
    """Repeat a transfer until it succeeds; check what it has done after each failure.

    Returns the number of failures.
    """
    failures = 0
    while True:
        reports: list[Transferred] = [Transferred()]
        try:
            done = transfer(replaces=bool(failures), progress=reports.append)
        except (*UNCERTAIN, NodeExistsError) as error:
            if isinstance(error, NodeExistsError) and not failures:
                raise  # only a multi of the try before, which is applied late, may be the reason
            failures += 1
            assert failures < 200, "it never succeeds"
            found = tree_at(there, goal)
            assert found.items() <= expected.items()
            if failures == 1:
                assert reports[-1].written <= len(found) <= reports[-1].written + IN_PROGRESS
        else:
            assert done == reports[-1]
            assert done.is_copied
            assert done.written == len(expected)
            assert tree_at(there, goal) == expected
            return failures


def test_transfers_on_a_network_that_fails(chance: random.Random, tmp_path: Path) -> None:
    with (
        EmbeddedServer() as left,
        EmbeddedServer() as right,
        Proxy(left.port) as left_proxy,
        Proxy(right.port) as right_proxy,
        client_of(left.hosts) as origin,
        client_of(right.hosts) as goal,
        client_of(left_proxy.hosts) as far_origin,
        client_of(right_proxy.hosts) as far_goal,
    ):
        failures = 0
        for number in range(ROUNDS):
            expected = Forest(origin, chance).grow(f"/s{number}", with_ephemerals=True)
            source, target, file = f"/s{number}", f"/t{number}", tmp_path / f"export{number}"
            with Cuts.made(left_proxy, chance.randrange(1 << 32)):
                while not file.exists():
                    with contextlib.suppress(*UNCERTAIN):
                        far_origin.export_subtree(source, file)
            with (
                Cuts.made(left_proxy, chance.randrange(1 << 32)),
                Cuts.made(right_proxy, chance.randrange(1 << 32)),
            ):
                copy = partial(far_origin.copy_subtree, source, target, to=far_goal)
                load = partial(far_goal.import_subtree, file, f"{target}i")
                failures += until_done(copy, goal, target, expected)
                failures += until_done(load, goal, f"{target}i", expected)
            assert not list(tmp_path.glob("*.unfinished"))
        print(f"{failures} failures")


def test_a_move_on_a_network_that_fails_loses_nothing(chance: random.Random) -> None:
    with (
        EmbeddedServer() as server,
        Proxy(server.port) as proxy,
        client_of(server.hosts) as client,
        client_of(proxy.hosts) as far,
    ):
        for number in range(ROUNDS):
            expected = Forest(client, chance).grow(f"/s{number}", with_ephemerals=False)
            source, target = f"/s{number}", f"/t{number}"
            reports = [Transferred()]
            try:
                with Cuts.made(proxy, chance.randrange(1 << 32)):
                    far.move_subtree(source, target, progress=reports.append)
            except UNCERTAIN:
                left, moved = tree_at(client, source), tree_at(client, target)
                assert left | moved == expected
                assert len(left) <= len(expected) - reports[-1].deleted
                assert len(moved) >= reports[-1].written
                if left and reports[-1].is_copied:
                    assert moved == expected
            else:
                assert tree_at(client, source) == {}
                assert tree_at(client, target) == expected


def test_the_numbers_are_exact_after_a_cancellation(chance: random.Random) -> None:
    async def cancelled(hosts: str, source: str, target: str, delay_s: float) -> Transferred:
        reports = [Transferred()]
        async with AsyncClient(hosts) as client:
            task = asyncio.ensure_future(
                client.copy_subtree(source, target, progress=reports.append)
            )
            await asyncio.wait([task], timeout=delay_s)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return reports[-1]

    with EmbeddedServer() as server, client_of(server.hosts) as client:
        expected = Forest(client, chance).grow("/s", with_ephemerals=False)
        for number in range(ROUNDS):
            target = f"/t{number}"
            done = asyncio.run(cancelled(server.hosts, "/s", target, chance.uniform(0.0, 0.5)))
            found = tree_at(client, target)
            assert len(found) == done.written
            assert found.items() <= expected.items()
            assert len(found) == len(expected) or not done.is_copied
