"""Both links to ZooKeeper do the same: results, errors, watches, and the end of the connection."""

import queue
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.proxy import Proxy
from tests.support.sessions import end_session
from tests.support.waiting import WAIT_S, wait_until
from zoolet.client import (
    BadVersionError,
    Client,
    ClientClosedError,
    ClientOptions,
    ConnectionLossError,
    DeadlineError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistencyError,
    SessionId,
    ZooKeeperError,
)
from zoolet.jobs.znodes.connection import link_of
from zoolet.jobs.znodes.link import Link
from zoolet.jobs.znodes.operations import Create, Delete, Exists, Operation, SetData
from zoolet.model.acl import OPEN_ACL
from zoolet.model.results import ZnodeData
from zoolet.model.stat import Stat
from zoolet.testing.servers.apache import ApacheServer

LONG_S = WAIT_S


@pytest.fixture(params=["zoolet", "kazoo"])
def apache_link(request: pytest.FixtureRequest, apache: ApacheServer) -> Iterator[Link]:
    """A link of each kind to Apache ZooKeeper, with a chroot."""
    hosts = f"{apache.hosts}/root"
    with Client(apache.hosts) as client:
        client.create("/root")
    client = KazooClient(hosts=hosts) if request.param == "kazoo" else Client(hosts)
    client.start()
    link = link_of(client)
    yield link
    link.close(WAIT_S)


@pytest.fixture
def link(linked_client: Any) -> Link:
    return link_of(linked_client)


@pytest.fixture(params=["zoolet", "kazoo"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Any]]:
    """Return a function that returns a started client of each kind, closed after the test."""
    made: list[Any] = []

    def connect(hosts: str) -> Any:
        if request.param == "kazoo":
            client: Any = KazooClient(hosts=hosts, timeout=4.0)
        else:
            client = Client(hosts, ClientOptions(session_timeout_ms=4000))
        made.append(client)
        client.start()
        return client

    yield connect
    for client in made:
        link_of(client).close(1.0)


def create(link: Link, path: str, data: bytes = b"", **modes: bool) -> str:
    return link.create(Create(path, data, **modes), OPEN_ACL, LONG_S)


def test_a_link_is_its_own_link(link: Link) -> None:
    assert link_of(link) is link
    assert link.is_connected
    assert not link.is_over
    assert link.session_id


def test_reads_and_writes(link: Link) -> None:
    assert create(link, "/a", b"1") == "/a"
    assert create(link, "/a/s-", sequence=True, ephemeral=True) == "/a/s-0000000000"
    found = link.get("/a", None, LONG_S)
    assert (found.data, found.stat.version, found.stat.num_children) == (b"1", 0, 1)
    assert link.children("/a", None, LONG_S) in (("s-0000000000",), ["s-0000000000"])
    own, missing = link.exist_all([("/a/s-0000000000", None), ("/b", None)], LONG_S)
    assert own is not None
    assert own.ephemeral_owner == link.session_id
    assert missing is None
    assert link.set("/a", b"2", LONG_S).version == 1
    assert link.acl_of("/a", LONG_S) == OPEN_ACL
    data, children = link.read_many(["/a", "/b"], ["/a", "/b"], LONG_S)
    assert isinstance(data[0], ZnodeData)
    assert (data[0].data, data[0].stat.version) == (b"2", 1)
    assert shown(children[0]) == ["s-0000000000"]
    assert [type(error) for error in (data[1], children[1])] == [NoNodeError, NoNodeError]
    kinds = [type(error) for error in link.delete_all(["/a", "/b", "/a/s-0000000000"], LONG_S)]
    assert kinds == [NotEmptyError, NoNodeError, type(None)]


def test_a_multi_that_is_refused_has_the_error_of_each_operation(link: Link) -> None:
    create(link, "/a")
    operations: list[Operation] = [SetData("/a", b"1", 0), Delete("/a", 5), Create("/b", b"")]
    with pytest.raises(BadVersionError) as caught:
        link.multi(operations, OPEN_ACL, LONG_S)
    kinds = [type(error) for error in caught.value.results]
    assert kinds == [RolledBackError, BadVersionError, RuntimeInconsistencyError]
    operations = [SetData("/a", b"1", 0), Create("/a/s-", b"", sequence=True), Exists("/a")]
    assert link.multi(operations, OPEN_ACL, LONG_S) == [None, "/a/s-0000000000", None]


