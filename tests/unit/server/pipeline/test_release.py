"""Nothing that is not on disk is ever seen: replies, events and answers wait for the sync."""

import select
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.support.rawclient import RawClient
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import CreateMode, OpCode, Xid
from zoolet.testing import EmbeddedServer
from zoolet.wire.jute import INT, Reader, pack_acl, pack_buffer, pack_ustring, pack_ustrings

IsSilent = Callable[[socket.socket], bool]


@pytest.fixture
def is_silent(zookeeper: EmbeddedServer) -> Iterator[IsSilent]:
    """Says whether the server has sent nothing, now that it has taken all that was asked.

    A ping of a bystander goes behind everything that arrived before it, and waits for no disk.
    """
    with RawClient(zookeeper.port) as bystander:
        bystander.connect()

        def ask(connection: socket.socket) -> bool:
            bystander.request(OpCode.PING, xid=Xid.PING)
            return not select.select([connection], [], [], 0)[0]

        yield ask


@pytest.fixture
def clients(zookeeper: EmbeddedServer) -> Iterator[tuple[RawClient, RawClient]]:
    """A writer, and someone else."""
    with RawClient(zookeeper.port) as one, RawClient(zookeeper.port) as two:
        one.connect()
        two.connect()
        one.create("/a", b"old")
        one.create("/b", b"other")
        yield one, two


def path_watch(path: str, *, watch: bool = False) -> bytes:
    return pack_ustring(path) + (b"\1" if watch else b"\0")


def set_data(path: str, data: bytes) -> bytes:
    return pack_ustring(path) + pack_buffer(data) + INT.pack(-1)


def data_of(body: bytes) -> bytes | None:
    return Reader(body).read_buffer()


def test_a_reply_waits_for_its_sync(
    zookeeper: EmbeddedServer, is_silent: IsSilent, clients: tuple[RawClient, RawClient]
) -> None:
    writer, _ = clients
    zookeeper.disk.hold_syncs()
    sent = writer.send(OpCode.SET_DATA, set_data("/a", b"new"))
    zookeeper.disk.wait_for_sync()
    assert is_silent(writer.socket)
    zookeeper.disk.release_syncs()
    assert writer.read_reply().xid == sent


def test_a_read_waits_for_what_it_shows_and_for_nothing_else(
    zookeeper: EmbeddedServer, is_silent: IsSilent, clients: tuple[RawClient, RawClient]
) -> None:
    writer, reader = clients
    before = reader.request(OpCode.GET_DATA, path_watch("/b")).zxid
    zookeeper.disk.hold_syncs()
    writer.send(OpCode.SET_DATA, set_data("/a", b"new"))
    zookeeper.disk.wait_for_sync()
    untouched = reader.request(OpCode.GET_DATA, path_watch("/b"))
    assert (data_of(untouched.body), untouched.zxid) == (b"other", before)
    sent = reader.send(OpCode.GET_DATA, path_watch("/a"))
    # What was asked later is answered later, whatever it shows.
    behind = reader.send(OpCode.GET_DATA, path_watch("/b"))
    assert is_silent(reader.socket)
    zookeeper.disk.release_syncs()
    first, second = reader.read_reply(), reader.read_reply()
    assert (first.xid, second.xid) == (sent, behind)
    assert data_of(first.body) == b"new"
    assert first.zxid == writer.read_reply().zxid == before + 1


@pytest.mark.parametrize("op_code", [OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2, OpCode.EXISTS])
def test_a_parent_waits_for_its_children(
    zookeeper: EmbeddedServer,
    is_silent: IsSilent,
    clients: tuple[RawClient, RawClient],
    op_code: OpCode,
) -> None:
    writer, reader = clients
    zookeeper.disk.hold_syncs()
    body = pack_ustring("/c") + pack_buffer(b"") + pack_acl(OPEN_ACL) + INT.pack(0)
    writer.send(OpCode.CREATE, body)
    zookeeper.disk.wait_for_sync()
    reader.send(op_code, path_watch("/"))
    assert is_silent(reader.socket)
    zookeeper.disk.release_syncs()
    assert reader.read_reply().err == 0


def test_a_watch_event_waits_and_comes_before_the_change_is_seen(
    zookeeper: EmbeddedServer, is_silent: IsSilent, clients: tuple[RawClient, RawClient]
) -> None:
    writer, reader = clients
    reader.request(OpCode.GET_DATA, path_watch("/a", watch=True))
    zookeeper.disk.hold_syncs()
    writer.send(OpCode.SET_DATA, set_data("/a", b"new"))
    zookeeper.disk.wait_for_sync()
    reader.send(OpCode.GET_DATA, path_watch("/a"))
    assert is_silent(reader.socket)
    zookeeper.disk.release_syncs()
    event = reader.read_reply()
    assert (event.xid, event.zxid) == (Xid.NOTIFICATION, writer.read_reply().zxid)
    assert data_of(reader.read_reply().body) == b"new"


