"""Looking inside a server, and assertions whose messages say what there is instead."""

import contextlib
import threading
from typing import Any

import pytest

from tests.support.rawclient import RawClient
from tests.support.waiting import WAIT_S
from zoolet.model.codes import CreateMode, WatchMode
from zoolet.model.requests import Create
from zoolet.testing import EmbeddedServer, OpCode
from zoolet.testing.servers import network
from zoolet.wire.jute import INT, pack_ustring


def test_requests_are_seen_as_they_came(zookeeper: EmbeddedServer, zookeeper_client: Any) -> None:
    zookeeper_client.create("/a", b"data")
    zookeeper_client.exists("/missing")
    with zookeeper_client.transaction() as parts:
        parts.create("/b")
        parts.delete("/a")
    with RawClient(zookeeper.port) as other:
        other.connect()
        other.request(99)
    seen = zookeeper.inside.requests(zookeeper_client)
    assert [(each.op_code, each.paths, each.err) for each in seen] == [
        (OpCode.CREATE_SESSION, (), 0),
        (OpCode.CREATE, ("/a",), 0),
        (OpCode.EXISTS, ("/missing",), -101),
        (OpCode.MULTI, ("/b", "/a"), 0),
    ]
    assert isinstance(seen[1].record, Create)
    assert seen[1].record.data == b"data"
    name = f"session 0x{zookeeper_client.client_id[0]:x}"
    assert str(seen[2]) == f"{name} EXISTS /missing -> NO_NODE"
    assert str(zookeeper.inside.requests()[-1]).endswith(" 99 -> UNIMPLEMENTED")


def test_a_session_is_seen_with_all_that_is_its_own(zookeeper: EmbeddedServer) -> None:
    with RawClient(zookeeper.port) as client:
        session_id = client.connect(timeout_ms=5000).session_id
        client.create("/e", flags=CreateMode.EPHEMERAL)
        client.request(OpCode.GET_CHILDREN, pack_ustring("/") + b"\1")
        client.request(OpCode.ADD_WATCH, pack_ustring("/e") + INT.pack(1))
        (seen,) = zookeeper.inside.sessions()
        assert (seen.session_id, seen.timeout_ms, seen.ephemerals) == (session_id, 5000, ("/e",))
        assert seen.peer is not None
        assert [(watch.path, watch.kind, watch.mode) for watch in seen.watches] == [
            ("/e", "data", WatchMode.PERSISTENT_RECURSIVE),
            ("/", "children", WatchMode.STANDARD),
        ]
        assert zookeeper.inside.ephemerals() == zookeeper.inside.ephemerals(session_id) == ["/e"]
        assert [zookeeper.inside.ephemerals(5), zookeeper.inside.watches(5)] == [[], []]
    zookeeper.clock.move(6, clients_ping=False)
    assert zookeeper.inside.sessions() == []


def test_a_path_is_asserted(zookeeper: EmbeddedServer, zookeeper_client: Any) -> None:
    zookeeper_client.create("/a/b", b"1", makepath=True)
    zookeeper_client.create("/a/e", b"", ephemeral=True)
    inside = zookeeper.inside
    inside.assert_path("/a", children=["e", "b"], ephemeral=False)
    inside.assert_path("/a/b", b"1")
    inside.assert_path("/missing", exists=False)
    owner = f"0x{zookeeper_client.client_id[0]:x}"
    refused: list[tuple[str, str, dict[str, Any]]] = [
        (r"/x does not exist; there are:\n  /a\n  /a/b\n  /a/e", "/x", {}),
        (r"/a exists, with data b''", "/a", {"exists": False}),
        (r"the data of /a/b is b'1', not b'2'", "/a/b", {"data": b"2"}),
        (f"/a/e is ephemeral, of session {owner}", "/a/e", {"ephemeral": False}),
        (r"/a/b is not ephemeral", "/a/b", {"ephemeral": True}),
        (r"of /a are \['b', 'e'\], not \['b'\]", "/a", {"children": ["b"]}),
    ]
    for message, path, wanted in refused:
        with pytest.raises(AssertionError, match=message):
            inside.assert_path(path, **wanted)


def test_what_is_left_is_told(zookeeper: EmbeddedServer, zookeeper_client: Any) -> None:
    inside = zookeeper.inside
    inside.assert_no_leaked_sessions(zookeeper_client)
    inside.assert_no_watches()
    zookeeper_client.create("/e", ephemeral=True)
    zookeeper_client.get("/e", watch=print)
    inside.assert_no_watches("/other")
    with pytest.raises(AssertionError, match="1 watches are left:\ndata watch on /e of session"):
        inside.assert_no_watches()
    told = r"(?s)1 sessions are left; stop\(\) their clients:.*ephemeral /e.*watch on /e.*GET_DATA"
    with pytest.raises(AssertionError, match=told):
        inside.assert_no_leaked_sessions()


def test_quiet_means_that_all_is_answered_and_durable(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    zookeeper.disk.hold_syncs()
    zookeeper_client.create_async("/a")
    zookeeper.disk.wait_for_sync()
    with pytest.raises(TimeoutError, match=r"(?s)not quiet after 0.1 s.*CREATE /a -> unanswered"):
        zookeeper.inside.wait_until_quiet(timeout_s=0.1)
    releasing = threading.Timer(0.02, zookeeper.disk.release_syncs)
    releasing.start()
    zookeeper.inside.wait_until_quiet()
    assert zookeeper.inside.requests()[-1].err == 0
    releasing.join()


def test_quiet_means_that_what_follows_is_answered_too(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    done = threading.Event()

    def follow(number: int) -> None:
        if number == 20:
            done.set()
        else:
            following = zookeeper_client.create_async(f"/{number}")
            following.rawlink(lambda _: follow(number + 1))

    follow(0)
    zookeeper.inside.wait_until_quiet(for_s=0.2)
    assert done.wait(WAIT_S)
    assert len(zookeeper.inside.paths()) == 20


def test_nothing_can_be_seen_of_a_server_that_does_not_run() -> None:
    with EmbeddedServer() as server:
        server.stop()
        with pytest.raises(RuntimeError, match="start it first"):
            server.inside.sessions()
        assert server.stop() == 0


def test_what_came_before_garbage_is_seen(zookeeper: EmbeddedServer) -> None:
    with RawClient(zookeeper.port) as client:
        client.connect()
        body = pack_ustring("/a") + b"\0"
        request = INT.pack(1) + INT.pack(OpCode.EXISTS) + body
        client.socket.sendall(INT.pack(len(request)) + request + b"\xff" * 8)
        with contextlib.suppress(ConnectionResetError):
            while client.socket.recv(65536):
                pass
    assert [each.op_code for each in zookeeper.inside.requests()][-1] == OpCode.EXISTS


def test_of_many_requests_the_newest_are_kept(
    zookeeper: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawClient(zookeeper.port) as client:
        client.connect()
        monkeypatch.setattr(network, "MAX_KEPT_REQUESTS", 3)
        for number in range(5):
            client.create(f"/{number}")
        assert [each.paths[0] for each in zookeeper.inside.requests()] == ["/2", "/3", "/4"]
        monkeypatch.setattr(network, "MAX_KEPT_BYTES", 220)
        client.create("/long", b"x" * 100)
        assert [each.paths[0] for each in zookeeper.inside.requests()] == ["/4", "/long"]
        client.create("/longer", b"x" * 400)
        assert zookeeper.inside.requests() == []
