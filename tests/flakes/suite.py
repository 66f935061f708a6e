"""500 small tests as a project has them that uses ZooKeeper: none of them may ever be flaky.

``make flakes`` runs them 20 times under xdist. They use the plugin's fixtures, and kazoo.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kazoo.exceptions import BadVersionError, ConnectionLoss, NodeExistsError
from kazoo.protocol.states import KazooState

from tests.support.waiting import WAIT_S
from zoolet.testing import EmbeddedServer, ErrorCode, OpCode

pytestmark = pytest.mark.parametrize("number", range(50))

Connect = Callable[[], Any]


@pytest.fixture
def connect(zookeeper: EmbeddedServer) -> Iterator[Connect]:
    clients = []

    def start() -> Any:
        client = zookeeper.client()
        client.start()
        clients.append(client)
        return client

    yield start
    zookeeper.heal()
    for client in clients:
        client.stop()
        client.close()


def event_of(client: Any, state: str) -> threading.Event:
    """Return what is set once a client is in a state."""
    reached = threading.Event()
    client.add_listener(lambda now: reached.set() if now == state else None)
    return reached


def test_a_znode(zookeeper: EmbeddedServer, zookeeper_client: Any, number: int) -> None:
    assert zookeeper.inside.paths() == []
    zookeeper_client.create("/a/b", b"%d" % number, makepath=True)
    zookeeper_client.set("/a/b", b"new", version=0)
    with pytest.raises(BadVersionError):
        zookeeper_client.delete("/a/b", version=0)
    zookeeper_client.delete("/a", recursive=True)
    assert zookeeper.inside.paths() == []


def test_a_watch(zookeeper_client: Any, number: int) -> None:
    changed = threading.Event()
    zookeeper_client.create("/a")
    zookeeper_client.get("/a", watch=lambda _: changed.set())
    zookeeper_client.set("/a", b"%d" % number)
    assert changed.wait(WAIT_S)


def test_a_lock_that_its_holder_loses(
    zookeeper: EmbeddedServer, connect: Connect, number: int
) -> None:
    holder, waiter = connect(), connect()
    lost = event_of(holder, KazooState.LOST)
    assert holder.Lock("/lock", number).acquire()
    zookeeper.faults.expire(holder)
    assert waiter.Lock("/lock", number).acquire(timeout=WAIT_S)
    assert lost.wait(WAIT_S)


def test_a_reply_that_is_lost(
    zookeeper: EmbeddedServer, zookeeper_client: Any, number: int
) -> None:
    zookeeper.faults.on(OpCode.CREATE, "/a").drop_reply()
    with pytest.raises(ConnectionLoss):
        zookeeper_client.create("/a", b"%d" % number)
    with pytest.raises(NodeExistsError):
        zookeeper_client.retry(zookeeper_client.create, "/a")
    zookeeper.inside.assert_path("/a", b"%d" % number)


def test_an_election(connect: Connect, number: int) -> None:
    led: list[int] = []
    clients = [connect() for _ in range(2)]
    threads = [
        threading.Thread(
            target=client.Election("/election", f"{number}").run, args=(led.append, index)
        )
        for index, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(led) == [0, 1]


def test_a_queue(zookeeper_client: Any, number: int) -> None:
    queue = zookeeper_client.LockingQueue("/queue")
    queue.put(b"later", priority=200)
    queue.put(b"%d" % number, priority=100)
    assert queue.get(timeout=WAIT_S) == b"%d" % number
    assert queue.consume()


def test_a_timeout_of_a_minute(zookeeper: EmbeddedServer, connect: Connect, number: int) -> None:
    client, other = connect(), connect()
    client.create("/e", b"%d" % number, ephemeral=True)
    with zookeeper.faults.partition(client):
        zookeeper.clock.move(60)
        assert other.exists("/e") is None
        assert len(zookeeper.inside.sessions()) == 1


def test_a_cut_connection(zookeeper: EmbeddedServer, zookeeper_client: Any, number: int) -> None:
    suspended = event_of(zookeeper_client, KazooState.SUSPENDED)
    zookeeper_client.create("/e", ephemeral=True)
    zookeeper.faults.cut(zookeeper_client)
    assert suspended.wait(WAIT_S)
    zookeeper_client.retry(zookeeper_client.set, "/e", b"%d" % number)
    zookeeper.inside.assert_path("/e", b"%d" % number, ephemeral=True)


def test_a_restart(zookeeper: EmbeddedServer, zookeeper_client: Any, number: int) -> None:
    zookeeper_client.create("/a", b"%d" % number)
    zookeeper.restart()
    assert zookeeper_client.retry(zookeeper_client.get, "/a")[0] == b"%d" % number


def test_an_error_and_what_is_left(
    zookeeper: EmbeddedServer, zookeeper_client: Any, number: int
) -> None:
    zookeeper_client.create("/a")
    zookeeper.faults.on(OpCode.SET_DATA, chance=0.5, seed=number).answer(ErrorCode.BAD_VERSION)
    for _ in range(3):
        try:
            zookeeper_client.set("/a", b"%d" % number)
        except BadVersionError:
            assert len(zookeeper.faults.story) == 1
    zookeeper.inside.wait_until_quiet(for_s=0.01)
    zookeeper.inside.assert_no_watches()
    zookeeper.inside.assert_no_leaked_sessions(zookeeper_client)
