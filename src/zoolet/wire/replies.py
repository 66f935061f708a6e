"""The server's half: functions that write the bodies of replies, and the frame of a watch event.

``reply_bodies`` reads what this module writes.
"""

from collections.abc import Iterable
from typing import Final

from zoolet.big_endian.buffers import BytesWriter, write_i32_be
from zoolet.model.acl import NULL_TEXT, AclList
from zoolet.model.codes import EventType, KeeperState, OpCode, Xid
from zoolet.model.replies import TxnResult
from zoolet.model.stat import STAT_BYTES
from zoolet.wire.frames import encode_reply
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring, pack_ustrings, write_ustring
from zoolet.wire.multi_headers import write_end_of_multi, write_multi_header

_CREATE: Final = OpCode.CREATE.value
_CREATE2: Final = OpCode.CREATE2.value
_CREATE_CONTAINER: Final = OpCode.CREATE_CONTAINER.value
_CREATE_TTL: Final = OpCode.CREATE_TTL.value
_SET_DATA: Final = OpCode.SET_DATA.value
_SET_ACL: Final = OpCode.SET_ACL.value
_ERROR: Final = OpCode.ERROR.value
_MULTI: Final = OpCode.MULTI.value


def stat_in(record: bytes) -> bytes:
    """Return the packed Stat in a znode's record; empty if the record is empty."""
    return record[len(record) - STAT_BYTES :] if record else record


def _write_body(writer: BytesWriter, op_code: int, result: TxnResult) -> None:
    """Write the body of a reply with ``op_code`` for a result."""
    if op_code in (_CREATE, _CREATE2, _CREATE_CONTAINER, _CREATE_TTL):
        write_ustring(writer, result.path)
        if op_code != _CREATE:
            writer.write(stat_in(result.record))
    elif op_code in (_SET_DATA, _SET_ACL):
        writer.write(stat_in(result.record))
    elif op_code == _MULTI:
        _write_parts(writer, result.parts)
    elif op_code == _ERROR:
        write_i32_be(writer, result.err)


def _write_parts(writer: BytesWriter, parts: tuple[TxnResult, ...]) -> None:
    for part in parts:
        # As in Apache ZooKeeper, createContainer and createTTL are written as create2, with a Stat.
        op_code = part.op_code
        told = _CREATE2 if op_code in (_CREATE_CONTAINER, _CREATE_TTL) else op_code
        write_multi_header(writer, told, part.err)
        _write_body(writer, told, part)
    write_end_of_multi(writer)


def encode_result(result: TxnResult) -> bytes:
    """Return the body of the reply to a write; it is empty if the whole write was refused."""
    if result.op_code == _ERROR:
        return b""
    writer = BytesWriter()
    _write_body(writer, result.op_code, result)
    return writer.getvalue()


def encode_acl(acl: AclList, stat: bytes) -> bytes:
    """Return the body of the reply to getACL."""
    return pack_acl(acl) + stat


def encode_path(path: str) -> bytes:
    """Return the body of the reply to sync; NULL_TEXT becomes null."""
    return pack_buffer(None if path == NULL_TEXT else path.encode())


def encode_count(count: int) -> bytes:
    """Return the body of the reply to getAllChildrenNumber."""
    return INT.pack(count)


def encode_paths(paths: Iterable[str]) -> bytes:
    """Return the body of the reply to getEphemerals."""
    return pack_ustrings(paths)


def encode_watch_added() -> bytes:
    """Return the body of the reply to addWatch: an error code, which is 0."""
    return INT.pack(0)


def encode_identities(identities: Iterable[tuple[str, str]]) -> bytes:
    """Return the body of the reply to whoAmI: schemes and users."""
    packed = [pack_ustring(scheme) + pack_ustring(user) for scheme, user in identities]
    return INT.pack(len(packed)) + b"".join(packed)


def encode_token(token: bytes | None) -> bytes:
    """Return the body of the reply to sasl."""
    return pack_buffer(token)


def encode_multi_read(parts: Iterable[tuple[int, int, bytes]]) -> bytes:
    """Return the body of the reply to multiRead: the op code, error and body of each part."""
    writer = BytesWriter()
    for op_code, err, body in parts:
        write_multi_read_part(writer, op_code, err, body)
    write_end_of_multi(writer)
    return writer.getvalue()


def write_multi_read_part(writer: BytesWriter, op_code: int, err: int, body: bytes) -> None:
    """Write a part of the reply to multiRead: its op code, error and body."""
    if err:
        write_multi_header(writer, _ERROR, err)
        write_i32_be(writer, err)
    else:
        write_multi_header(writer, op_code, 0)
        writer.write(body)


def encode_event(event_type: EventType, path: str, zxid: int) -> bytes:
    """Return the frame of a watch event; zxid is -1 if the event is not from a single txn."""
    body = INT.pack(event_type) + INT.pack(KeeperState.SYNC_CONNECTED) + pack_ustring(path)
    return encode_reply(Xid.NOTIFICATION, zxid, 0, body)
