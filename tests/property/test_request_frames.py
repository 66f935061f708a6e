"""The server's half of the wire format reads what the client's half writes."""

from hypothesis import given
from hypothesis import strategies as st

from tests.support.client_values import (
    CONNECTS,
    PARTS,
    PLAIN_FLAGS,
    READS_IN_MULTI,
    SET_WATCHES,
    TTL_FLAGS,
)
from tests.support.strategies import ACLS, DATA, INT32, INT64, PATHS, TEXT
from zoolet.big_endian.buffers import BytesWriter
from zoolet.model.acl import AclList
from zoolet.model.codes import AddWatchMode, OpCode, WatcherType, Xid
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.requests import (
    AddWatch,
    Auth,
    Connect,
    Create,
    Delete,
    Multi,
    MultiRead,
    PartRequest,
    PathOnly,
    PathWatch,
    SetAcl,
    SetData,
    SetWatches,
    WatchesOf,
)
from zoolet.wire import request_frames, requests
from zoolet.wire.frames import decode_connect, frame_end
from zoolet.wire.jute import Reader

BEFORE = b"an earlier frame"
PATH_OP_CODES = [
    OpCode.SYNC.value,
    OpCode.GET_ACL.value,
    OpCode.GET_ALL_CHILDREN_NUMBER.value,
    OpCode.GET_EPHEMERALS.value,
]
WATCH_OP_CODES = [
    OpCode.EXISTS.value,
    OpCode.GET_DATA.value,
    OpCode.GET_CHILDREN.value,
    OpCode.GET_CHILDREN2.value,
]


def after_others() -> BytesWriter:
    """Return a writer that is not empty, so that a frame does not begin at 0."""
    writer = BytesWriter()
    writer.write(BEFORE)
    return writer


def opened(writer: BytesWriter) -> tuple[int, int, Reader]:
    """Return xid, op code and body of the one frame after BEFORE."""
    data = writer.getvalue()
    assert data.startswith(BEFORE)
    assert frame_end(data, len(BEFORE), 1 << 20) == len(data)
    reader = Reader(data, len(BEFORE) + 4)
    return reader.read_int(), reader.read_int(), reader


def is_read(reader: Reader) -> bool:
    """Say whether the server has read the whole frame."""
    return reader.remaining == 0


@given(CONNECTS)
def test_connect(connect: Connect) -> None:
    writer = after_others()
    request_frames.write_connect(writer, connect)
    data = writer.getvalue()
    assert frame_end(data, len(BEFORE), 1 << 20) == len(data)
    assert decode_connect(data, len(BEFORE) + 4, len(data)) == connect


@given(INT32, INT32)
def test_a_request_without_a_body(xid: int, op_code: int) -> None:
    writer = after_others()
    request_frames.write_bare(writer, xid, op_code)
    *header, reader = opened(writer)
    assert (header, is_read(reader)) == ([xid, op_code], True)


@given(INT32, st.sampled_from(PATH_OP_CODES), PATHS)
def test_a_path(xid: int, op_code: int, path: str) -> None:
    for decode in (requests.decode_path, requests.decode_path_or_null):
        writer = after_others()
        request_frames.write_path(writer, xid, op_code, path)
        *header, reader = opened(writer)
        assert (header, decode(reader)) == ([xid, op_code], PathOnly(path))
        assert is_read(reader)


@given(INT32, st.sampled_from(WATCH_OP_CODES), PATHS, st.booleans())
def test_a_path_and_a_watch(xid: int, op_code: int, path: str, watch: bool) -> None:
    writer = after_others()
    request_frames.write_path_watch(writer, xid, op_code, path, watch)
    *header, reader = opened(writer)
    assert (header, requests.decode_path_watch(reader)) == ([xid, op_code], PathWatch(path, watch))
    assert is_read(reader)


@given(
    INT32,
    st.sampled_from([OpCode.CREATE.value, OpCode.CREATE2.value, OpCode.CREATE_CONTAINER.value]),
    PATHS,
    DATA,
    ACLS,
    PLAIN_FLAGS,
)
def test_create(
    xid: int, op_code: int, path: str, data: bytes | None, acl: AclList, flags: int
) -> None:
    writer = after_others()
    request_frames.write_create(writer, xid, op_code, path, data, acl, flags, 5000)
    *header, reader = opened(writer)
    is_container = op_code == OpCode.CREATE_CONTAINER
    kind = OwnerKind.CONTAINER if is_container else OwnerKind.NOBODY
    assert header == [xid, op_code]
    assert requests.decode_write(op_code, reader) == Create(path, data, acl, flags, kind)
    assert is_read(reader)


