"""Requests that take several steps: each shows one state, and keeps the order of its connection."""

import socket
from collections.abc import Iterator

import pytest

from tests.support.rawclient import RawClient
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import AddWatchMode, ErrorCode, EventType, OpCode, Xid
from zoolet.testing import EmbeddedServer
from zoolet.wire.jute import INT, LONG, Reader, pack_acl, pack_buffer, pack_ustring, pack_ustrings

NUM_CHILDREN = 12_000
WATCH, NO_WATCH = b"\1", b"\0"


def parts(*bodies: tuple[int, bytes]) -> bytes:
    """Return the body of a multi or a multiRead."""
    framed = [INT.pack(op_code) + b"\0" + INT.pack(-1) + body for op_code, body in bodies]
    return b"".join(framed) + INT.pack(-1) + b"\1" + INT.pack(-1)


def create_body(path: str, flags: int = 0) -> bytes:
    return pack_ustring(path) + pack_buffer(b"") + pack_acl(OPEN_ACL) + INT.pack(flags)


def create_many(client: RawClient, paths: list[str], flags: int = 0) -> None:
    for start in range(0, len(paths), 1000):
        some = paths[start : start + 1000]
        creates = [(OpCode.CREATE, create_body(path, flags)) for path in some]
        assert client.request(OpCode.MULTI, parts(*creates)).err == 0


def names_in(body: bytes) -> list[str]:
    reader = Reader(body)
    return list(reader.read_vector(reader.read_ustring))


@pytest.fixture
def clients(zookeeper: EmbeddedServer) -> Iterator[tuple[RawClient, RawClient]]:
    with RawClient(zookeeper.port) as one, RawClient(zookeeper.port) as two:
        one.connect(timeout_ms=40_000)
        two.connect(timeout_ms=40_000)
        yield one, two


@pytest.fixture
def children(clients: tuple[RawClient, RawClient]) -> list[str]:
    """Return the names of the children of /big."""
    names = [f"{number:06d}" for number in range(NUM_CHILDREN)]
    clients[0].create("/big")
    create_many(clients[0], [f"/big/{name}" for name in names])
    return names


@pytest.mark.parametrize("op_code", [OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2])
def test_a_long_list_is_whole_and_of_the_moment_at_which_it_was_asked(
    clients: tuple[RawClient, RawClient], children: list[str], op_code: OpCode
) -> None:
    reader, writer = clients
    zxid = writer.request(OpCode.SET_DATA, pack_ustring("/") + pack_buffer(b"") + INT.pack(-1)).zxid
    reader.send(op_code, pack_ustring("/big") + NO_WATCH)
    # What the same connection asks behind it is answered behind it.
    behind = reader.send(OpCode.EXISTS, pack_ustring("/big/new") + NO_WATCH)
    writer.request(OpCode.DELETE, pack_ustring("/big/000007") + INT.pack(-1))
    writer.create("/big/new")
    reply = reader.read_reply()
    names = names_in(reply.body)
    changed = [name for name in (*children, "new") if name != "000007"]
    if reply.zxid == zxid:
        assert names == children
    else:
        # The changes came first: then all of them show that zxid or an earlier one allows.
        assert names in (changed, changed[:-1])
    assert reader.read_reply().xid == behind
    assert names_in(reader.request(op_code, pack_ustring("/big") + NO_WATCH).body) == changed


def test_the_event_of_a_watch_comes_behind_the_list_that_set_it(
    clients: tuple[RawClient, RawClient], children: list[str]
) -> None:
    reader, writer = clients
    for number in range(10):
        asked = reader.send(OpCode.GET_CHILDREN, pack_ustring("/big") + WATCH)
        writer.create(f"/big/new-{number}")
        first = reader.read_reply()
        assert first.xid == asked
        assert len(names_in(first.body)) in {len(children) + number, len(children) + number + 1}
        if len(names_in(first.body)) == len(children) + number:
            assert reader.read_reply().xid == Xid.NOTIFICATION
        else:
            # The list shows the new child: the watch is for the next one.
            writer.request(OpCode.SYNC, pack_ustring("/"))


@pytest.mark.parametrize("number", [10, 100, 1000])
def test_all_watchers_get_the_events_of_a_long_multi_before_its_changes_are_shown(
    zookeeper: EmbeddedServer, clients: tuple[RawClient, RawClient], number: int
) -> None:
    one, writer = clients
    with RawClient(zookeeper.port) as two:
        two.connect()
        for watcher in (one, two):
            watcher.request(
                OpCode.ADD_WATCH, pack_ustring("/") + INT.pack(AddWatchMode.PERSISTENT_RECURSIVE)
            )
        paths = [f"/some-path-{position:04d}" for position in range(number)]
        create_many(writer, paths)
        for watcher in (one, two):
            asked = watcher.send(OpCode.EXISTS, pack_ustring(paths[-1]) + NO_WATCH)
            for path in paths:
                event = watcher.read_reply()
                assert event.xid == Xid.NOTIFICATION
                reader = Reader(event.body)
                assert (reader.read_int(), reader.read_int()) == (EventType.NODE_CREATED, 3)
                assert reader.read_ustring() == path
            assert watcher.read_reply().xid == asked


def test_ephemerals_are_listed_by_prefix(clients: tuple[RawClient, RawClient]) -> None:
    owner, _ = clients
    paths = [f"/{'even' if number % 2 == 0 else 'odd'}-{number}" for number in range(6000)]
    create_many(owner, paths, flags=1)
    reply = owner.request(OpCode.GET_EPHEMERALS, pack_ustring("/even"))
    assert names_in(reply.body) == paths[::2]
    assert len(names_in(owner.request(OpCode.GET_EPHEMERALS, pack_ustring("/")).body)) == 6000


