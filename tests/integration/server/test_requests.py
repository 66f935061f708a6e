"""Requests that kazoo has no method for, as they are on the wire."""

from collections.abc import Iterator

import pytest

from tests.support.rawclient import RawClient, RawReply
from zoolet.model.codes import CreateMode, ErrorCode, EventType, OpCode, WatcherType, Xid
from zoolet.testing import ServerProcess
from zoolet.wire.jute import INT, LONG, Reader, pack_buffer, pack_ustring, pack_ustrings

PERSISTENT, RECURSIVE = 0, 1


@pytest.fixture
def pair(server: ServerProcess) -> Iterator[tuple[RawClient, RawClient]]:
    """One who asks, and one who changes things."""
    with RawClient(server.port) as asker, RawClient(server.port) as other:
        asker.connect()
        other.connect()
        yield asker, other


def add_watch(client: RawClient, path: str, mode: int) -> RawReply:
    return client.request(OpCode.ADD_WATCH, pack_ustring(path) + INT.pack(mode))


def of_watches(client: RawClient, op_code: OpCode, path: str, kind: int) -> int:
    return client.request(op_code, pack_ustring(path) + INT.pack(kind)).err


def set_data(client: RawClient, path: str) -> None:
    reply = client.request(OpCode.SET_DATA, pack_ustring(path) + pack_buffer(b"") + INT.pack(-1))
    assert reply.err == 0


def delete(client: RawClient, path: str) -> None:
    assert client.request(OpCode.DELETE, pack_ustring(path) + INT.pack(-1)).err == 0


def event(client: RawClient) -> tuple[EventType, str]:
    frame = client.read_reply()
    assert frame.xid == Xid.NOTIFICATION
    reader = Reader(frame.body)
    event_type, _state = reader.read_int(), reader.read_int()
    return EventType(event_type), reader.read_ustring()


def ustrings(body: bytes) -> list[str]:
    reader = Reader(body)
    return list(reader.read_vector(reader.read_ustring))


def test_a_persistent_watch_hears_of_data_and_children(
    pair: tuple[RawClient, RawClient],
) -> None:
    asker, other = pair
    assert add_watch(asker, "/a", PERSISTENT).body == INT.pack(0)
    other.create("/a")
    set_data(other, "/a")
    set_data(other, "/a")
    other.create("/a/b")
    set_data(other, "/a/b")
    delete(other, "/a/b")
    delete(other, "/a")
    assert [event(asker) for _ in range(6)] == [
        (EventType.NODE_CREATED, "/a"),
        (EventType.NODE_DATA_CHANGED, "/a"),
        (EventType.NODE_DATA_CHANGED, "/a"),
        (EventType.NODE_CHILDREN_CHANGED, "/a"),
        (EventType.NODE_CHILDREN_CHANGED, "/a"),
        (EventType.NODE_DELETED, "/a"),
    ]


def test_a_recursive_watch_hears_of_all_below(pair: tuple[RawClient, RawClient]) -> None:
    asker, other = pair
    add_watch(asker, "/a", RECURSIVE)
    other.create("/a")
    other.create("/a/b")
    set_data(other, "/a/b")
    other.create("/ab")
    delete(other, "/a/b")
    assert [event(asker) for _ in range(4)] == [
        (EventType.NODE_CREATED, "/a"),
        (EventType.NODE_CREATED, "/a/b"),
        (EventType.NODE_DATA_CHANGED, "/a/b"),
        (EventType.NODE_DELETED, "/a/b"),
    ]


def test_watches_are_checked_and_removed_by_type(pair: tuple[RawClient, RawClient]) -> None:
    asker, other = pair
    other.create("/a")
    asker.request(OpCode.GET_DATA, pack_ustring("/a") + b"\1")
    asker.request(OpCode.GET_CHILDREN, pack_ustring("/a") + b"\1")
    add_watch(asker, "/a", PERSISTENT)
    add_watch(asker, "/a", RECURSIVE)
    for kind in WatcherType:
        assert of_watches(asker, OpCode.CHECK_WATCHES, "/a", kind) == 0
        assert of_watches(other, OpCode.CHECK_WATCHES, "/a", kind) == ErrorCode.NO_WATCHER
    for kind in (WatcherType.DATA, WatcherType.PERSISTENT, WatcherType.PERSISTENT_RECURSIVE):
        assert of_watches(asker, OpCode.REMOVE_WATCHES, "/a", kind) == 0
        assert of_watches(asker, OpCode.REMOVE_WATCHES, "/a", kind) == ErrorCode.NO_WATCHER
    assert of_watches(asker, OpCode.CHECK_WATCHES, "/a", WatcherType.CHILDREN) == 0
    assert of_watches(asker, OpCode.REMOVE_WATCHES, "/a", WatcherType.ANY) == 0
    assert of_watches(asker, OpCode.CHECK_WATCHES, "/a", WatcherType.ANY) == ErrorCode.NO_WATCHER
    set_data(other, "/a")
    other.create("/a/b")
    assert asker.request(OpCode.PING, xid=Xid.PING).xid == Xid.PING
    for wrong in (0, 6, -1):
        assert of_watches(asker, OpCode.CHECK_WATCHES, "/a", wrong) == ErrorCode.MARSHALLING_ERROR
        assert add_watch(asker, "/a", wrong + 10).err == ErrorCode.MARSHALLING_ERROR


