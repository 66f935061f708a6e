"""The rows of the design's first table that a client sees, by kazoo against the real server."""

import threading
from typing import TYPE_CHECKING, Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import (
    AuthFailedError,
    BadVersionError,
    ConnectionClosedError,
    InvalidACLError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.protocol.states import EventType, KazooState, WatchedEvent
from kazoo.retry import ForceRetryError, KazooRetry, RetryFailedError
from kazoo.security import make_acl, make_digest_acl

from tests.support.rawclient import RawClient
from tests.support.waiting import WAIT_S
from zoolet.model.codes import CreateMode
from zoolet.testing import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable


class Recorder:
    """A watcher that keeps its events and lets a test wait for the next."""

    def __init__(self) -> None:
        self.events: list[WatchedEvent] = []
        self._arrived = threading.Semaphore(0)

    def __call__(self, event: WatchedEvent) -> None:
        self.events.append(event)
        self._arrived.release()

    def next(self) -> WatchedEvent:
        assert self._arrived.acquire(timeout=WAIT_S), "no watch event came"
        return self.events[-1]


def test_calls_before_start_raise_connection_closed(server: ServerProcess) -> None:
    client = KazooClient(hosts=server.hosts)
    with pytest.raises(ConnectionClosedError):
        client.get("/")
    client.start(timeout=WAIT_S)
    assert client.get_children("/") == ["zookeeper"]
    client.stop()
    client.close()


def test_sequences_are_in_order_of_creation(client: Any) -> None:
    client.create("/jobs")
    paths = [client.create("/jobs/entry-", b"", sequence=True) for _ in range(12)]
    assert paths == [f"/jobs/entry-{number:010d}" for number in range(12)]
    client.delete(paths[11])
    assert client.create("/jobs/entry-", sequence=True) == "/jobs/entry-0000000012"
    client.create("/jobs/other")
    assert client.create("/jobs/e-", sequence=True, ephemeral=True) == "/jobs/e-0000000014"


def test_sequences_of_many_clients_are_given_once(server: ServerProcess, client: Any) -> None:
    client.create("/queue")
    given: list[str] = []

    def create_many() -> None:
        other = KazooClient(hosts=server.hosts)
        other.start(timeout=WAIT_S)
        created = [other.create_async("/queue/n-", b"", sequence=True) for _ in range(50)]
        given.extend(result.get(timeout=WAIT_S) for result in created)
        other.stop()
        other.close()

    threads = [threading.Thread(target=create_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(given) == [f"/queue/n-{number:010d}" for number in range(200)]


def test_set_under_retry(client: Any) -> None:
    client.create("/a", b"old")
    stat = client.retry(client.set, "/a", b"new")
    assert (stat.version, stat.dataLength) == (1, 3)
    assert client.get("/a") == (b"new", stat)
    with pytest.raises(BadVersionError):
        client.set("/a", b"", version=7)
    with pytest.raises(NoNodeError):
        client.set("/missing", b"")


def test_get_returns_data_and_stat(client: Any) -> None:
    client.create("/a", b"\x00\xff")
    data, stat = client.get("/a")
    assert data == b"\x00\xff"
    assert (stat.version, stat.cversion, stat.aversion, stat.numChildren) == (0, 0, 0, 0)
    assert stat.czxid == stat.mzxid == stat.pzxid == stat.creation_transaction_id
    assert stat.ctime == stat.mtime > 0
    with pytest.raises(NoNodeError):
        client.get("/missing")


def test_a_get_of_a_vanished_node_is_retried_by_force_retry(client: Any) -> None:
    """A reader that finds a listed child gone forces its retried function to look again."""
    client.create("/list")
    client.create("/list/1", b"one")
    client.create("/list/2", b"two")
    looks = 0

    def first_value() -> bytes:
        nonlocal looks
        looks += 1
        first = min(client.get_children("/list"))
        if looks == 1:
            client.delete("/list/1")
        try:
            value: bytes = client.get(f"/list/{first}")[0]
        except NoNodeError:
            raise ForceRetryError from None
        return value

    assert client.retry(first_value) == b"two"
    assert looks == 2


def test_a_retry_with_a_limit_gives_up(client: Any) -> None:
    tries = 0

    def never() -> None:
        nonlocal tries
        tries += 1
        raise ForceRetryError

    with pytest.raises(RetryFailedError):
        KazooRetry(max_tries=3, delay=0.001)(never)
    assert tries == 3
    assert client.connected


def test_delete_of_what_someone_else_deleted(client: Any) -> None:
    client.create("/a")
    client.delete("/a")
    with pytest.raises(NoNodeError):
        client.delete("/a")
    client.create("/a/b/c", makepath=True)
    with pytest.raises(NotEmptyError):
        client.delete("/a")
    with pytest.raises(BadVersionError):
        client.delete("/a/b/c", version=3)
    client.delete("/a", recursive=True)
    assert client.exists("/a") is None


def test_create_errors(client: Any) -> None:
    client.create("/a")
    with pytest.raises(NodeExistsError):
        client.create("/a")
    with pytest.raises(NoNodeError):
        client.create("/missing/b")
    client.create("/e", ephemeral=True)
    with pytest.raises(NoChildrenForEphemeralsError):
        client.create("/e/child")
    with pytest.raises(InvalidACLError):
        client.create("/b", acl=[make_acl("nonsense", "x", read=True)])


def test_create_with_stat(client: Any) -> None:
    path, stat = client.create("/a", b"123", include_data=True)
    assert path == "/a"
    assert stat == client.exists("/a")


def test_children_and_their_stat(client: Any) -> None:
    client.create("/a")
    for name in ("x", "y", "z"):
        client.create(f"/a/{name}")
    client.delete("/a/y")
    names, stat = client.get_children("/a", include_data=True)
    assert sorted(names) == ["x", "z"]
    assert (stat.numChildren, stat.cversion) == (2, 4)
    with pytest.raises(NoNodeError):
        client.get_children("/missing")


def test_sync(client: Any) -> None:
    assert client.sync("/") == "/"


def test_a_multi_happens_whole(client: Any) -> None:
    client.create("/unowned")
    client.create("/owned")
    client.create("/unowned/job", b"data")
    multi = client.transaction()
    multi.delete("/unowned/job", version=0)
    multi.create("/owned/job", b"data")
    multi.create("/owned/n-", b"", sequence=True)
    multi.check("/owned", 0)
    multi.set_data("/owned", b"one")
    results = multi.commit()
    assert results[:4] == [True, "/owned/job", "/owned/n-0000000001", True]
    assert results[4].version == 1
    assert client.get_children("/unowned") == []


def test_a_multi_that_fails_does_nothing(client: Any) -> None:
    client.create("/a", b"")
    before = client.exists("/a")
    multi = client.transaction()
    multi.create("/a/b", b"")
    multi.check("/a", 5)
    multi.delete("/a")
    results = multi.commit()
    assert [type(result) for result in results] == [
        RolledBackError,
        BadVersionError,
        RuntimeInconsistency,
    ]
    assert client.exists("/a") == before
    assert client.exists("/a/b") is None


def test_parts_of_a_multi_see_those_before_them(client: Any) -> None:
    multi = client.transaction()
    multi.create("/p", b"")
    multi.create("/p/c-", b"", sequence=True)
    multi.create("/p/c-", b"", sequence=True)
    multi.set_data("/p", b"x", version=0)
    multi.delete("/p/c-0000000000")
    results = multi.commit()
    assert results[1:3] == ["/p/c-0000000000", "/p/c-0000000001"]
    data, stat = client.get("/p")
    assert (data, stat.version, stat.numChildren, stat.cversion) == (b"x", 1, 1, 3)


def test_data_watches_fire_once(client: Any) -> None:
    client.create("/a", b"")
    watch = Recorder()
    client.get("/a", watch=watch)
    client.set("/a", b"1")
    assert watch.next() == (EventType.CHANGED, "CONNECTED", "/a")
    client.set("/a", b"2")
    client.exists("/a", watch=watch)
    client.delete("/a")
    assert watch.next().type == EventType.DELETED
    client.exists("/a", watch=watch)
    client.create("/a")
    assert watch.next().type == EventType.CREATED
    assert len(watch.events) == 3


def test_child_watches_fire_once(client: Any) -> None:
    client.create("/a")
    watch = Recorder()
    client.get_children("/a", watch=watch)
    client.create("/a/b")
    assert watch.next() == (EventType.CHILD, "CONNECTED", "/a")
    client.get_children("/a", watch=watch)
    client.delete("/a/b")
    assert watch.next().type == EventType.CHILD
    client.get_children("/a", watch=watch)
    client.delete("/a")
    assert watch.next().type == EventType.DELETED
    assert len(watch.events) == 3


def test_an_event_comes_before_the_change_is_seen(server: ServerProcess, client: Any) -> None:
    """Whoever reads the new value has been told of it before (kazoo keeps the order of arrival)."""
    other = KazooClient(hosts=server.hosts)
    other.start(timeout=WAIT_S)
    other.create("/a", b"0")
    watch = Recorder()
    for number in range(1, 100):
        assert client.get("/a", watch=watch)[0] == b"%d" % (number - 1)
        other.set("/a", b"%d" % number)
        while client.get("/a")[0] != b"%d" % number:
            pass
        watch.next()
        assert len(watch.events) == number
    other.stop()
    other.close()


def test_acls_are_enforced(server: ServerProcess, client: Any) -> None:
    client.add_auth("digest", "ada:secret")
    client.create("/mine", b"1", acl=[make_digest_acl("ada", "secret", all=True)])
    client.create("/auth", b"1", acl=[make_acl("auth", "", all=True)])
    client.create("/readable", b"1", acl=[make_acl("world", "anyone", read=True)])
    acl, stat = client.get_acls("/auth")
    assert acl == [make_digest_acl("ada", "secret", all=True)]
    assert stat.aversion == 0

    stranger = KazooClient(hosts=server.hosts)
    stranger.start(timeout=WAIT_S)
    refusals: tuple[Callable[[], Any], ...] = (
        lambda: stranger.get("/mine"),
        lambda: stranger.exists("/mine"),
        lambda: stranger.get_children("/mine"),
        lambda: stranger.get_acls("/mine"),
        lambda: stranger.set("/mine", b"2"),
        lambda: stranger.set_acls("/mine", [make_acl("world", "anyone", all=True)]),
        lambda: stranger.create("/mine/child"),
        lambda: stranger.create("/readable/child"),
        lambda: stranger.set("/readable", b""),
    )
    for refused in refusals:
        with pytest.raises(NoAuthError):
            refused()
    assert stranger.get("/readable")[0] == b"1"
    stranger.add_auth("digest", "ada:secret")
    assert stranger.get("/mine")[0] == b"1"
    stranger.stop()
    stranger.close()

    stat = client.set_acls("/mine", [make_acl("world", "anyone", read=True, admin=True)], version=0)
    assert stat.aversion == 1
    with pytest.raises(BadVersionError):
        client.set_acls("/mine", [make_acl("world", "anyone", read=True)], version=0)
    with pytest.raises(NoAuthError):
        client.set("/mine", b"")


def test_an_unknown_auth_scheme_fails(server: ServerProcess) -> None:
    client = KazooClient(hosts=server.hosts)
    client.start(timeout=WAIT_S)
    with pytest.raises(AuthFailedError):
        client.add_auth("nonsense", "ada:secret")
    client.stop()
    client.close()


def test_timeouts_are_negotiated(server: ServerProcess) -> None:
    """tickTime is 200 ms here, so that a session lives 400 to 4,000 ms of silence."""
    for asked_ms, given_ms in ((100, 400), (2500, 2500), (60_000, 4000)):
        with RawClient(server.port) as client:
            assert client.connect(asked_ms).timeout_ms == given_ms


def test_ephemerals_go_with_their_session(server: ServerProcess, client: Any) -> None:
    other = KazooClient(hosts=server.hosts)
    other.start(timeout=WAIT_S)
    other.create("/e", b"", ephemeral=True)
    assert client.exists("/e").ephemeralOwner == other.client_id[0]
    watch = Recorder()
    client.exists("/e", watch=watch)
    other.stop()
    other.close()
    assert watch.next().type == EventType.DELETED


def test_a_silent_session_expires(server: ServerProcess, client: Any) -> None:
    with RawClient(server.port) as silent:
        session = silent.connect(400)
        assert silent.create("/e", flags=CreateMode.EPHEMERAL).err == 0
        watch = Recorder()
        assert client.exists("/e", watch=watch).ephemeralOwner == session.session_id
        assert watch.next().type == EventType.DELETED
        assert silent.is_closed_by_server()
    with RawClient(server.port) as late:
        assert late.connect(400, session.session_id, session.password).session_id == 0


def test_a_session_survives_its_connection(client: Any) -> None:
    states: list[str] = []
    back = threading.Event()

    def note(state: str) -> None:
        states.append(state)
        if state == KazooState.CONNECTED:
            back.set()

    client.create("/e", b"", ephemeral=True)
    session_id = client.client_id[0]
    client.add_listener(note)
    client._connection._socket.shutdown(2)
    assert back.wait(WAIT_S)
    assert states == [KazooState.SUSPENDED, KazooState.CONNECTED]
    assert client.client_id[0] == session_id
    assert client.retry(client.exists, "/e").ephemeralOwner == session_id


def test_a_session_survives_a_restart(server: ServerProcess) -> None:
    client = KazooClient(hosts=server.hosts, timeout=4.0)
    client.start(timeout=WAIT_S)
    client.create("/e", b"mine", ephemeral=True)
    session_id = client.client_id[0]
    server.restart()
    data, stat = client.retry(client.get, "/e")
    assert (data, stat.ephemeralOwner) == (b"mine", session_id)
    assert client.client_id[0] == session_id
    client.stop()
    client.close()
    with KazooSession(server) as after:
        assert after.exists("/e") is None


def test_a_session_is_not_given_for_a_wrong_password(server: ServerProcess, client: Any) -> None:
    client.create("/e", b"", ephemeral=True)
    session_id, password = client.client_id
    thief = KazooClient(hosts=server.hosts, client_id=(session_id, b"x" * len(password)))
    thief.start(timeout=WAIT_S)
    assert thief.client_id[0] != session_id
    assert client.exists("/e").ephemeralOwner == session_id
    thief.stop()
    thief.close()


class KazooSession:
    """A started client for a ``with``."""

    def __init__(self, server: ServerProcess) -> None:
        self._client = KazooClient(hosts=server.hosts)

    def __enter__(self) -> Any:
        self._client.start(timeout=WAIT_S)
        return self._client

    def __exit__(self, *exc_info: object) -> None:
        self._client.stop()
        self._client.close()


def test_the_server_s_version_is_told(client: Any) -> None:
    assert client.server_version() == (3, 9, 5)


def test_kazoo_lock_and_queue_recipes(server: ServerProcess, client: Any) -> None:
    """Recipes lean on sequences, ephemerals and watches all at once."""
    entered: list[int] = []

    def work(number: int) -> None:
        with KazooSession(server) as other, other.Lock("/lock"):
            entered.append(number)
            assert len(other.get_children("/lock")) >= 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(entered) == [0, 1, 2, 3, 4]
    queue = client.LockingQueue("/queue")
    queue.put(b"low", priority=200)
    queue.put(b"high", priority=1)
    assert queue.get(timeout=WAIT_S) == b"high"
    assert queue.consume()
