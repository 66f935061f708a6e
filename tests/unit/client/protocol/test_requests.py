"""Each call has the bytes that a server reads, and invalid arguments make no call."""

from collections.abc import Callable

import pytest

from tests.support.client_peer import untyped
from zoolet.client.protocol import batches
from zoolet.client.protocol.calls import WAITS, Call
from zoolet.client.protocol.requests import RequestMaker
from zoolet.client.protocol.watches import CHILD, DATA, PERSISTENT, RECURSIVE
from zoolet.model.acl import OPEN_ACL, READ_ONLY_ACL
from zoolet.model.codes import AddWatchMode, CreateMode, OpCode, WatcherType
from zoolet.model.owner_kinds import MAX_TTL_MS, OwnerKind
from zoolet.model.paths import CONFIG
from zoolet.model.requests import (
    AddWatch,
    Check,
    CloseSession,
    Create,
    Delete,
    Multi,
    MultiRead,
    PathOnly,
    PathWatch,
    SetAcl,
    SetData,
    WatchesOf,
)
from zoolet.wire import requests
from zoolet.wire.frames import frame_end
from zoolet.wire.jute import Reader

Make = Callable[[RequestMaker], Call[object]]
CHROOT = "/app"
PERSISTENT_MODE = AddWatchMode.PERSISTENT
RECURSIVE_MODE = AddWatchMode.PERSISTENT_RECURSIVE


def decoded(call: Call[object]) -> object:
    """Return the request in the frame of a call, as the server's half of the wire reads it."""
    frame = call.frame
    assert frame_end(frame, 0, 1 << 20) == len(frame)
    assert call.size_bytes == len(frame)
    assert call.phase == WAITS
    reader = Reader(frame, 4)
    assert reader.read_int() == call.xid
    op_code = OpCode(reader.read_int())
    assert op_code == call.op_code
    request = body_of(op_code, reader)
    assert reader.remaining == 0
    return request


def body_of(op_code: OpCode, reader: Reader) -> object:
    if op_code in requests.WRITE_OP_CODES:
        return requests.decode_write(op_code, reader)
    readers: dict[OpCode, Callable[[Reader], object]] = {
        OpCode.GET_DATA: requests.decode_path_watch,
        OpCode.EXISTS: requests.decode_path_watch,
        OpCode.GET_CHILDREN2: requests.decode_path_watch,
        OpCode.GET_ACL: requests.decode_path,
        OpCode.GET_ALL_CHILDREN_NUMBER: requests.decode_path,
        OpCode.SYNC: requests.decode_path_or_null,
        OpCode.GET_EPHEMERALS: requests.decode_path_or_null,
        OpCode.MULTI_READ: requests.decode_multi_read,
        OpCode.ADD_WATCH: requests.decode_add_watch,
        OpCode.CHECK_WATCHES: requests.decode_watches_of,
        OpCode.REMOVE_WATCHES: requests.decode_watches_of,
        OpCode.WHO_AM_I: lambda _reader: None,
        OpCode.RECONFIG: lambda reader: (
            *(reader.read_buffer() for _ in range(3)),
            reader.read_long(),
        ),
    }
    return readers[op_code](reader)


def create(mode: CreateMode, ttl_ms: int = 0, path: str = "/a") -> Make:
    return lambda make: untyped(make.create(path, b"d", mode, READ_ONLY_ACL, ttl_ms))


