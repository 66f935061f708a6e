"""The server's half: functions that read the body of the request of each op code.

``request_frames`` writes what this module reads.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Final, TypeVar

from zoolet.model.codes import AddWatchMode, CreateMode, OpCode, WatcherType, by_number
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.requests import (
    AddWatch,
    Auth,
    Check,
    CloseSession,
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
    WriteRequest,
)
from zoolet.wire.jute import MalformedError, Reader
from zoolet.wire.multi_headers import END_OF_MULTI, next_in_multi

E = TypeVar("E", bound=IntEnum)

# Module constants, because looking up an enum member costs more than the operations here.
_CREATE: Final = OpCode.CREATE.value
_CREATE2: Final = OpCode.CREATE2.value
_CREATE_CONTAINER: Final = OpCode.CREATE_CONTAINER.value
_CREATE_TTL: Final = OpCode.CREATE_TTL.value
_SET_DATA: Final = OpCode.SET_DATA.value
_DELETE: Final = OpCode.DELETE.value
_CHECK: Final = OpCode.CHECK.value
_READS_IN_MULTI: Final = frozenset([OpCode.GET_DATA.value, OpCode.GET_CHILDREN.value])


def _create(reader: Reader) -> Create:
    return Create(
        reader.read_text_or_null(),
        reader.read_buffer(),
        reader.read_wanted_acl(),
        reader.read_int(),
    )


def _create_container(reader: Reader) -> Create:
    request = _create(reader)
    request.kind = OwnerKind.CONTAINER
    return request


def _create_ttl(reader: Reader) -> Create:
    request = _create(reader)
    request.kind = OwnerKind.TTL
    request.ttl_ms = reader.read_long()
    return request


def _delete(reader: Reader) -> Delete:
    return Delete(reader.read_text_or_null(), reader.read_int())


def _set_data(reader: Reader) -> SetData:
    return SetData(reader.read_text_or_null(), reader.read_buffer(), reader.read_int())


def _set_acl(reader: Reader) -> SetAcl:
    return SetAcl(reader.read_text_or_null(), reader.read_wanted_acl(), reader.read_int())


def _check(reader: Reader) -> Check:
    return Check(reader.read_text_or_null(), reader.read_int())


def _create_in_multi(op_code: int, reader: Reader) -> tuple[int, PartRequest]:
    """Read a create, create2 or createContainer in a multi.

    Unlike in a single request, the flags of a container make a container, and invalid flags or
    flags of a TTL make the whole multi malformed (``MultiOperationRecord.deserialize``).
    """
    request = _create(reader)
    flags = request.flags
    if not 0 <= flags <= _LAST_FLAGS:
        raise MalformedError(f"flags {flags} in a multi")
    if flags in (_TTL_FLAGS, _SEQUENTIAL_TTL_FLAGS):
        raise MalformedError("flags of a TTL, but no TTL, in a multi")
    if flags == _CONTAINER_FLAGS or op_code == _CREATE_CONTAINER:
        request.kind = OwnerKind.CONTAINER
        return OpCode.CREATE_CONTAINER, request
    return op_code, request


def _create_ttl_in_multi(op_code: int, reader: Reader) -> tuple[int, PartRequest]:
    """Read a createTTL; without the flags of a TTL, the TTL is ignored and the flags decide."""
    request = _create_ttl(reader)
    flags = request.flags
    if flags in (_TTL_FLAGS, _SEQUENTIAL_TTL_FLAGS):
        return op_code, request
    request.ttl_ms = -1
    if flags == _CONTAINER_FLAGS:
        request.kind = OwnerKind.CONTAINER
        return OpCode.CREATE_CONTAINER, request
    request.kind = OwnerKind.NOBODY
    return OpCode.CREATE, request


_LAST_FLAGS: Final = max(CreateMode).value
_TTL_FLAGS: Final = CreateMode.PERSISTENT_WITH_TTL.value
_SEQUENTIAL_TTL_FLAGS: Final = CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL.value
_CONTAINER_FLAGS: Final = CreateMode.CONTAINER.value


def _multi(reader: Reader) -> Multi:
    operations: list[tuple[int, PartRequest]] = []
    while (op_code := next_in_multi(reader)) != END_OF_MULTI:
        operations.append(_part(op_code, reader))
    return Multi(tuple(operations))


def _part(op_code: int, reader: Reader) -> tuple[int, PartRequest]:
    """Read a request in a multi; return it with the op code of its txn.

    A null path makes the whole multi malformed (``PrepRequestProcessor.getPendingChanges``).
    """
    if reader.comes_null():
        raise MalformedError("a null path in a multi")
    # Not a table: compiled code calls each function directly, for thousands of parts in a turn.
    if op_code in (_CREATE, _CREATE2, _CREATE_CONTAINER):
        return _create_in_multi(op_code, reader)
    if op_code == _SET_DATA:
        return op_code, _set_data(reader)
    if op_code == _DELETE:
        return op_code, _delete(reader)
    if op_code == _CHECK:
        return op_code, _check(reader)
    if op_code == _CREATE_TTL:
        return _create_ttl_in_multi(op_code, reader)
    raise MalformedError(f"op code {op_code} in a multi")


_WRITES: Final[dict[int, Callable[[Reader], WriteRequest]]] = by_number(
    {
        OpCode.CREATE_CONTAINER: _create_container,
        OpCode.CREATE_TTL: _create_ttl,
        OpCode.DELETE: _delete,
        OpCode.SET_ACL: _set_acl,
        OpCode.MULTI: _multi,
        OpCode.CLOSE_SESSION: lambda _reader: CloseSession(),
    }
)

WRITE_OP_CODES: Final = frozenset([*_WRITES, _CREATE, _CREATE2, _SET_DATA])
"""The op codes of the requests that are turned into a txn."""


def decode_write(op_code: int, reader: Reader) -> WriteRequest:
    """Read the body of a request whose op code is one of WRITE_OP_CODES."""
    # The most frequent writes are not in the table: compiled code calls these functions directly.
    if op_code == _SET_DATA:
        return _set_data(reader)
    if op_code in (_CREATE, _CREATE2):
        return _create(reader)
    return _WRITES[op_code](reader)


def read_path_watch(reader: Reader) -> tuple[str, bool]:
    """Read the path and the watch flag of exists, getData, getChildren or getChildren2.

    In compiled code, the pair is two values in registers; a PathWatch takes 0.2 µs more.
    """
    return reader.read_ustring(), reader.read_bool()


def decode_path_watch(reader: Reader) -> PathWatch:
    """Read the same values as ``read_path_watch``, as a record."""
    return PathWatch(*read_path_watch(reader))


def decode_multi_read(reader: Reader) -> MultiRead:
    """Read the body of multiRead."""
    operations: list[tuple[int, PathWatch]] = []
    while (op_code := next_in_multi(reader)) != END_OF_MULTI:
        if op_code not in _READS_IN_MULTI:
            raise MalformedError(f"op code {op_code} in a multiRead")
        operations.append((op_code, decode_path_watch(reader)))
    return MultiRead(tuple(operations))


def decode_path(reader: Reader) -> PathOnly:
    """Read the body of getACL or getAllChildrenNumber."""
    return PathOnly(reader.read_ustring())


def decode_path_or_null(reader: Reader) -> PathOnly:
    """Read the body of sync or getEphemerals, whose path may be null (NULL_TEXT)."""
    return PathOnly(reader.read_text_or_null())


def decode_auth(reader: Reader) -> Auth:
    """Read the body of auth."""
    return Auth(reader.read_int(), reader.read_text_or_null(), reader.read_buffer())


def decode_set_watches(reader: Reader) -> SetWatches:
    """Read the body of setWatches."""
    return SetWatches(reader.read_long(), *_path_vectors(reader, 3))


def decode_set_watches2(reader: Reader) -> SetWatches:
    """Read the body of setWatches2."""
    return SetWatches(reader.read_long(), *_path_vectors(reader, 5))


def _path_vectors(reader: Reader, count: int) -> list[tuple[str, ...]]:
    return [_paths_not_null(reader) for _ in range(count)]


def _paths_not_null(reader: Reader) -> tuple[str, ...]:
    """Read a vector of paths; raises MalformedError if it is null, as Apache ZooKeeper does."""
    start = reader.position
    if reader.read_int() == -1:
        raise MalformedError("a null list of paths")
    reader.position = start
    return reader.read_vector(reader.read_ustring)


def decode_add_watch(reader: Reader) -> AddWatch:
    """Read the body of addWatch."""
    return AddWatch(reader.read_ustring(), _member(AddWatchMode, reader.read_int()))


def decode_watches_of(reader: Reader) -> WatchesOf:
    """Read the body of checkWatches or removeWatches."""
    return WatchesOf(reader.read_text_or_null(), _member(WatcherType, reader.read_int()))


def decode_sasl(reader: Reader) -> bytes | None:
    """Read the body of sasl, which is a token."""
    return reader.read_buffer()


def check_reconfig(reader: Reader) -> None:
    """Read the body of reconfig, which is refused in any case."""
    for _ in range(3):
        reader.read_buffer()
    reader.read_long()


def _member(kind: type[E], value: int) -> E:
    """Return the member of an enum with this number; raises MalformedError if there is none."""
    try:
        return kind(value)
    except ValueError as error:
        raise MalformedError(str(error)) from error