def test_paths_are_relative_to_the_chroot(server: Any, connect: Callable[[str], Any]) -> None:
    root = link_of(connect(server.hosts))
    create(root, "/root")
    link = link_of(connect(f"{server.hosts}/root"))
    assert create(link, "/a", sequence=True) == "/a0000000000"
    [path] = link.multi([Create("/b", b"", sequence=True)], OPEN_ACL, LONG_S)
    assert path == "/b0000000001"
    assert sorted(root.children("/root", None, LONG_S)) == ["a0000000000", "b0000000001"]
    [listed] = link.read_many((), ["/"], LONG_S).children
    assert shown(listed) == ["a0000000000", "b0000000001"]


def test_apache_returns_the_paths_of_the_creates_of_a_multi(apache_link: Link) -> None:
    operations: list[Operation] = [
        Create("/a", b""),
        SetData("/a", b"", 0),
        Create("/s-", b"", True, True),
    ]
    found = apache_link.multi(operations, OPEN_ACL, LONG_S)
    assert found == ["/a", None, "/s-0000000001"]


# --- Watches


def set_watches(link: Link, seen: "queue.Queue[str]") -> None:
    """Set a watch by each request that sets one."""
    create(link, "/a")
    link.get("/a", lambda _: seen.put("get"), LONG_S)
    link.exists("/b", lambda _: seen.put("exists"), LONG_S)
    link.exist_all([("/c", lambda _: seen.put("exist_all"))], LONG_S)
    link.children("/a", lambda _: seen.put("children"), LONG_S)
    link.read_many((), (), LONG_S, watched=[("/d", lambda _: seen.put("read_many"))])


ALL_WATCHES = ["children", "exist_all", "exists", "get", "read_many"]


def test_watches_are_called_on_changes(link: Link) -> None:
    seen: queue.Queue[str] = queue.Queue()
    set_watches(link, seen)
    link.set("/a", b"", LONG_S)
    for path in ("/a/child", "/b", "/c", "/d"):
        create(link, path)
    assert sorted(seen.get(timeout=WAIT_S) for _ in ALL_WATCHES) == ALL_WATCHES


@pytest.mark.parametrize("changed", [False, True])
def test_no_change_during_a_lost_connection_is_missed(
    server: Any, connect: Callable[[str], Any], *, changed: bool
) -> None:
    seen: queue.Queue[str] = queue.Queue()
    other = link_of(connect(server.hosts))
    with Proxy(server.port) as proxy:
        link = link_of(connect(proxy.hosts))
        set_watches(link, seen)
        with proxy.cut_off():
            wait_until(lambda: not link.is_connected, "the loss")
            if changed:
                other.set("/a", b"", LONG_S)
                for path in ("/a/child", "/b", "/c", "/d"):
                    create(other, path)
        wait_until(lambda: link.is_connected, "the connection")
        if not changed:
            other.set("/a", b"", LONG_S)
            for path in ("/a/child", "/b", "/c", "/d"):
                create(other, path)
        assert sorted(seen.get(timeout=WAIT_S) for _ in ALL_WATCHES) == ALL_WATCHES


def test_watches_are_called_when_the_session_has_ended(
    server: Any, connect: Callable[[str], Any]
) -> None:
    seen: queue.Queue[str] = queue.Queue()
    ended = threading.Event()
    client = connect(server.hosts)
    link = link_of(client)
    link.on_session_end(ended.set)
    set_watches(link, seen)
    before = link.session_id
    own = client.client_id if isinstance(client, KazooClient) else client.session_id
    end_session(server.hosts, SessionId(*own))
    assert sorted(seen.get(timeout=WAIT_S) for _ in ALL_WATCHES) == ALL_WATCHES
    assert ended.wait(WAIT_S)
    wait_until(lambda: link.is_connected and link.session_id != before, "the new session")


# --- The end of a connection


def test_a_lost_reply_is_a_lost_connection(server: Any, connect: Callable[[str], Any]) -> None:
    with Proxy(server.port) as proxy:
        link = link_of(connect(proxy.hosts))
        with proxy.replies_lost(), pytest.raises(ConnectionLossError):
            link.set("/", b"", LONG_S)


