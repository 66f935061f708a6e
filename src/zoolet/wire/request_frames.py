"""The client's half: functions that append the whole frame of a request to a BytesWriter.

A frame is a length, an xid, an op code and a body. ``requests`` reads the bodies that this module
writes. Source: ``zookeeper.jute``, module ``org.apache.zookeeper.proto``, ``MultiOperationRecord``
and ``ClientCnxn`` of Apache ZooKeeper.

The functions raise UnicodeEncodeError for text that has no UTF-8, and ValueError for a number that
does not fit in its field. Then a part of the frame may be in the writer, and the caller truncates
the writer to its former length.
"""

from collections.abc import Sequence
from typing import Final

from mypy_extensions import i64

from zoolet.big_endian.buffers import BytesWriter, write_i32_be, write_i64_be
from zoolet.model.acl import AclList
from zoolet.model.codes import OpCode, Xid
from zoolet.model.requests import Connect, Create, PartRequest, SetData, SetWatches
from zoolet.wire.frames import REQUEST_HEADER_BYTES
from zoolet.wire.jute import (
    pack_acl,
    set_length,
    write_acl,
    write_bool,
    write_buffer,
    write_ustring,
    write_ustrings,
)
from zoolet.wire.multi_headers import write_end_of_multi, write_multi_header

_CREATE_TTL: Final = OpCode.CREATE_TTL.value
_DELETE: Final = OpCode.DELETE.value
_SET_DATA: Final = OpCode.SET_DATA.value
_SET_ACL: Final = OpCode.SET_ACL.value
_MULTI: Final = OpCode.MULTI.value
_MULTI_READ: Final = OpCode.MULTI_READ.value
_RECONFIG: Final = OpCode.RECONFIG.value
_AUTH: Final = OpCode.AUTH.value
_SASL: Final = OpCode.SASL.value
_ADD_WATCH: Final = OpCode.ADD_WATCH.value
_SET_WATCHES: Final = OpCode.SET_WATCHES.value
_SET_WATCHES2: Final = OpCode.SET_WATCHES2.value
_XID_OF_AUTH: Final = Xid.AUTH.value
_XID_OF_SET_WATCHES: Final = Xid.SET_WATCHES.value
_NO_ERR: Final = -1
"""The err in the header of a part of a request."""


def write_connect(writer: BytesWriter, connect: Connect) -> None:
    """Write the first frame of a connection, which has no xid and no op code."""
    start: i64 = len(writer)
    write_i32_be(writer, 0)
    write_i32_be(writer, connect.protocol_version)
    write_i64_be(writer, connect.last_zxid_seen)
    write_i32_be(writer, connect.timeout_ms)
    write_i64_be(writer, connect.session_id)
    write_buffer(writer, connect.password)
    if connect.has_read_only:
        write_bool(writer, connect.read_only)
    set_length(writer, start)


def write_bare(writer: BytesWriter, xid: int, op_code: int) -> None:
    """Write a request without a body: ping, closeSession or whoAmI."""
    _write_header(writer, 0, xid, op_code)


def write_path(writer: BytesWriter, xid: int, op_code: int, path: str) -> None:
    """Write sync, getACL, getAllChildrenNumber, or getEphemerals, whose path is a prefix."""
    encoded = path.encode()
    _write_header(writer, 4 + len(encoded), xid, op_code)
    write_buffer(writer, encoded)


def write_path_watch(writer: BytesWriter, xid: int, op_code: int, path: str, watch: bool) -> None:
    """Write exists, getData, getChildren or getChildren2."""
    # Interpreted, a known length takes 0.7 µs less than set_length.
    encoded = path.encode()
    _write_header(writer, 5 + len(encoded), xid, op_code)
    write_buffer(writer, encoded)
    writer.append(1 if watch else 0)


def write_create(
    writer: BytesWriter,
    xid: int,
    op_code: int,
    path: str,
    data: bytes | None,
    acl: AclList,
    flags: int,
    ttl_ms: int,
) -> None:
    """Write create, create2, createContainer or createTTL; only createTTL contains ``ttl_ms``."""
    encoded = path.encode()
    packed_acl = pack_acl(acl)
    body_bytes = 12 + len(encoded) + len(packed_acl)
    if data is not None:
        body_bytes += len(data)
    if op_code == _CREATE_TTL:
        body_bytes += 8
    _write_header(writer, body_bytes, xid, op_code)
    write_buffer(writer, encoded)
    write_buffer(writer, data)
    writer.write(packed_acl)
    write_i32_be(writer, flags)
    if op_code == _CREATE_TTL:
        write_i64_be(writer, ttl_ms)


def write_delete(writer: BytesWriter, xid: int, path: str, version: int) -> None:
    """Write delete."""
    encoded = path.encode()
    _write_header(writer, 8 + len(encoded), xid, _DELETE)
    write_buffer(writer, encoded)
    write_i32_be(writer, version)


def write_set_data(
    writer: BytesWriter, xid: int, path: str, data: bytes | None, version: int
) -> None:
    """Write setData."""
    encoded = path.encode()
    body_bytes = 12 + len(encoded)
    if data is not None:
        body_bytes += len(data)
    _write_header(writer, body_bytes, xid, _SET_DATA)
    write_buffer(writer, encoded)
    write_buffer(writer, data)
    write_i32_be(writer, version)


