"""One data directory, opened and written to by zoolet and by Apache ZooKeeper in turn.

After each change of servers the tree is the same: data, every field of every Stat, ACLs, ephemerals
with their sessions; the sessions can be taken up, and the next zxid is one more.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kazoo.client import KazooClient

from tests.conformance.test_differential import dialect_of
from tests.support.differential.play import Player
from tests.support.differential.step_types import Dialect
from tests.support.differential.steps import generate
from tests.support.rawclient import RawClient
from zoolet.client import Client, Multi
from zoolet.state_machine.access import digest_of
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.base import ManagedServer

SETTINGS = {
    "tickTime": 3000,
    "snapCount": 300,
    "extendedTypesEnabled": "true",
    "znode.container.checkIntervalMs": 10**8,
    "DigestAuthenticationProvider.superDigest": digest_of(b"super:admin"),
}
REQUESTS = 600

TXNS_OF_A_LOOK = 4
"""A session, a znode that comes and goes, the session's end."""


class Seen(NamedTuple):
    """Every znode's data, Stat and ACL, and the zxid of what was written to find that out."""

    tree: dict[str, object]
    zxid: int


Start = Callable[[], ManagedServer]


@pytest.fixture
def starts(tmp_path: Path, apache_jars: Path) -> dict[str, Start]:
    """Both servers, on the same data directory."""
    return {
        "apache": lambda: ApacheServer(tmp_path, apache_jars, SETTINGS),
        "zoolet": lambda: ServerProcess(tmp_path, SETTINGS),
    }


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("first", ["zoolet", "apache"])
def test_servers_take_turns_on_a_data_directory(
    starts: dict[str, Start], apache_jars: Path, first: str, end: str
) -> None:
    take_turns(starts, dialect_of(apache_jars), first, end)


@pytest.mark.parametrize("method", ["gz", "snappy"])
def test_snapshots_may_be_compressed(tmp_path: Path, apache_jars: Path, method: str) -> None:
    settings = {**SETTINGS, "snapshot.compression.method": method}
    starts: dict[str, Start] = {
        "apache": lambda: ApacheServer(tmp_path, apache_jars, settings),
        "zoolet": lambda: ServerProcess(tmp_path, settings),
    }
    take_turns(starts, dialect_of(apache_jars), "zoolet", "stop")
    written = [path.suffix for path in tmp_path.glob("data/version-2/snapshot.*")]
    assert written.count(f".{method}") == len(written) > 2


def take_turns(starts: dict[str, Start], dialect: Dialect, first: str, end: str) -> None:
    second = "apache" if first == "zoolet" else "zoolet"
    left: Seen | None = None
    for turn, name in enumerate((first, second, first, second)):
        with starts[name]() as server:
            if left is not None:
                found = look_at(server)
                assert found.tree == left.tree
                assert found.zxid == left.zxid + TXNS_OF_A_LOOK
            write(server.port, turn, dialect)
            left = look_at(server)
            server.stop() if end == "stop" else server.kill()


def test_a_session_and_its_ephemerals_move_along(starts: dict[str, Start]) -> None:
    with starts["zoolet"]() as zoolet, RawClient(zoolet.port) as client:
        connected = client.connect(timeout_ms=30_000)
        assert client.create("/e", b"x", flags=1).err == 0
        zoolet.kill()
    with starts["apache"]() as apache, RawClient(apache.port) as client:
        again = client.connect(30_000, connected.session_id, connected.password)
        assert again.session_id == connected.session_id
        assert client.create("/f", b"y", flags=1).err == 0
        apache.kill()
    with starts["zoolet"]() as zoolet:
        with RawClient(zoolet.port) as client:
            again = client.connect(30_000, connected.session_id, connected.password)
            assert again.session_id == connected.session_id
            assert client.request(-11).err == 0
        assert not {"/e", "/f"} & look_at(zoolet).tree.keys()


def test_creates_in_a_logged_multi_are_applied(starts: dict[str, Start]) -> None:
    """Before 3.8.2, Apache ZooKeeper applies nothing of a logged multi that has a create2."""
    with starts["zoolet"]() as zoolet:
        with Client(zoolet.hosts) as client:
            client.multi(Multi().create("/m", b"x").create("/m/n"))
        zoolet.stop()
    with starts["apache"]() as apache:
        assert {"/m", "/m/n"} <= look_at(apache).tree.keys()


def write(port: int, seed: int, dialect: Dialect) -> None:
    """Have clients do what comes, the same for the same seed; their sessions live on."""
    player = Player(port, dialect)
    for step in generate(seed, REQUESTS, dialect):
        player.begin(step)
        player.end(step)
    player.close()


def look_at(server: ManagedServer) -> Seen:
    with super_user(server) as client:
        zxid = client.create("/probe", include_data=True)[1].czxid
        client.delete("/probe")
        tree = dict(_below(client, "/"))
    # The probe comes and goes in the root.
    root: Any = tree["/"]
    tree["/"] = (root[0], root[1]._replace(pzxid=0, cversion=0), root[2])
    return Seen(tree, zxid)


def _below(client: Any, path: str) -> Iterator[tuple[str, object]]:
    data, stat = client.get(path)
    yield path, (data, stat, client.get_acls(path)[0])
    for name in sorted(client.get_children(path)):
        yield from _below(client, f"{path.rstrip('/')}/{name}")


@contextmanager
def super_user(server: ManagedServer) -> Iterator[Any]:
    client = KazooClient(hosts=server.hosts, timeout=10.0, auth_data=[("digest", "super:admin")])
    client.start(timeout=10)
    yield client
    client.stop()
    client.close()
