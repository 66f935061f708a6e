"""The bodies of replies, and the frame of a watch event."""

import struct
from collections.abc import Callable, Iterable

from zoolet.model.acl import AclList
from zoolet.model.codes import EventType, KeeperState, OpCode, Xid
from zoolet.model.replies import TxnResult
from zoolet.wire.frames import encode_reply
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring, pack_ustrings

_MULTI_HEADER = struct.Struct(">i?i")
_CREATES_WITH_STAT = {OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL}
_END_OF_MULTI = _MULTI_HEADER.pack(-1, True, -1)


def _encode_multi(result: TxnResult) -> bytes:
    parts: list[bytes] = []
    for part in result.parts:
        # A part that made a znode and tells its Stat is told as a create2, whatever it was.
        told = OpCode.CREATE2 if part.op_code in _CREATES_WITH_STAT else part.op_code
        parts += (_MULTI_HEADER.pack(told, False, part.err), _BODIES[told](part))
    parts.append(_END_OF_MULTI)
    return b"".join(parts)


_BODIES: dict[OpCode, Callable[[TxnResult], bytes]] = {
    OpCode.CREATE: lambda result: pack_ustring(result.path),
    OpCode.CREATE2: lambda result: pack_ustring(result.path) + result.stat,
    OpCode.CREATE_CONTAINER: lambda result: pack_ustring(result.path) + result.stat,
    OpCode.CREATE_TTL: lambda result: pack_ustring(result.path) + result.stat,
    OpCode.DELETE: lambda _result: b"",
    OpCode.DELETE_CONTAINER: lambda _result: b"",
    OpCode.SET_DATA: lambda result: result.stat,
    OpCode.SET_ACL: lambda result: result.stat,
    OpCode.CHECK: lambda _result: b"",
    OpCode.CLOSE_SESSION: lambda _result: b"",
    OpCode.ERROR: lambda result: INT.pack(result.err),
    OpCode.MULTI: _encode_multi,
}


def encode_result(result: TxnResult) -> bytes:
    """Return the body of the reply to a write; one that was refused as a whole has none."""
    return b"" if result.op_code is OpCode.ERROR else _BODIES[result.op_code](result)


def encode_children(names: Iterable[str], stat: bytes = b"") -> bytes:
    """Return the body of getChildren's reply, or with a packed Stat that of getChildren2's."""
    return pack_ustrings(names) + stat


def encode_acl(acl: AclList, stat: bytes) -> bytes:
    """Return the body of getACL's reply."""
    return pack_acl(acl) + stat


def encode_path(path: str) -> bytes:
    """Return the body of sync's reply."""
    return pack_ustring(path)


def encode_count(count: int) -> bytes:
    """Return the body of getAllChildrenNumber's reply."""
    return INT.pack(count)


def encode_paths(paths: Iterable[str]) -> bytes:
    """Return the body of getEphemerals's reply."""
    return pack_ustrings(paths)


def encode_watch_added() -> bytes:
    """Return the body of addWatch's reply: an error code, which is 0."""
    return INT.pack(0)


def encode_identities(identities: Iterable[tuple[str, str]]) -> bytes:
    """Return the body of whoAmI's reply: schemes and users."""
    packed = [pack_ustring(scheme) + pack_ustring(user) for scheme, user in identities]
    return INT.pack(len(packed)) + b"".join(packed)


def encode_token(token: bytes | None) -> bytes:
    """Return the body of sasl's reply."""
    return pack_buffer(token)


def encode_multi_read(parts: Iterable[tuple[OpCode, int, bytes]]) -> bytes:
    """Return the body of multiRead's reply: for each part its op code, error and own body."""
    encoded = [
        _MULTI_HEADER.pack(OpCode.ERROR, False, err) + INT.pack(err)
        if err
        else _MULTI_HEADER.pack(op_code, False, 0) + body
        for op_code, err, body in parts
    ]
    return b"".join((*encoded, _END_OF_MULTI))


def encode_event(event_type: EventType, path: str, zxid: int) -> bytes:
    """Return the frame of a watch event; zxid is -1 where no single txn caused it."""
    body = INT.pack(event_type) + INT.pack(KeeperState.SYNC_CONNECTED) + pack_ustring(path)
    return encode_reply(Xid.NOTIFICATION, zxid, 0, body)