def write_set_acl(writer: BytesWriter, xid: int, path: str, acl: AclList, version: int) -> None:
    """Write setACL; ``version`` is compared with aversion."""
    start = _begin(writer, xid, _SET_ACL)
    write_ustring(writer, path)
    write_acl(writer, acl)
    write_i32_be(writer, version)
    set_length(writer, start)


def write_multi(
    writer: BytesWriter, xid: int, operations: Sequence[tuple[int, PartRequest]]
) -> None:
    """Write multi: changes that all happen or none, each with its op code."""
    start = _begin(writer, xid, _MULTI)
    for op_code, request in operations:
        write_part(writer, op_code, request)
    write_end_of_multi(writer)
    set_length(writer, start)


def write_part(writer: BytesWriter, op_code: int, request: PartRequest) -> None:
    """Write one operation of a multi with its header."""
    write_multi_header(writer, op_code, _NO_ERR)
    write_ustring(writer, request.path)
    if isinstance(request, Create):
        write_buffer(writer, request.data)
        write_acl(writer, request.acl)
        write_i32_be(writer, request.flags)
        if op_code == _CREATE_TTL:
            write_i64_be(writer, request.ttl_ms)
    elif isinstance(request, SetData):
        write_buffer(writer, request.data)
        write_i32_be(writer, request.version)
    else:  # Delete and Check have the same fields
        write_i32_be(writer, request.version)


def write_multi_read(writer: BytesWriter, xid: int, operations: Sequence[tuple[int, str]]) -> None:
    """Write multiRead: the op codes of getData and getChildren, each with its path."""
    start = _begin(writer, xid, _MULTI_READ)
    for op_code, path in operations:
        write_multi_header(writer, op_code, _NO_ERR)
        write_ustring(writer, path)
        write_bool(writer, False)
    write_end_of_multi(writer)
    set_length(writer, start)


def write_set_watches(writer: BytesWriter, watches: SetWatches) -> None:
    """Write setWatches, or setWatches2 if there are persistent watches.

    Servers before 3.6 do not know setWatches2.
    """
    persistent = watches.persistent_watches
    recursive = watches.persistent_recursive_watches
    has_persistent = bool(persistent or recursive)
    start = _begin(writer, _XID_OF_SET_WATCHES, _SET_WATCHES2 if has_persistent else _SET_WATCHES)
    write_i64_be(writer, watches.relative_zxid)
    write_ustrings(writer, watches.data_watches)
    write_ustrings(writer, watches.exist_watches)
    write_ustrings(writer, watches.child_watches)
    if has_persistent:
        write_ustrings(writer, persistent)
        write_ustrings(writer, recursive)
    set_length(writer, start)


def write_add_watch(writer: BytesWriter, xid: int, path: str, mode: int) -> None:
    """Write addWatch; ``mode`` is the number of an AddWatchMode."""
    _write_path_and_number(writer, xid, _ADD_WATCH, path, mode)


def write_watches_of(writer: BytesWriter, xid: int, op_code: int, path: str, type: int) -> None:  # noqa: A002 -- the protocol's name
    """Write checkWatches or removeWatches; ``type`` is the number of a WatcherType."""
    _write_path_and_number(writer, xid, op_code, path, type)


def write_auth(writer: BytesWriter, scheme: str, auth: bytes) -> None:
    """Write auth: credentials of a scheme for this connection."""
    start = _begin(writer, _XID_OF_AUTH, _AUTH)
    write_i32_be(writer, 0)  # the type, which Apache ZooKeeper ignores
    write_ustring(writer, scheme)
    write_buffer(writer, auth)
    set_length(writer, start)


def write_sasl(writer: BytesWriter, xid: int, token: bytes) -> None:
    """Write sasl: a token of the client."""
    start = _begin(writer, xid, _SASL)
    write_buffer(writer, token)
    set_length(writer, start)


def write_reconfig(
    writer: BytesWriter,
    xid: int,
    joining: str | None,
    leaving: str | None,
    new_members: str | None,
    from_config: int,
) -> None:
    """Write reconfig; it fails if the version of the configuration is not ``from_config``.

    ``from_config`` -1 matches any version.
    """
    start = _begin(writer, xid, _RECONFIG)
    _write_text_or_null(writer, joining)
    _write_text_or_null(writer, leaving)
    _write_text_or_null(writer, new_members)
    write_i64_be(writer, from_config)
    set_length(writer, start)


def _write_header(writer: BytesWriter, body_bytes: int, xid: int, op_code: int) -> None:
    """Write what is before a body of ``body_bytes`` bytes."""
    write_i32_be(writer, REQUEST_HEADER_BYTES + body_bytes)
    write_i32_be(writer, xid)
    write_i32_be(writer, op_code)


def _begin(writer: BytesWriter, xid: int, op_code: int) -> i64:
    """Write what is before a body; return the position of the length, for ``set_length``."""
    start: i64 = len(writer)
    _write_header(writer, 0, xid, op_code)
    return start


def _write_path_and_number(
    writer: BytesWriter, xid: int, op_code: int, path: str, number: int
) -> None:
    encoded = path.encode()
    _write_header(writer, 8 + len(encoded), xid, op_code)
    write_buffer(writer, encoded)
    write_i32_be(writer, number)


def _write_text_or_null(writer: BytesWriter, value: str | None) -> None:
    write_buffer(writer, None if value is None else value.encode())