def test_watches_come_back_with_their_client(server: ServerProcess) -> None:
    with RawClient(server.port) as first, RawClient(server.port) as second:
        session = first.connect()
        second.connect()
        seen = second.create("/a").zxid
        set_data(second, "/a")
        first.socket.close()
        with RawClient(server.port) as back:
            back.connect(4000, session.session_id, session.password)
            watches = [["/a"], ["/new"], ["/a"], ["/p"], ["/r"]]
            body = LONG.pack(seen) + b"".join(map(pack_ustrings, watches))
            back.send(OpCode.SET_WATCHES2, body, xid=Xid.SET_WATCHES)
            assert event(back) == (EventType.NODE_DATA_CHANGED, "/a")
            assert back.read_reply().xid == Xid.SET_WATCHES
            for path in ("/new", "/p", "/r", "/r/s", "/a/child"):
                second.create(path)
            assert [event(back) for _ in range(5)] == [
                (EventType.NODE_CREATED, "/new"),
                (EventType.NODE_CREATED, "/p"),
                (EventType.NODE_CREATED, "/r"),
                (EventType.NODE_CREATED, "/r/s"),
                (EventType.NODE_CHILDREN_CHANGED, "/a"),
            ]


def test_children_at_every_depth_are_counted(pair: tuple[RawClient, RawClient]) -> None:
    asker, _ = pair
    for path in ("/a", "/a/b", "/a/b/c", "/ab"):
        asker.create(path)

    def count(path: str) -> RawReply:
        return asker.request(OpCode.GET_ALL_CHILDREN_NUMBER, pack_ustring(path))

    assert count("/a").body == INT.pack(2)
    assert count("/a/b/c").body == INT.pack(0)
    assert count("/").body == INT.pack(4 + 3)
    assert count("").body == INT.pack(4 + 3 + 1)  # and the root itself
    assert count("/missing").err == ErrorCode.NO_NODE


def test_a_session_is_told_its_own_ephemerals(pair: tuple[RawClient, RawClient]) -> None:
    asker, other = pair
    asker.create("/d")
    for path in ("/e1", "/d/e2"):
        asker.create(path, flags=CreateMode.EPHEMERAL)
    other.create("/e3", flags=CreateMode.EPHEMERAL)

    def ephemerals(prefix: str) -> list[str]:
        return ustrings(asker.request(OpCode.GET_EPHEMERALS, pack_ustring(prefix)).body)

    assert sorted(ephemerals("/")) == ["/d/e2", "/e1"]
    assert ephemerals("/d") == ["/d/e2"]
    assert ephemerals("/x") == []


def test_who_am_i(pair: tuple[RawClient, RawClient]) -> None:
    asker, _ = pair
    credentials = INT.pack(0) + pack_ustring("digest") + pack_buffer(b"ada:secret")
    assert asker.request(OpCode.AUTH, credentials, xid=Xid.AUTH).err == 0
    body = asker.request(OpCode.WHO_AM_I).body
    identities = [("ip", "127.0.0.1"), ("digest", "ada")]
    assert body == INT.pack(2) + b"".join(
        pack_ustring(scheme) + pack_ustring(user) for scheme, user in identities
    )


def test_many_reads_in_one(pair: tuple[RawClient, RawClient]) -> None:
    asker, _ = pair
    asker.create("/a", b"data")
    asker.create("/a/b")

    def part(op_code: int, path: str) -> bytes:
        return INT.pack(op_code) + b"\0" + INT.pack(-1) + pack_ustring(path) + b"\0"

    end = INT.pack(-1) + b"\1" + INT.pack(-1)
    body = (
        part(OpCode.GET_CHILDREN, "/a")
        + part(OpCode.GET_DATA, "/missing")
        + part(OpCode.GET_DATA, "/a")
        + end
    )
    reader = Reader(asker.request(OpCode.MULTI_READ, body).body)

    def read_header() -> tuple[int, bool, int]:
        return reader.read_int(), reader.read_bool(), reader.read_int()

    assert read_header() == (OpCode.GET_CHILDREN, False, 0)
    assert reader.read_vector(reader.read_ustring) == ("b",)
    assert read_header() == (-1, False, ErrorCode.NO_NODE)
    assert reader.read_int() == ErrorCode.NO_NODE
    assert read_header() == (OpCode.GET_DATA, False, 0)
    assert reader.read_buffer() == b"data"
    reader.position += 68
    assert read_header() == (-1, True, -1)
    assert reader.remaining == 0
    wrong = part(OpCode.DELETE, "/a") + end
    assert asker.request(OpCode.MULTI_READ, wrong).err == ErrorCode.MARSHALLING_ERROR


def test_reconfig_is_refused_and_takes_a_zxid(pair: tuple[RawClient, RawClient]) -> None:
    asker, _ = pair
    before = asker.create("/a").zxid
    reply = asker.request(OpCode.RECONFIG, 3 * INT.pack(-1) + LONG.pack(-1))
    assert (reply.err, reply.zxid) == (ErrorCode.RECONFIG_DISABLED, before + 1)


def test_sasl_finds_no_mechanism(pair: tuple[RawClient, RawClient]) -> None:
    asker, _ = pair
    reply = asker.request(OpCode.SASL, pack_buffer(b""))
    assert (reply.err, reply.zxid, reply.body) == (0, 0, INT.pack(-1))