@given(INT32, PATHS, DATA, ACLS, TTL_FLAGS, INT64)
def test_create_ttl(
    xid: int, path: str, data: bytes | None, acl: AclList, flags: int, ttl_ms: int
) -> None:
    writer = after_others()
    op_code = OpCode.CREATE_TTL.value
    request_frames.write_create(writer, xid, op_code, path, data, acl, flags, ttl_ms)
    *header, reader = opened(writer)
    created = Create(path, data, acl, flags, OwnerKind.TTL, ttl_ms)
    assert (header, requests.decode_write(op_code, reader)) == ([xid, op_code], created)
    assert is_read(reader)


@given(INT32, PATHS, DATA, ACLS, INT32)
def test_the_other_writes(
    xid: int, path: str, data: bytes | None, acl: AclList, version: int
) -> None:
    writers = [after_others() for _ in range(3)]
    request_frames.write_delete(writers[0], xid, path, version)
    request_frames.write_set_data(writers[1], xid, path, data, version)
    request_frames.write_set_acl(writers[2], xid, path, acl, version)
    op_codes = (OpCode.DELETE, OpCode.SET_DATA, OpCode.SET_ACL)
    written = (Delete(path, version), SetData(path, data, version), SetAcl(path, acl, version))
    for writer, wanted, request in zip(writers, op_codes, written, strict=True):
        *header, reader = opened(writer)
        assert header == [xid, wanted]
        assert requests.decode_write(wanted, reader) == request
        assert is_read(reader)


@given(INT32, st.lists(PARTS, max_size=6))
def test_multi(xid: int, operations: list[tuple[int, PartRequest]]) -> None:
    writer = after_others()
    request_frames.write_multi(writer, xid, operations)
    *header, reader = opened(writer)
    decoded = requests.decode_write(OpCode.MULTI, reader)
    assert (header, decoded) == ([xid, OpCode.MULTI], Multi(tuple(operations)))
    assert is_read(reader)


@given(INT32, st.lists(READS_IN_MULTI, max_size=6))
def test_multi_read(xid: int, operations: list[tuple[int, str]]) -> None:
    writer = after_others()
    request_frames.write_multi_read(writer, xid, operations)
    *header, reader = opened(writer)
    wanted = tuple((op_code, PathWatch(path, watch=False)) for op_code, path in operations)
    assert header == [xid, OpCode.MULTI_READ]
    assert requests.decode_multi_read(reader) == MultiRead(wanted)
    assert is_read(reader)


@given(SET_WATCHES)
def test_set_watches(watches: SetWatches) -> None:
    writer = after_others()
    request_frames.write_set_watches(writer, watches)
    xid, op_code, reader = opened(writer)
    assert xid == Xid.SET_WATCHES
    if watches.persistent_watches or watches.persistent_recursive_watches:
        assert op_code == OpCode.SET_WATCHES2
        assert requests.decode_set_watches2(reader) == watches
    else:
        assert op_code == OpCode.SET_WATCHES
        assert requests.decode_set_watches(reader) == watches
    assert is_read(reader)


@given(INT32, PATHS, st.sampled_from(AddWatchMode))
def test_add_watch(xid: int, path: str, mode: AddWatchMode) -> None:
    writer = after_others()
    request_frames.write_add_watch(writer, xid, path, mode.value)
    *header, reader = opened(writer)
    decoded = requests.decode_add_watch(reader)
    assert (header, decoded) == ([xid, OpCode.ADD_WATCH], AddWatch(path, mode))
    assert is_read(reader)


@given(
    INT32,
    st.sampled_from([OpCode.CHECK_WATCHES.value, OpCode.REMOVE_WATCHES.value]),
    PATHS,
    st.sampled_from(WatcherType),
)
def test_watches_of(xid: int, op_code: int, path: str, watcher_type: WatcherType) -> None:
    writer = after_others()
    request_frames.write_watches_of(writer, xid, op_code, path, watcher_type.value)
    *header, reader = opened(writer)
    decoded = requests.decode_watches_of(reader)
    assert (header, decoded) == ([xid, op_code], WatchesOf(path, watcher_type))
    assert is_read(reader)


@given(TEXT, st.binary(max_size=20))
def test_auth(scheme: str, auth: bytes) -> None:
    writer = after_others()
    request_frames.write_auth(writer, scheme, auth)
    *header, reader = opened(writer)
    assert header == [Xid.AUTH, OpCode.AUTH]
    assert requests.decode_auth(reader) == Auth(0, scheme, auth)
    assert is_read(reader)


@given(INT32, st.none() | TEXT, st.none() | TEXT, st.none() | TEXT, INT64)
def test_reconfig(
    xid: int, joining: str | None, leaving: str | None, members: str | None, config: int
) -> None:
    writer = after_others()
    request_frames.write_reconfig(writer, xid, joining, leaving, members, config)
    *header, reader = opened(writer)
    start = reader.position
    requests.check_reconfig(reader)
    assert header == [xid, OpCode.RECONFIG]
    assert is_read(reader)
    reader.position = start
    for text in (joining, leaving, members):
        assert reader.read_buffer() == (None if text is None else text.encode())
    assert reader.read_long() == config
