"""Requests as bytes, and what attackers and the bystander read of the answers."""

import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from zoolet.model.acl import OPEN_ACL, AclList
from zoolet.model.codes import AddWatchMode, OpCode, Xid
from zoolet.wire.jute import INT, LONG, pack_acl, pack_buffer, pack_ustring, pack_ustrings

REPLY_HEADER: Final = struct.Struct(">iiqi")
"""Length, xid, zxid and error code of a reply."""

EPHEMERAL: Final = 1
SEQUENTIAL: Final = 2

_FRAME_HEADER = struct.Struct(">iii")
_MULTI_HEADER = struct.Struct(">ibi")
_END_OF_MULTI: Final = _MULTI_HEADER.pack(-1, 1, -1)
_PASSWORD_BYTES: Final = 16


class Session(NamedTuple):
    """What a connect request was answered; timeout_ms is 0 if there is no such session."""

    timeout_ms: int
    session_id: int
    password: bytes


def request(xid: int, op_code: int, body: bytes = b"") -> bytes:
    """Return a request with its length."""
    return _FRAME_HEADER.pack(8 + len(body), xid, op_code) + body


def path_watch(xid: int, op_code: int, path: str, *, watch: bool = False) -> bytes:
    """Return a getData, exists, getChildren or getChildren2 request."""
    return request(xid, op_code, watch_body(path, watch=watch))


def watch_body(path: str, *, watch: bool = False) -> bytes:
    """Return the body of a getData, exists, getChildren or getChildren2 request."""
    return pack_ustring(path) + bytes([watch])


def path_only(xid: int, op_code: int, path: str) -> bytes:
    """Return a getACL, sync, getEphemerals or getAllChildrenNumber request."""
    return request(xid, op_code, pack_ustring(path))


def create_body(path: str, data: bytes = b"", flags: int = 0, acl: AclList = OPEN_ACL) -> bytes:
    """Return the body of a create request."""
    return pack_ustring(path) + pack_buffer(data) + pack_acl(acl) + INT.pack(flags)


def create(
    xid: int, path: str, data: bytes = b"", flags: int = 0, acl: AclList = OPEN_ACL
) -> bytes:
    """Return a create request."""
    return request(xid, OpCode.CREATE, create_body(path, data, flags, acl))


def set_data(xid: int, path: str, data: bytes) -> bytes:
    """Return a setData request for any version."""
    return request(xid, OpCode.SET_DATA, set_data_body(path, data))


def set_data_body(path: str, data: bytes) -> bytes:
    """Return the body of a setData request for any version."""
    return pack_ustring(path) + pack_buffer(data) + INT.pack(-1)


def set_acl(xid: int, path: str, acl: AclList) -> bytes:
    """Return a setACL request for any version."""
    return request(xid, OpCode.SET_ACL, pack_ustring(path) + pack_acl(acl) + INT.pack(-1))


def version_body(path: str) -> bytes:
    """Return the body of a delete or check request for any version."""
    return pack_ustring(path) + INT.pack(-1)


def multi(xid: int, parts: Iterable[tuple[int, bytes]], op_code: int = OpCode.MULTI) -> bytes:
    """Return a multi or multiRead request of parts with these op codes and bodies."""
    packed = [_MULTI_HEADER.pack(part_code, 0, -1) + body for part_code, body in parts]
    return request(xid, op_code, b"".join([*packed, _END_OF_MULTI]))


def auth(user: bytes, xid: int = Xid.AUTH) -> bytes:
    """Return an auth request under the scheme digest, for ``user`` with an empty password."""
    return request(
        xid, OpCode.AUTH, INT.pack(0) + pack_ustring("digest") + pack_buffer(user + b":")
    )


def set_watches(xid: int, data: Sequence[str], exist: Sequence[str] = ()) -> bytes:
    """Return a setWatches request that has seen everything up to zxid 0."""
    body = LONG.pack(0) + pack_ustrings(data) + pack_ustrings(exist) + pack_ustrings(())
    return request(xid, OpCode.SET_WATCHES, body)


def add_watch_body(path: str, mode: AddWatchMode) -> bytes:
    """Return the body of an addWatch request."""
    return pack_ustring(path) + INT.pack(mode)


def connect_request(timeout_ms: int, session: Session | None = None) -> bytes:
    """Return a connect request with its length, for a new session or for one that exists."""
    session_id = 0 if session is None else session.session_id
    password = bytes(_PASSWORD_BYTES) if session is None else session.password
    body = (
        INT.pack(0)
        + LONG.pack(0)
        + INT.pack(timeout_ms)
        + LONG.pack(session_id)
        + pack_buffer(password)
        + b"\0"
    )
    return INT.pack(len(body)) + body


def connect(connection: socket.socket, timeout_ms: int, session: Session | None = None) -> Session:
    """Send a connect request and return the answer; raises OSError or EOFError."""
    connection.sendall(connect_request(timeout_ms, session))
    answer = read_frame(connection)
    _, granted_ms, session_id = struct.unpack_from(">iiq", answer)
    return Session(granted_ms, session_id, answer[20 : 20 + _PASSWORD_BYTES])


def read_frame(connection: socket.socket) -> bytes:
    """Return the next frame without its length; raises OSError or EOFError."""
    (length,) = INT.unpack(_read(connection, 4))
    return _read(connection, length)


def _read(connection: socket.socket, size_bytes: int) -> bytes:
    parts = []
    while size_bytes:
        data = connection.recv(min(size_bytes, 1 << 20))
        if not data:
            raise EOFError("the server closed the connection")
        parts.append(data)
        size_bytes -= len(data)
    return b"".join(parts)