def test_a_session_with_many_ephemerals_ends_in_several_txns(
    zookeeper: EmbeddedServer, clients: tuple[RawClient, RawClient]
) -> None:
    owner, other = clients
    paths = [f"/e{number}" for number in range(1000)]
    create_many(owner, paths, flags=1)
    before = other.request(OpCode.EXISTS, pack_ustring("/") + NO_WATCH).zxid
    other.request(OpCode.EXISTS, pack_ustring("/e999") + WATCH)
    closed = owner.request(OpCode.CLOSE_SESSION)
    assert closed.err == 0
    assert closed.zxid > before + 1
    event = other.read_reply()
    assert event.xid == Xid.NOTIFICATION
    assert Reader(event.body).read_int() == EventType.NODE_DELETED
    assert zookeeper.inside.ephemerals() == []
    assert zookeeper.inside.paths() == []


def test_many_watches_are_set_again(clients: tuple[RawClient, RawClient]) -> None:
    watcher, writer = clients
    writer.create("/there")
    missing = [f"/missing-{number}" for number in range(2500)]
    lists = [missing, ["/new"], ["/there"]]
    body = LONG.pack(0) + b"".join(map(pack_ustrings, lists))
    watcher.send(OpCode.SET_WATCHES, body, xid=Xid.SET_WATCHES)
    told: list[str] = []
    replies = 0
    while len(told) < len(missing) + 1 or not replies:
        reply = watcher.read_reply()
        if reply.xid == Xid.SET_WATCHES:
            replies += 1
        else:
            reader = Reader(reply.body)
            reader.read_int()
            reader.read_int()
            told.append(reader.read_ustring())
    assert told == [*missing, "/there"]
    writer.create("/new")
    assert watcher.read_reply().xid == Xid.NOTIFICATION


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_a_frame_may_arrive_in_many_pieces(zookeeper: EmbeddedServer, piece: int) -> None:
    with RawClient(zookeeper.port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.connect()
        data = b"x" * 4000
        content = INT.pack(7) + INT.pack(OpCode.CREATE) + pack_ustring("/a") + pack_buffer(data)
        content += pack_acl(OPEN_ACL) + INT.pack(0)
        frame = INT.pack(len(content)) + content
        for start in range(0, len(frame), piece):
            client.socket.sendall(frame[start : start + piece])
        assert client.read_reply().err == 0
        found = client.request(OpCode.GET_DATA, pack_ustring("/a") + NO_WATCH)
        assert Reader(found.body).read_buffer() == data


@pytest.mark.parametrize(
    ("key", "value"),
    [("multiRead.maxOps", 3), ("multiRead.maxResponseBytes", 350)],
)
def test_a_multi_read_has_limits(key: str, value: int) -> None:
    with EmbeddedServer(settings={key: value}) as server, RawClient(server.port) as client:
        client.connect()
        client.create("/a", b"x" * 100)
        read = (OpCode.GET_DATA, pack_ustring("/a") + NO_WATCH)
        assert client.request(OpCode.MULTI_READ, parts(*[read] * 3)).err == 0
        refused = client.request(OpCode.MULTI_READ, parts(*[read] * 4))
        assert (refused.err, refused.body) == (ErrorCode.BAD_ARGUMENTS, b"")


def test_a_multi_read_of_long_lists_shows_one_state(
    clients: tuple[RawClient, RawClient], children: list[str]
) -> None:
    reader, writer = clients
    listing = (OpCode.GET_CHILDREN, pack_ustring("/big") + NO_WATCH)
    missing = (OpCode.GET_DATA, pack_ustring("/none") + NO_WATCH)
    reader.send(OpCode.MULTI_READ, parts(listing, listing, missing))
    writer.create("/big/new")
    body = Reader(reader.read_reply().body)
    lists = []
    for _ in range(2):
        assert body.read_int() == OpCode.GET_CHILDREN
        body.read_bool()
        body.read_int()
        lists.append(list(body.read_vector(body.read_ustring)))
    assert lists[0] == lists[1]
    assert len(lists[0]) in {len(children), len(children) + 1}
    assert body.read_int() == OpCode.ERROR


@pytest.mark.parametrize("length", [16, 40])
def test_a_path_has_a_longest_length(length: int) -> None:
    settings = {"zoolet.maxPathLength": length}
    with EmbeddedServer(settings=settings) as server, RawClient(server.port) as client:
        client.connect()
        assert client.create("/" + "x" * (length - 1)).err == 0
        assert client.create("/" + "y" * length).err == ErrorCode.BAD_ARGUMENTS


def test_no_ephemeral_makes_the_end_of_its_session_too_large() -> None:
    """Apache reads back at most twice jute.maxbuffer, so its closeSession must fit in that."""
    with EmbeddedServer(settings={"jute.maxbuffer": 2048}) as server:
        with RawClient(server.port) as client, RawClient(server.port) as other:
            client.connect()
            paths = [f"/{number:03d}" + "x" * 96 for number in range(60)]
            codes = [client.create(path, flags=1).err for path in paths]
            allowed = codes.count(0)
            assert codes == [0] * allowed + [ErrorCode.QUOTA_EXCEEDED] * (60 - allowed)
            assert allowed * 104 + 36 <= 2 * 2048 < (allowed + 1) * 104 + 36
            assert client.request(OpCode.CLOSE_SESSION).err == 0
            other.connect()
            assert other.request(OpCode.GET_EPHEMERALS, pack_ustring("/")).err == 0
        assert server.inside.paths() == []