CASES: list[tuple[Make, OpCode, object]] = [
    (lambda make: untyped(make.get("/a")), OpCode.GET_DATA, PathWatch("/a", False)),
    (lambda make: untyped(make.get("/a", print)), OpCode.GET_DATA, PathWatch("/a", True)),
    (lambda make: untyped(make.exists("/a")), OpCode.EXISTS, PathWatch("/a", False)),
    (lambda make: untyped(make.exists("/a", print)), OpCode.EXISTS, PathWatch("/a", True)),
    (lambda make: untyped(make.children("/a")), OpCode.GET_CHILDREN2, PathWatch("/a", False)),
    (lambda make: untyped(make.children("/a", print)), OpCode.GET_CHILDREN2, PathWatch("/a", True)),
    (lambda make: untyped(make.set("/a", b"d", 3)), OpCode.SET_DATA, SetData("/a", b"d", 3)),
    (lambda make: untyped(make.set("/a", None, -1)), OpCode.SET_DATA, SetData("/a", None, -1)),
    (lambda make: untyped(make.set("/a", b"", 0)), OpCode.SET_DATA, SetData("/a", b"", 0)),
    (lambda make: untyped(make.delete("/a", 4)), OpCode.DELETE, Delete("/a", 4)),
    (lambda make: untyped(make.get_acl("/a")), OpCode.GET_ACL, PathOnly("/a")),
    (
        lambda make: untyped(make.set_acl("/a", READ_ONLY_ACL, 2)),
        OpCode.SET_ACL,
        SetAcl("/a", READ_ONLY_ACL, 2),
    ),
    (lambda make: untyped(make.sync("/a")), OpCode.SYNC, PathOnly("/a")),
    (lambda make: untyped(make.ephemerals("/a")), OpCode.GET_EPHEMERALS, PathOnly("/a")),
    (
        lambda make: untyped(make.count_descendants("/a")),
        OpCode.GET_ALL_CHILDREN_NUMBER,
        PathOnly("/a"),
    ),
    (lambda make: untyped(make.who_am_i()), OpCode.WHO_AM_I, None),
    (lambda make: untyped(make.close()), OpCode.CLOSE_SESSION, CloseSession()),
    (lambda make: untyped(make.config()), OpCode.GET_DATA, PathWatch(CONFIG, False)),
    (
        lambda make: untyped(make.reconfig("server.4=a", None, "", 1 << 40)),
        OpCode.RECONFIG,
        (b"server.4=a", None, b"", 1 << 40),
    ),
    (
        lambda make: untyped(make.add_watch("/a", PERSISTENT_MODE, print)),
        OpCode.ADD_WATCH,
        AddWatch("/a", PERSISTENT_MODE),
    ),
    (
        lambda make: untyped(make.add_watch("/a", RECURSIVE_MODE, print)),
        OpCode.ADD_WATCH,
        AddWatch("/a", RECURSIVE_MODE),
    ),
    *[
        (
            lambda make, kind=kind: untyped(make.check_watches("/a", kind)),
            OpCode.CHECK_WATCHES,
            WatchesOf("/a", kind),
        )
        for kind in WatcherType
    ],
    (
        lambda make: untyped(make.remove_watches("/a", WatcherType.DATA)),
        OpCode.REMOVE_WATCHES,
        WatchesOf("/a", WatcherType.DATA),
    ),
    *[
        (create(mode), OpCode.CREATE2, Create("/a", b"d", READ_ONLY_ACL, mode.value))
        for mode in CreateMode
        if not mode.has_ttl and mode is not CreateMode.CONTAINER
    ],
    (
        create(CreateMode.CONTAINER),
        OpCode.CREATE_CONTAINER,
        Create("/a", b"d", READ_ONLY_ACL, 4, OwnerKind.CONTAINER),
    ),
    *[
        (
            create(mode, ttl_ms),
            OpCode.CREATE_TTL,
            Create("/a", b"d", READ_ONLY_ACL, mode.value, OwnerKind.TTL, ttl_ms),
        )
        for mode in CreateMode
        if mode.has_ttl
        for ttl_ms in (1, MAX_TTL_MS)
    ],
]


@pytest.mark.parametrize(
    ("make", "op_code", "request_"), CASES, ids=[f"{case[1].name} {case[2]}" for case in CASES]
)
def test_a_call(make: Make, op_code: OpCode, request_: object) -> None:
    call = make(RequestMaker())
    assert call.op_code == op_code
    assert decoded(call) == request_
    below = make(RequestMaker(CHROOT))
    assert below.path == call.path
    path = getattr(request_, "path", None)
    found = decoded(below)
    assert getattr(found, "path", None) == (path if path in {None, CONFIG} else CHROOT + str(path))


def test_every_method_has_a_case() -> None:
    methods = {name for name in dir(RequestMaker) if not name.startswith("_")}
    elsewhere = {"multi", "multi_read", "login", "full_path"}
    tried = {name for make, _, _ in CASES for name in make.__code__.co_names}
    assert methods - elsewhere <= tried | {"create"}


@pytest.mark.parametrize("chroot", ["", CHROOT])
def test_the_root(chroot: str) -> None:
    make = RequestMaker(chroot)
    assert decoded(untyped(make.get("/"))) == PathWatch(chroot or "/", False)
    assert decoded(untyped(make.ephemerals("/"))) == PathOnly(chroot or "/")
    call = make.create("/", b"", CreateMode.PERSISTENT_SEQUENTIAL, OPEN_ACL, 0)
    assert decoded(untyped(call)) == Create(f"{chroot}/", b"", OPEN_ACL, 2)


