"""What the client sends is what the server's own codec reads, and the other way round."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kazoo.exceptions import NoNodeError, RolledBackError
from kazoo.protocol.serialization import CheckVersion, Delete, GetChildren, GetData, SetData

from zoolet.client.kazoo import requests as ours
from zoolet.model import requests as model
from zoolet.model.acl import ACL, OPEN_ACL, Id
from zoolet.model.codes import AddWatchMode, OpCode, WatcherType
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.replies import TxnResult
from zoolet.model.stat import Stat
from zoolet.wire import replies
from zoolet.wire import requests as wire
from zoolet.wire.jute import Reader

STAT = Stat(*range(1, 12))
GUARDED = (ACL(31, Id("digest", "ann:x=")), ACL(1, Id("world", "anyone")))
PATHS = st.text("abc/", min_size=1).map("/".__add__)


def body(request: Any) -> Reader:
    """Return a reader of a request's bytes."""
    return Reader(bytes(request.serialize()))


@pytest.mark.parametrize("data", [None, b"", b"\xff"])
def test_creates(data: bytes | None) -> None:
    container = ours.CreateContainer("/a", data, GUARDED, 4)
    assert wire.decode_write(OpCode(container.type), body(container)) == model.Create(
        "/a", data, GUARDED, 4, OwnerKind.CONTAINER
    )
    ttl = ours.CreateTtl("/a", data, OPEN_ACL, 6, 1 << 39)
    assert wire.decode_write(OpCode(ttl.type), body(ttl)) == model.Create(
        "/a", data, OPEN_ACL, 6, OwnerKind.TTL, 1 << 39
    )
    answer = replies.encode_result(TxnResult(OpCode.CREATE2, path="/a-01", record=STAT.pack()))
    assert ttl.deserialize(answer, 0) == "/a-01"


def test_a_multi_of_all_writes() -> None:
    multi = ours.Multi(
        [
            ours.CreateContainer("/a", b"", OPEN_ACL, 4),
            ours.CreateTtl("/b", b"", OPEN_ACL, 5, 10),
            SetData("/c", b"x", 3),
            Delete("/d", -1),
            CheckVersion("/e", 2),
        ]
    )
    read = wire.decode_write(OpCode.MULTI, body(multi))
    assert isinstance(read, model.Multi)
    assert [operation for _, operation in read.operations] == [
        model.Create("/a", b"", OPEN_ACL, 4, OwnerKind.CONTAINER),
        model.Create("/b", b"", OPEN_ACL, 5, OwnerKind.TTL, 10),
        model.SetData("/c", b"x", 3),
        model.Delete("/d", -1),
        model.Check("/e", 2),
    ]


def test_the_answers_of_a_multi() -> None:
    parts = (
        TxnResult(OpCode.CREATE, path="/a"),
        TxnResult(OpCode.CREATE2, path="/b", record=STAT.pack()),
        TxnResult(OpCode.SET_DATA, record=STAT.pack()),
        TxnResult(OpCode.DELETE),
        TxnResult(OpCode.CHECK),
    )
    answer = replies.encode_result(TxnResult(OpCode.MULTI, parts=parts))
    first, second, stat, deleted, checked = ours.Multi.deserialize(answer, 0)
    assert (first, second, deleted, checked) == ("/a", "/b", True, True)
    assert tuple(stat) == tuple(STAT)


def test_the_answers_of_a_refused_multi() -> None:
    parts = (TxnResult(OpCode.ERROR, err=0), TxnResult(OpCode.ERROR, err=NoNodeError.code))
    answer = replies.encode_result(TxnResult(OpCode.MULTI, parts=parts))
    rolled_back, refused = ours.Multi.deserialize(answer, 0)
    assert isinstance(rolled_back, RolledBackError)
    assert isinstance(refused, NoNodeError)


def test_many_reads() -> None:
    request = ours.MultiRead([GetData("/a", None), GetChildren("/b", None)])
    assert wire.decode_multi_read(body(request)).operations == (
        (OpCode.GET_DATA, model.PathWatch("/a", False)),
        (OpCode.GET_CHILDREN, model.PathWatch("/b", False)),
    )


@given(st.lists(st.lists(PATHS, max_size=3), min_size=5, max_size=5), st.integers(0, 1 << 62))
def test_watches_to_set(lists: list[list[str]], zxid: int) -> None:
    five = ours.SetWatches(zxid, tuple(lists))
    assert five.type == OpCode.SET_WATCHES2
    assert wire.decode_set_watches2(body(five)) == model.SetWatches(zxid, *map(tuple, lists))
    three = ours.SetWatches(zxid, tuple(lists[:3]))
    assert three.type == OpCode.SET_WATCHES
    assert wire.decode_set_watches(body(three)) == model.SetWatches(zxid, *map(tuple, lists[:3]))


def test_watches_to_add_and_to_remove() -> None:
    added = ours.AddWatch("/a", AddWatchMode.PERSISTENT_RECURSIVE)
    assert wire.decode_add_watch(body(added)) == model.AddWatch(
        "/a", AddWatchMode.PERSISTENT_RECURSIVE
    )
    removed = ours.RemoveWatches("/a", WatcherType.DATA)
    assert wire.decode_watches_of(body(removed)) == model.WatchesOf("/a", WatcherType.DATA)


@pytest.mark.parametrize(
    ("request_", "children"),
    [
        (ours.WatchingGet("/a", None), False),
        (ours.WatchingExists("/a", None), False),
        (ours.WatchingChildren("/a", None), True),
    ],
)
def test_reads_that_leave_a_watch(request_: Any, children: bool) -> None:
    assert wire.decode_path_watch(body(request_)) == model.PathWatch("/a", True)
    assert request_.watcher is None, "kazoo must not enter it in its own table"
    assert (request_.type == OpCode.GET_CHILDREN2) is children


def test_small_requests_and_their_answers() -> None:
    prefix = ours.GetEphemerals("/a")
    assert wire.decode_path(body(prefix)) == model.PathOnly("/a")
    assert prefix.deserialize(replies.encode_paths(["/a", "/ab"]), 0) == ["/a", "/ab"]
    count = ours.GetAllChildrenNumber("/a")
    assert wire.decode_path(body(count)) == model.PathOnly("/a")
    assert count.deserialize(replies.encode_count(7), 0) == 7
    assert ours.WhoAmI().serialize() == b""
    answer = replies.encode_identities([("ip", "127.0.0.1"), ("digest", "ann")])
    assert ours.WhoAmI().deserialize(answer, 0) == [Id("ip", "127.0.0.1"), Id("digest", "ann")]
