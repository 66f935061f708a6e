"""What kazoo lacks, asked of zoolet and of Apache ZooKeeper: requests, and watches that stay."""

import contextlib
import queue
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import (
    NodeExistsError,
    NoNodeError,
    NoWatcherError,
    QuotaExceededError,
    RolledBackError,
)
from kazoo.protocol.serialization import CheckVersion, Delete, SetData

from tests.support.on_observer import OPTION
from tests.support.proxy import Proxy
from tests.support.waiting import WAIT_S, wait_until
from zoolet.client.kazoo import (
    Watches,
    WatchEvent,
    WatchKind,
    ask,
    count_descendants,
    create,
    create_request,
    get_config,
    get_ephemerals,
    multi_async,
    multi_read,
    who_am_i,
)
from zoolet.client.kazoo.requests import MultiRead
from zoolet.model.acl import Id
from zoolet.model.codes import AddWatchMode, CreateMode, EventType, WatcherType
from zoolet.testing.servers.process import ExternalServer

STEADY_S = 4.0
SHORT_S = 0.6

Connect = Callable[..., Any]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Start clients, which are stopped in the end."""
    with contextlib.ExitStack() as stack:

        def start(hosts: str, timeout_s: float = STEADY_S) -> Any:
            client = KazooClient(
                hosts=hosts,
                timeout=timeout_s,
                connection_retry={"max_tries": -1, "delay": 0.02, "max_delay": 0.1},
            )
            stack.callback(client.close)
            stack.callback(client.stop)
            client.watches = Watches(client)
            client.start(timeout=WAIT_S)
            return client

        yield start


class Events:
    """The events that a watch was called with, in order."""

    def __init__(self) -> None:
        self._came: queue.Queue[WatchEvent] = queue.Queue()

    def __call__(self, event: WatchEvent) -> None:
        self._came.put(event)

    def next(self) -> tuple[EventType, str]:
        """Wait for the next one."""
        event = self._came.get(timeout=WAIT_S)
        return event.type, event.path

    def is_empty(self) -> bool:
        return self._came.empty()


def test_requests_that_kazoo_lacks(
    any_server: ExternalServer, connect: Connect, request: pytest.FixtureRequest
) -> None:
    client = connect(any_server.hosts)
    assert create(client, "/a", None) == "/a"
    assert client.get("/a")[0] is None
    assert create(client, "/a/empty", b"") == "/a/empty"
    assert client.get("/a/empty")[0] == b""
    assert create(client, "/a/box", b"", CreateMode.CONTAINER) == "/a/box"
    ttl = CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL
    assert create(client, "/a/ttl-", b"", ttl, ttl_ms=60_000) == "/a/ttl-0000000002"
    assert create(client, "/a/mine", b"", CreateMode.EPHEMERAL) == "/a/mine"
    with pytest.raises(NodeExistsError):
        create(client, "/a/box", b"", CreateMode.CONTAINER)
    assert get_ephemerals(client) == ["/a/mine"]
    assert get_ephemerals(client, "/b") == []
    assert count_descendants(client, "/a") == 4
    client.add_auth("digest", "ann:secret")
    assert set(who_am_i(client)) == {Id("ip", "127.0.0.1"), Id("digest", "ann")}
    assert get_config(client) == client.get("/zookeeper/config")
    mode = "observer" if request.config.getoption(OPTION) else "standalone"
    assert f"Mode: {mode}" in ask(client, "127.0.0.1", any_server.port, "srvr", WAIT_S)


def test_many_in_one_request(any_server: ExternalServer, connect: Connect) -> None:
    client = connect(any_server.hosts)
    client.create("/a", b"data")
    created, boxed, checked = multi_async(
        client,
        [
            create_request(client, "/a/s-", b"x", CreateMode.PERSISTENT_SEQUENTIAL),
            create_request(client, "/a/box", b"", CreateMode.CONTAINER),
            CheckVersion("/a", 0),
        ],
    ).get()
    assert (created, boxed, checked) == ("/a/s-0000000000", "/a/box", True)
    data, missing, children, none = multi_read(client, ["/a", "/missing"], ["/a", "/missing"])
    assert (data[0], data[1].numChildren, sorted(children)) == (b"data", 2, ["box", created[3:]])
    assert isinstance(missing, NoNodeError)
    assert isinstance(none, NoNodeError)
    before, failed, _ = multi_async(
        client, [SetData("/a", b"new", -1), Delete("/missing", -1), Delete("/a/box", -1)]
    ).get()
    assert isinstance(before, RolledBackError)
    assert isinstance(failed, NoNodeError)
    assert client.get("/a")[0] == b"data"


@pytest.mark.parametrize(("data_of", "children_of"), [(1000, 0), (1001, 0), (1500, 1200), (0, 0)])
def test_no_multi_read_has_more_operations_than_servers_take(
    any_server: ExternalServer, connect: Connect, data_of: int, children_of: int
) -> None:
    client = connect(any_server.hosts)
    client.create("/a", b"data")
    with mock.patch("zoolet.client.kazoo.calls.MultiRead", wraps=MultiRead) as request:
        found = multi_read(client, ["/a"] * data_of, ["/a"] * children_of)
    assert [part[0] if isinstance(part, tuple) else part for part in found] == (
        [b"data"] * data_of + [[]] * children_of
    )
    assert max(len(sent.args[0]) for sent in request.call_args_list) <= 1000


def test_the_chroot_is_the_client_s_root(any_server: ExternalServer, connect: Connect) -> None:
    above = connect(any_server.hosts)
    above.create("/root")
    client = connect(f"{any_server.hosts}/root")
    events = Events()
    client.watches.add("/", AddWatchMode.PERSISTENT_RECURSIVE, events)
    assert create(client, "/a", b"x", CreateMode.EPHEMERAL) == "/a"
    assert events.next() == (EventType.NODE_CREATED, "/a")
    assert get_ephemerals(client) == ["/a"]
    assert count_descendants(client, "/") == 1
    assert multi_read(client, ["/a"], ["/"])[1] == ["a"]
    assert multi_async(client, [create_request(client, "/b", b"")]).get() == ["/b"]
    assert get_config(client) == above.get("/zookeeper/config")


def test_an_enforced_quota_refuses_a_create(any_server: ExternalServer, connect: Connect) -> None:
    client = connect(any_server.hosts)
    client.create("/q")
    client.create("/zookeeper/quota/q")
    client.create("/zookeeper/quota/q/zookeeper_limits", b"count=-1,bytes=-1=;countHardLimit=1")
    client.create("/zookeeper/quota/q/zookeeper_stats", b"count=1,bytes=0")
    with pytest.raises(QuotaExceededError):
        create(client, "/q/a", b"")


def test_persistent_watches(any_server: ExternalServer, connect: Connect) -> None:
    client, other = connect(any_server.hosts), connect(any_server.hosts)
    client.create("/a")
    client.create("/a/b")
    one, deep = Events(), Events()
    client.watches.add("/a", AddWatchMode.PERSISTENT, one)
    client.watches.add("/a/b", AddWatchMode.PERSISTENT_RECURSIVE, deep)
    other.create("/a/c")
    other.create("/a/b/c")
    other.set("/a", b"x")
    other.set("/a/b", b"x")
    other.set("/a/b/c", b"x")
    other.delete("/a/b/c")
    assert [one.next() for _ in range(2)] == [
        (EventType.NODE_CHILDREN_CHANGED, "/a"),
        (EventType.NODE_DATA_CHANGED, "/a"),
    ]
    assert [deep.next() for _ in range(4)] == [
        (EventType.NODE_CREATED, "/a/b/c"),
        (EventType.NODE_DATA_CHANGED, "/a/b"),
        (EventType.NODE_DATA_CHANGED, "/a/b/c"),
        (EventType.NODE_DELETED, "/a/b/c"),
    ]
    assert client.watches.remove("/a", WatcherType.ANY) == {WatchKind.PERSISTENT}
    assert client.watches.remove("/a/b", WatcherType.ANY) == {WatchKind.RECURSIVE}
    with pytest.raises(NoWatcherError):
        client.watches.remove("/a", WatcherType.ANY)
    other.set("/a", b"y")
    other.set("/a/b", b"y")
    client.sync("/a")
    assert one.is_empty()
    assert deep.is_empty()


def test_watches_outlive_a_lost_connection(any_server: ExternalServer, connect: Connect) -> None:
    other = connect(any_server.hosts)
    with Proxy(any_server.port) as proxy:
        client = connect(proxy.hosts)
        for path in ("/data", "/parent", "/gone", "/kept"):
            client.create(path)
        events = {name: Events() for name in ("data", "new", "child", "gone", "kept", "deep")}
        client.watches.get("/data", events["data"])
        assert client.watches.exists("/new", events["new"]) is None
        client.watches.get_children("/parent", events["child"])
        client.watches.exists("/gone", events["gone"])
        client.watches.add("/kept", AddWatchMode.PERSISTENT, events["kept"])
        client.watches.add("/kept", AddWatchMode.PERSISTENT_RECURSIVE, events["deep"])
        with proxy.cut_off():
            wait_until(lambda: not client.connected, "the loss of the connection")
            other.set("/data", b"x")
            other.create("/new")
            other.create("/parent/child")
            other.delete("/gone")
        assert events["data"].next() == (EventType.NODE_DATA_CHANGED, "/data")
        assert events["new"].next() == (EventType.NODE_CREATED, "/new")
        assert events["child"].next() == (EventType.NODE_CHILDREN_CHANGED, "/parent")
        assert events["gone"].next() == (EventType.NODE_DELETED, "/gone")
        other.set("/kept", b"x")
        other.create("/kept/below")
        assert events["kept"].next() == (EventType.NODE_DATA_CHANGED, "/kept")
        assert events["deep"].next() == (EventType.NODE_DATA_CHANGED, "/kept")
        assert events["deep"].next() == (EventType.NODE_CREATED, "/kept/below")
        other.set("/data", b"y")
        client.sync("/data")
        assert events["data"].is_empty()


def test_watches_outlive_their_session(any_server: ExternalServer, connect: Connect) -> None:
    other = connect(any_server.hosts)
    with Proxy(any_server.port) as proxy:
        client = connect(proxy.hosts, SHORT_S)
        client.create("/mark", ephemeral=True)
        client.create("/once")
        client.create("/a")
        once, always = Events(), Events()
        client.watches.get("/once", once)
        client.watches.add("/a", AddWatchMode.PERSISTENT_RECURSIVE, always)
        with proxy.cut_off():
            wait_until(lambda: other.exists("/mark") is None, "the end of the session")
            other.set("/once", b"x")
        assert once.next() == (EventType.NODE_DATA_CHANGED, "/once")
        other.create("/a/b")
        assert always.next() == (EventType.NODE_CREATED, "/a/b")


def test_more_watches_than_one_request_holds(any_server: ExternalServer, connect: Connect) -> None:
    other = connect(any_server.hosts)
    names = [f"/{number:0200d}" for number in range(1500)]
    with Proxy(any_server.port) as proxy:
        client = connect(proxy.hosts)
        events = Events()
        for name in names:
            client.watches.exists(name, events)
        proxy.cut()
        wait_until(lambda: not client.connected, "the loss of the connection")
        wait_until(lambda: client.connected, "a new connection")
        client.sync("/")
        for name in (names[0], names[-1]):
            other.create(name)
            assert events.next() == (EventType.NODE_CREATED, name)