def test_a_multi() -> None:
    make = RequestMaker(CHROOT)
    batch = batches.Multi().create("/a", b"d")
    batch.create("/b", None, mode=CreateMode.EPHEMERAL_SEQUENTIAL, acl=READ_ONLY_ACL)
    batch.create("/c", mode=CreateMode.CONTAINER)
    batch.create("/d", mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=7)
    batch.create("/", mode=CreateMode.PERSISTENT_SEQUENTIAL)
    batch.set("/a", None, version=3).delete("/a").check("/", version=0)
    call = make.multi(batch)
    assert call.parts is not None
    assert [path for _, path in call.parts] == ["/a", "/b", "/c", "/d", "/", "/a", "/a", "/"]
    assert decoded(untyped(call)) == Multi(
        (
            (OpCode.CREATE2, Create("/app/a", b"d", OPEN_ACL, 0)),
            (OpCode.CREATE2, Create("/app/b", None, READ_ONLY_ACL, 3)),
            (OpCode.CREATE_CONTAINER, Create("/app/c", b"", OPEN_ACL, 4, OwnerKind.CONTAINER)),
            (OpCode.CREATE_TTL, Create("/app/d", b"", OPEN_ACL, 5, OwnerKind.TTL, 7)),
            (OpCode.CREATE2, Create("/app/", b"", OPEN_ACL, 2)),
            (OpCode.SET_DATA, SetData("/app/a", None, 3)),
            (OpCode.DELETE, Delete("/app/a", -1)),
            (OpCode.CHECK, Check("/app", 0)),
        )
    )
    assert decoded(untyped(make.multi(batches.Multi()))) == Multi(())


def test_a_multi_read() -> None:
    make = RequestMaker(CHROOT)
    call = make.multi_read(batches.MultiRead().get("/a").children("/"))
    assert call.parts == [(OpCode.GET_DATA, "/a"), (OpCode.GET_CHILDREN, "/")]
    assert decoded(untyped(call)) == MultiRead(
        (
            (OpCode.GET_DATA, PathWatch("/app/a", False)),
            (OpCode.GET_CHILDREN, PathWatch("/app", False)),
        )
    )


def test_watchers_and_removals() -> None:
    make = RequestMaker(CHROOT)
    calls = {
        DATA: untyped(make.get("/a", print)),
        CHILD: untyped(make.children("/a", print)),
        PERSISTENT: untyped(make.add_watch("/a", PERSISTENT_MODE, print)),
        RECURSIVE: untyped(make.add_watch("/a", RECURSIVE_MODE, print)),
    }
    for kind, call in calls.items():
        watcher = call.watcher
        assert watcher is not None
        assert (watcher.kind, watcher.path, watcher.shown_path) == (kind, "/app/a", "/a")
        assert watcher.notify is print
    removal = make.remove_watches("/a", WatcherType.DATA)
    assert removal.removes == ("/app/a", WatcherType.DATA)
    assert make.check_watches("/a", WatcherType.DATA).removes is None
    assert make.get("/a").watcher is None


BAD_PATHS = ["", "a", "x", "ab", "a/b", "/a/", "//", "/a//b", "/a/..", "/.", "/./a", "/a/../b"]
BAD_PATHS += ["/\0", "/a\x1fb", "/\x7f", "/\x9f", "/\ud800", "/\ue000", "/\ufff0", "/\U0001f600"]
PATH_METHODS: dict[str, Callable[[RequestMaker, str], object]] = {
    "get": lambda make, path: make.get(path),
    "exists": lambda make, path: make.exists(path, print),
    "children": lambda make, path: make.children(path),
    "set": lambda make, path: make.set(path, b"", -1),
    "create": lambda make, path: make.create(path, b"", CreateMode.PERSISTENT, OPEN_ACL, 0),
    "delete": lambda make, path: make.delete(path, -1),
    "get_acl": lambda make, path: make.get_acl(path),
    "set_acl": lambda make, path: make.set_acl(path, OPEN_ACL, -1),
    "sync": lambda make, path: make.sync(path),
    "ephemerals": lambda make, path: make.ephemerals(path),
    "count_descendants": lambda make, path: make.count_descendants(path),
    "add_watch": lambda make, path: make.add_watch(path, PERSISTENT_MODE, print),
    "check_watches": lambda make, path: make.check_watches(path, WatcherType.ANY),
    "remove_watches": lambda make, path: make.remove_watches(path, WatcherType.ANY),
    "create in a multi": lambda _, path: batches.Multi().create(path),
    "set in a multi": lambda _, path: batches.Multi().set(path, b""),
    "delete in a multi": lambda _, path: batches.Multi().delete(path),
    "check in a multi": lambda _, path: batches.Multi().check(path),
    "get in a multi_read": lambda _, path: batches.MultiRead().get(path),
    "children in a multi_read": lambda _, path: batches.MultiRead().children(path),
}


