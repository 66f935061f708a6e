"""The frames of requests: the same bytes as kazoo's, and errors for what cannot be written."""

from collections.abc import Callable
from typing import Any

import pytest
from kazoo.protocol import serialization as kazoo
from kazoo.security import ACL as KAZOO_ACL
from kazoo.security import Id as KazooId

from zoolet.big_endian.buffers import BytesWriter
from zoolet.client.kazoo import requests as additions
from zoolet.model.acl import ACL, NULL_TEXT, OPEN_ACL, AclList, Id
from zoolet.model.codes import AddWatchMode, CreateMode, OpCode, WatcherType, Xid
from zoolet.model.requests import Check, Connect, Create, Delete, PartRequest, SetData, SetWatches
from zoolet.wire import request_frames as frames
from zoolet.wire.jute import INT

XID = 258
PATH = "/é"
TWO_ENTRIES: AclList = (ACL(5, Id("digest", "a:b")), ACL(31, Id("world", "anyone")))
SEQUENTIAL = CreateMode.EPHEMERAL_SEQUENTIAL.value
TTL_MODE = CreateMode.PERSISTENT_WITH_TTL.value


def written(write: Callable[..., None], *arguments: Any) -> bytes:
    """Return what ``write`` appends to a writer."""
    writer = BytesWriter()
    write(writer, *arguments)
    return writer.getvalue()


def kazoo_acl(acl: AclList) -> list[Any]:
    return [KAZOO_ACL(perms, KazooId(*identity)) for perms, identity in acl]


def frame_of(request: Any, xid: int = XID) -> bytes:
    """Return the frame that kazoo sends for its request."""
    content = INT.pack(xid) + INT.pack(request.type) + bytes(request.serialize())
    return INT.pack(len(content)) + content


@pytest.mark.parametrize("acl", [OPEN_ACL, TWO_ENTRIES])
@pytest.mark.parametrize("data", [None, b"", b"12345"])
def test_writes_have_the_bytes_of_kazoo(data: bytes | None, acl: AclList) -> None:
    theirs = kazoo_acl(acl)
    for op_code, kind in (
        (OpCode.CREATE, kazoo.Create),
        (OpCode.CREATE2, kazoo.Create2),
        (OpCode.CREATE_CONTAINER, additions.CreateContainer),
    ):
        assert written(
            frames.write_create, XID, op_code.value, PATH, data, acl, SEQUENTIAL, 7
        ) == frame_of(kind(PATH, data, theirs, SEQUENTIAL))
    assert written(
        frames.write_create, XID, OpCode.CREATE_TTL.value, PATH, data, acl, TTL_MODE, 7
    ) == frame_of(additions.CreateTtl(PATH, data, acl, TTL_MODE, 7))
    assert written(frames.write_set_data, XID, PATH, data, -1) == frame_of(
        kazoo.SetData(PATH, data, -1)
    )
    assert written(frames.write_set_acl, XID, PATH, acl, 3) == frame_of(
        kazoo.SetACL(PATH, theirs, 3)
    )
    assert written(frames.write_delete, XID, PATH, 4) == frame_of(kazoo.Delete(PATH, 4))


def test_a_multi_has_the_bytes_of_kazoo() -> None:
    ours: list[tuple[int, PartRequest]] = [
        (OpCode.CREATE.value, Create(PATH, b"x", OPEN_ACL, 0)),
        (OpCode.CREATE2.value, Create(PATH, None, TWO_ENTRIES, SEQUENTIAL)),
        (OpCode.CREATE_TTL.value, Create(PATH, b"y", OPEN_ACL, TTL_MODE, ttl_ms=9)),
        (OpCode.SET_DATA.value, SetData(PATH, b"z", 2)),
        (OpCode.DELETE.value, Delete(PATH, -1)),
        (OpCode.CHECK.value, Check(PATH, 6)),
    ]
    theirs = [
        kazoo.Create(PATH, b"x", kazoo_acl(OPEN_ACL), 0),
        kazoo.Create2(PATH, None, kazoo_acl(TWO_ENTRIES), SEQUENTIAL),
        additions.CreateTtl(PATH, b"y", OPEN_ACL, TTL_MODE, 9),
        kazoo.SetData(PATH, b"z", 2),
        kazoo.Delete(PATH, -1),
        kazoo.CheckVersion(PATH, 6),
    ]
    for count in range(len(ours) + 1):
        assert written(frames.write_multi, XID, ours[:count]) == frame_of(
            kazoo.Transaction(theirs[:count])
        )


