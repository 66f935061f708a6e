"""The bodies of requests: a table from op code to the record that a client sends under it."""

from collections.abc import Callable

from zoolet.model.codes import OpCode
from zoolet.model.requests import (
    Auth,
    Check,
    CloseSession,
    Create,
    Delete,
    Multi,
    PathOnly,
    PathWatch,
    SetAcl,
    SetData,
    SetWatches,
    WriteRequest,
)
from zoolet.wire.jute import MalformedError, Reader


def _create(reader: Reader) -> Create:
    return Create(reader.read_ustring(), reader.read_buffer(), reader.read_acl(), reader.read_int())


def _delete(reader: Reader) -> Delete:
    return Delete(reader.read_ustring(), reader.read_int())


def _set_data(reader: Reader) -> SetData:
    return SetData(reader.read_ustring(), reader.read_buffer(), reader.read_int())


def _set_acl(reader: Reader) -> SetAcl:
    return SetAcl(reader.read_ustring(), reader.read_acl(), reader.read_int())


def _check(reader: Reader) -> Check:
    return Check(reader.read_ustring(), reader.read_int())


_IN_MULTI: dict[int, Callable[[Reader], Create | Delete | SetData | Check]] = {
    OpCode.CREATE: _create,
    OpCode.CREATE2: _create,
    OpCode.DELETE: _delete,
    OpCode.SET_DATA: _set_data,
    OpCode.CHECK: _check,
}


def _multi(reader: Reader) -> Multi:
    """Read operations, each behind a MultiHeader (op code, done, err), until one says done."""
    operations: list[tuple[OpCode, Create | Delete | SetData | Check]] = []
    while True:
        code, done, _err = reader.read_int(), reader.read_bool(), reader.read_int()
        if done:
            return Multi(tuple(operations))
        decode = _IN_MULTI.get(code)
        if decode is None:
            raise MalformedError(f"op code {code} in a multi")
        operations.append((OpCode(code), decode(reader)))


_WRITES: dict[int, Callable[[Reader], WriteRequest]] = {
    OpCode.CREATE: _create,
    OpCode.CREATE2: _create,
    OpCode.DELETE: _delete,
    OpCode.SET_DATA: _set_data,
    OpCode.SET_ACL: _set_acl,
    OpCode.MULTI: _multi,
    OpCode.CLOSE_SESSION: lambda _reader: CloseSession(),
}

WRITE_OP_CODES = frozenset(_WRITES)
"""The op codes that become a txn."""


def decode_write(op_code: int, data: bytes, start: int, end: int) -> WriteRequest:
    """Read the body of a request whose op code is one of WRITE_OP_CODES."""
    return _WRITES[op_code](Reader(data, start, end))


def decode_path_watch(data: bytes, start: int, end: int) -> PathWatch:
    """Read the body of exists, getData, getChildren or getChildren2."""
    reader = Reader(data, start, end)
    return PathWatch(reader.read_ustring(), reader.read_bool())


def decode_path(data: bytes, start: int, end: int) -> PathOnly:
    """Read the body of getACL or sync."""
    return PathOnly(Reader(data, start, end).read_ustring())


def decode_auth(data: bytes, start: int, end: int) -> Auth:
    """Read the body of auth."""
    reader = Reader(data, start, end)
    return Auth(reader.read_int(), reader.read_ustring(), reader.read_buffer() or b"")


def decode_set_watches(data: bytes, start: int, end: int) -> SetWatches:
    """Read the body of setWatches."""
    reader = Reader(data, start, end)
    text = reader.read_ustring
    return SetWatches(
        reader.read_long(),
        reader.read_vector(text),
        reader.read_vector(text),
        reader.read_vector(text),
    )