def test_a_request_ends_at_its_limit(server: Any, connect: Callable[[str], Any]) -> None:
    with Proxy(server.port) as proxy:
        link = link_of(connect(proxy.hosts))
        calls: list[Callable[[], object]] = [
            lambda: link.get("/", None, 0.05),
            lambda: link.exist_all([("/", None)] * 3, 0.05),
            lambda: link.delete_all(["/a", "/b"], 0.05),
            lambda: link.read_many(["/"], (), 0.05, watched=[("/", lambda _: None)]),
            lambda: link.multi([Exists("/")], OPEN_ACL, 0.0),
        ]
        with proxy.replies_held():
            for call in calls:
                with pytest.raises(DeadlineError):
                    call()


def test_a_closed_link_is_over(link: Link) -> None:
    link.close(WAIT_S)
    assert link.is_over
    assert not link.is_login_refused
    link.wait_for_change(WAIT_S)
    with pytest.raises(ClientClosedError):
        link.get("/", None, LONG_S)


def test_a_client_that_was_never_started_is_over() -> None:
    for client in (Client("127.0.0.1:1"), KazooClient(hosts="127.0.0.1:1")):
        assert link_of(client).is_over


def test_closing_ends_the_wait_for_a_connection(server: Any, link: Link) -> None:
    server.kill()
    wait_until(lambda: not link.is_connected, "the loss")
    waiting = threading.Thread(target=link.wait_for_change, args=(WAIT_S,))
    waiting.start()
    link.close(WAIT_S)
    waiting.join(WAIT_S)
    assert not waiting.is_alive()


# --- Both beside each other


PATHS = ["/a", "/a/b", "/a/b/c", "/d", "/d/e"]


def shown(result: Any) -> Any:
    """Return what must be the same for both: no zxids, times and sessions."""
    if isinstance(result, ZooKeeperError):
        return type(result), [type(error) for error in result.results]
    if isinstance(result, Stat):
        return result.version, result.cversion, result.data_length, result.num_children
    if isinstance(result, ZnodeData):
        return result.data, shown(result.stat)
    if isinstance(result, list | tuple):
        parts = [shown(one) for one in result]
        return sorted(parts) if all(isinstance(one, str) for one in parts) else parts
    return result


def random_operation(chance: random.Random) -> Operation:
    path = chance.choice(PATHS)
    data, version = chance.randbytes(2), chance.choice([-1, 0, 1])
    kinds: list[Operation] = [
        Create(path, data, chance.random() < 0.3, chance.random() < 0.2),
        Delete(path, version),
        SetData(path, data, version),
        Exists(path),
    ]
    return chance.choice(kinds)


def random_request(chance: random.Random) -> Callable[[Link], Any]:
    path = chance.choice(PATHS)
    some = chance.sample(PATHS, 3)
    operations = [random_operation(chance) for _ in range(chance.randint(1, 3))]
    new = Create(path, chance.randbytes(3), chance.random() < 0.3, chance.random() < 0.2)
    found: list[Callable[[Link], Any]] = [
        lambda link: link.get(path, None, LONG_S),
        lambda link: link.exist_all([(one, None) for one in some], LONG_S),
        lambda link: link.children(path, None, LONG_S),
        lambda link: link.acl_of(path, LONG_S),
        lambda link: link.read_many(some, some[:2], LONG_S),
        lambda link: link.set(path, b"x", LONG_S),
        lambda link: link.delete_all(some, LONG_S),
        lambda link: link.create(new, OPEN_ACL, LONG_S),
        lambda link: link.create(new, OPEN_ACL, LONG_S),
        lambda link: link.multi(operations, OPEN_ACL, LONG_S),
        lambda link: link.multi(operations, OPEN_ACL, LONG_S),
    ]
    return chance.choice(found)


@pytest.mark.parametrize("seed", range(3))
def test_both_links_have_the_same_results(server: Any, client: KazooClient, seed: int) -> None:
    """Model: the other link, with the same requests on a tree of its own."""
    chance = random.Random(seed)
    for name in ("zoolet", "kazoo"):
        client.create(f"/{name}")
    other = KazooClient(hosts=f"{server.hosts}/kazoo")
    other.start()
    with Client(f"{server.hosts}/zoolet") as own:
        links = [link_of(own), link_of(other)]
        for number in range(300):
            request = random_request(chance)
            results = []
            for link in links:
                try:
                    results.append(shown(request(link)))
                except ZooKeeperError as error:
                    results.append(shown(error))
            assert results[0] == results[1], f"seed {seed}, request {number}"
    other.stop()
    other.close()