@pytest.mark.parametrize("watch", [False, True])
def test_reads_have_the_bytes_of_kazoo(watch: bool) -> None:
    watcher = print if watch else None
    for op_code, kind in (
        (OpCode.EXISTS, kazoo.Exists),
        (OpCode.GET_DATA, kazoo.GetData),
        (OpCode.GET_CHILDREN, kazoo.GetChildren),
        (OpCode.GET_CHILDREN2, kazoo.GetChildren2),
    ):
        assert written(frames.write_path_watch, XID, op_code.value, PATH, watch) == frame_of(
            kind(PATH, watcher)
        )
    for op_code, request in (
        (OpCode.SYNC, kazoo.Sync(PATH)),
        (OpCode.GET_ACL, kazoo.GetACL(PATH)),
        (OpCode.GET_EPHEMERALS, additions.GetEphemerals(PATH)),
        (OpCode.GET_ALL_CHILDREN_NUMBER, additions.GetAllChildrenNumber(PATH)),
    ):
        assert written(frames.write_path, XID, op_code.value, PATH) == frame_of(request)
    reads = [(OpCode.GET_DATA.value, "/a"), (OpCode.GET_CHILDREN.value, "/b")]
    assert written(frames.write_multi_read, XID, reads) == frame_of(
        additions.MultiRead([kazoo.GetData("/a", None), kazoo.GetChildren("/b", None)])
    )


def test_requests_of_a_connection_have_the_bytes_of_kazoo() -> None:
    for read_only in (False, True):
        body = bytes(kazoo.Connect(0, 5, 4000, 9, b"p" * 16, read_only).serialize())
        connect = Connect(0, 5, 4000, 9, b"p" * 16, read_only, has_read_only=True)
        assert written(frames.write_connect, connect) == INT.pack(len(body)) + body
    old = Connect(0, 5, 4000, 9, b"p" * 16, read_only=False, has_read_only=False)
    assert written(frames.write_connect, old) == INT.pack(len(body) - 1) + body[:-1]
    for op_code, request in (
        (OpCode.PING, kazoo.PingInstance),
        (OpCode.CLOSE_SESSION, kazoo.CloseInstance),
        (OpCode.WHO_AM_I, additions.WhoAmI()),
    ):
        assert written(frames.write_bare, XID, op_code.value) == frame_of(request)
    assert written(frames.write_auth, "digest", b"a:b") == frame_of(
        kazoo.Auth(0, "digest", "a:b"), Xid.AUTH
    )
    assert written(frames.write_reconfig, XID, "server.1=a", None, None, -1) == frame_of(
        kazoo.Reconfig("server.1=a", None, None, -1)
    )


def test_watches_have_the_bytes_of_the_requests_for_kazoo() -> None:
    lists = (("/a",), (), ("/b", "/c"))
    assert written(frames.write_set_watches, SetWatches(7, *lists)) == frame_of(
        additions.SetWatches(7, lists), Xid.SET_WATCHES
    )
    for more in ((("/p",), ()), ((), ("/r",))):
        assert written(frames.write_set_watches, SetWatches(7, *lists, *more)) == frame_of(
            additions.SetWatches(7, lists + more), Xid.SET_WATCHES
        )
    recursive = AddWatchMode.PERSISTENT_RECURSIVE
    assert written(frames.write_add_watch, XID, PATH, recursive.value) == frame_of(
        additions.AddWatch(PATH, recursive)
    )
    for op_code in (OpCode.CHECK_WATCHES, OpCode.REMOVE_WATCHES):
        frame = written(
            frames.write_watches_of, XID, op_code.value, PATH, WatcherType.PERSISTENT.value
        )
        theirs = frame_of(additions.RemoveWatches(PATH, WatcherType.PERSISTENT))
        assert frame == theirs[:8] + INT.pack(op_code) + theirs[12:]


def test_an_empty_prefix_is_not_null() -> None:
    """kazoo would send null."""
    assert written(frames.write_path, 1, OpCode.GET_EPHEMERALS.value, "") == bytes.fromhex(
        "0000000c 00000001 00000067 00000000"
    )


def test_text_without_utf8_and_numbers_that_do_not_fit_are_errors() -> None:
    with pytest.raises(UnicodeEncodeError):
        written(frames.write_path, XID, OpCode.SYNC.value, "/" + NULL_TEXT)
    with pytest.raises(UnicodeEncodeError):
        written(frames.write_multi, XID, [(OpCode.DELETE.value, Delete(NULL_TEXT, 0))])
    with pytest.raises(ValueError, match="too large"):
        written(frames.write_delete, XID, PATH, 1 << 31)