@pytest.mark.parametrize("op_code", [OpCode.GET_ALL_CHILDREN_NUMBER, OpCode.GET_EPHEMERALS])
def test_an_answer_about_all_waits_for_everything(
    zookeeper: EmbeddedServer,
    is_silent: IsSilent,
    clients: tuple[RawClient, RawClient],
    op_code: OpCode,
) -> None:
    writer, reader = clients
    zookeeper.disk.hold_syncs()
    writer.send(OpCode.SET_DATA, set_data("/a", b"new"))
    zookeeper.disk.wait_for_sync()
    reader.send(op_code, pack_ustring("/b"))
    assert is_silent(reader.socket)
    zookeeper.disk.release_syncs()
    assert reader.read_reply().zxid == writer.read_reply().zxid


def test_what_gathers_during_a_sync_waits_for_the_next(
    zookeeper: EmbeddedServer, is_silent: IsSilent, clients: tuple[RawClient, RawClient]
) -> None:
    writer, other = clients
    zookeeper.disk.hold_syncs()
    writer.send(OpCode.SET_DATA, set_data("/a", b"first"))
    zookeeper.disk.wait_for_sync()
    other.send(OpCode.SET_DATA, set_data("/b", b"second"))
    other.send(OpCode.GET_DATA, path_watch("/a"))
    assert is_silent(other.socket)
    zookeeper.disk.release_syncs()
    writer.read_reply()
    replies = [other.read_reply(), other.read_reply()]
    assert data_of(replies[1].body) == b"first"


def test_sync_and_set_watches_wait_for_everything(
    zookeeper: EmbeddedServer, is_silent: IsSilent, clients: tuple[RawClient, RawClient]
) -> None:
    writer, reader = clients
    seen = reader.request(OpCode.GET_DATA, path_watch("/a")).zxid
    zookeeper.disk.hold_syncs()
    writer.send(OpCode.SET_DATA, set_data("/a", b"new"))
    zookeeper.disk.wait_for_sync()
    reader.send(OpCode.SYNC, pack_ustring("/"))
    watches = seen.to_bytes(8, "big") + pack_ustrings(["/a"]) + 2 * pack_ustrings([])
    reader.send(OpCode.SET_WATCHES, watches, xid=Xid.SET_WATCHES)
    assert is_silent(reader.socket)
    zookeeper.disk.release_syncs()
    assert reader.read_reply().zxid == seen + 1
    assert [reader.read_reply().xid for _ in range(2)] == [Xid.NOTIFICATION, Xid.SET_WATCHES]


def test_an_operator_sees_only_what_is_on_disk(
    zookeeper: EmbeddedServer, is_silent: IsSilent, clients: tuple[RawClient, RawClient]
) -> None:
    writer, _ = clients
    zookeeper.disk.hold_syncs()
    writer.send(OpCode.SET_DATA, set_data("/a", b"new"))
    zookeeper.disk.wait_for_sync()
    with socket.create_connection(("127.0.0.1", zookeeper.port), timeout=10) as asking:
        asking.sendall(b"srvr")
        assert is_silent(asking)
        zookeeper.disk.release_syncs()
        zxid = writer.read_reply().zxid
        assert f"Zxid: 0x{zxid:x}\n".encode() in asking.recv(65536)


def test_a_failed_sync_ends_the_server_and_acknowledges_nothing(
    zookeeper: EmbeddedServer, clients: tuple[RawClient, RawClient]
) -> None:
    writer, watcher = clients
    watcher.request(OpCode.GET_DATA, path_watch("/a", watch=True))
    zookeeper.disk.hold_syncs()
    writer.send(OpCode.SET_DATA, set_data("/a", b"new"))
    zookeeper.disk.wait_for_sync()
    watcher.send(OpCode.GET_DATA, path_watch("/a"))
    zookeeper.disk.fail_syncs()
    zookeeper.disk.release_syncs()
    zookeeper.wait_until_ended()
    assert "Input/output error" in str(zookeeper.failure)
    assert "start the server again" in str(zookeeper.failure)
    assert writer.is_closed_by_server()
    assert watcher.is_closed_by_server()


def test_a_session_is_not_given_before_it_is_on_disk(
    zookeeper: EmbeddedServer,
    is_silent: IsSilent,
) -> None:
    zookeeper.disk.hold_syncs()
    with RawClient(zookeeper.port) as client:
        client.send_frame(bytes(12) + INT.pack(5000) + bytes(8) + pack_buffer(bytes(16)) + b"\0")
        zookeeper.disk.wait_for_sync()
        assert is_silent(client.socket)
        zookeeper.disk.release_syncs()
        assert len(client.read_frame()) == 37


def test_an_ephemeral_ends_with_its_session_before_the_reply(
    clients: tuple[RawClient, RawClient],
) -> None:
    owner, other = clients
    owner.create("/e", flags=CreateMode.EPHEMERAL)
    other.request(OpCode.EXISTS, path_watch("/e", watch=True))
    assert owner.request(OpCode.CLOSE_SESSION).err == 0
    assert owner.is_closed_by_server()
    event = other.read_reply()
    assert event.xid == Xid.NOTIFICATION