@pytest.mark.parametrize("before", ["", "/", "/a", "/a/b", "/x/y"])
@pytest.mark.parametrize("name", PATH_METHODS)
def test_an_invalid_path_makes_no_call(name: str, before: str) -> None:
    """Also not if the path before was valid and had the same parent."""
    make = RequestMaker(CHROOT)
    for path in BAD_PATHS:
        if before:
            make.get(before)
        with pytest.raises(ValueError, match="is not a valid path"):
            PATH_METHODS[name](make, path)


def test_valid_paths() -> None:
    make = RequestMaker()
    for path in (
        "/a",
        "/a/b",
        "/a/b",
        "/...",
        "/a/.b",
        "/a/..c",
        "/é",
        "/a b",
        "/漢/字",
        "/\uffef",
    ):
        assert decoded(untyped(make.get(path))) == PathWatch(path, False)


@pytest.mark.parametrize("path", ["/a/", "/", "/a/.", "/a/..", "/a/b-"])
def test_the_server_appends_digits_to_a_sequential_path(path: str) -> None:
    make = RequestMaker()
    for mode in CreateMode:
        if mode.is_sequential:
            call = make.create(path, b"", mode, OPEN_ACL, 5 if mode.has_ttl else 0)
            assert getattr(decoded(untyped(call)), "path", "") == path
    with pytest.raises(ValueError, match="is not a valid path"):
        make.create("a", b"", CreateMode.EPHEMERAL_SEQUENTIAL, OPEN_ACL, 0)


@pytest.mark.parametrize("data", ["text", 5, bytearray(b"a"), memoryview(b"a"), [1]])
def test_data_must_be_bytes(data: object) -> None:
    make = RequestMaker()
    for act in (
        lambda: make.set("/a", data, -1),  # type: ignore[arg-type]
        lambda: make.create("/a", data, CreateMode.PERSISTENT, OPEN_ACL, 0),  # type: ignore[arg-type]
        lambda: batches.Multi().set("/a", data),  # type: ignore[arg-type]
        lambda: batches.Multi().create("/a", data),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError):
            act()


@pytest.mark.parametrize("ttl_ms", [0, -1, MAX_TTL_MS + 1, 1 << 63])
def test_an_invalid_ttl(ttl_ms: int) -> None:
    make = RequestMaker()
    for mode in CreateMode:
        if mode.has_ttl or ttl_ms:
            with pytest.raises(ValueError, match="ttl_ms"):
                make.create("/a", b"", mode, OPEN_ACL, ttl_ms)
            with pytest.raises(ValueError, match="ttl_ms"):
                batches.Multi().create("/a", b"", mode=mode, ttl_ms=ttl_ms)


@pytest.mark.parametrize("version", [1 << 31, -(1 << 31) - 1])
def test_a_version_that_does_not_fit(version: int) -> None:
    make = RequestMaker()
    for act in (
        lambda: make.set("/a", b"", version),
        lambda: make.delete("/a", version),
        lambda: make.set_acl("/a", OPEN_ACL, version),
        lambda: make.multi(batches.Multi().check("/a", version=version)),
    ):
        with pytest.raises(ValueError):  # noqa: PT011 -- the text is that of librt
            act()
    assert decoded(untyped(make.get("/a"))) == PathWatch("/a", False)


def test_xids_rise_and_begin_again_at_1() -> None:
    make = RequestMaker()
    assert [make.get("/a").xid, make.close().xid, make.multi(batches.Multi()).xid] == [1, 2, 3]
    make._xid = (1 << 31) - 2
    assert [make.get("/a").xid, make.get("/a").xid, make.get("/a").xid] == [(1 << 31) - 1, 1, 2]
