"""The client's half: functions that read the bodies of replies, and the header of a reply.

``replies`` and ``frames`` write what this module reads. For any bytes, the functions return a value
or raise MalformedError. They ignore bytes after the value. Source: ``zookeeper.jute``, module
``org.apache.zookeeper.proto``, and ``MultiResponse`` of Apache ZooKeeper.
"""

from typing import Final

from mypy_extensions import i64

from zoolet.big_endian.buffers import read_i32_be, read_i64_be
from zoolet.model.acl import Id
from zoolet.model.codes import EventType, OpCode
from zoolet.model.results import AclOf, Children, Created, Event, Granted, Refused, ZnodeData
from zoolet.model.stat import STAT_BYTES, Stat
from zoolet.wire.frames import REPLY_HEADER_BYTES
from zoolet.wire.jute import MalformedError, Reader
from zoolet.wire.multi_headers import END_OF_MULTI, next_in_multi

_CREATE: Final = OpCode.CREATE.value
_CREATE2: Final = OpCode.CREATE2.value
_DELETE: Final = OpCode.DELETE.value
_SET_DATA: Final = OpCode.SET_DATA.value
_CHECK: Final = OpCode.CHECK.value
_ERROR: Final = OpCode.ERROR.value
_GET_DATA: Final = OpCode.GET_DATA.value
_GET_CHILDREN: Final = OpCode.GET_CHILDREN.value
_EVENT_TYPES: Final[dict[int, EventType]] = {member.value: member for member in EventType}

PartResult = str | Stat | None | Refused
"""The result of an operation of a multi."""

ReadPartResult = ZnodeData | tuple[str, ...] | Refused
"""The result of an operation of a multiRead."""


def reply_header(data: bytes, start: i64, end: i64 = -1) -> tuple[int, int, int]:
    """Return the xid, zxid and error code of the reply whose frame's content begins at ``start``.

    ``end`` is the end of the frame; -1 means the end of the data.
    """
    if end == -1:
        end = len(data)
    size = end - start
    if size < REPLY_HEADER_BYTES:
        raise MalformedError(f"a reply of {size} bytes")
    return (
        read_i32_be(data, start),
        read_i64_be(data, start + 4),
        read_i32_be(data, start + 12),
    )


def read_stat(reader: Reader) -> Stat:
    """Read the body of the reply to exists, setData or setACL."""
    # Interpreted, struct takes a third of the time of eleven single reads.
    start = reader.position
    reader.skip(STAT_BYTES)
    return Stat.unpack(reader.data, start)


def read_data(reader: Reader) -> ZnodeData:
    """Read the body of the reply to getData or reconfig."""
    data = reader.read_buffer()
    # For speed: the class itself would call an interpreted function.
    return tuple.__new__(ZnodeData, (data, read_stat(reader)))


def read_children(reader: Reader) -> tuple[str, ...]:
    """Read the body of the reply to getChildren, which has no Stat."""
    return _read_texts(reader)


def read_children_and_stat(reader: Reader) -> Children:
    """Read the body of the reply to getChildren2."""
    names = _read_texts(reader)
    return Children(names, read_stat(reader))


def read_acl_and_stat(reader: Reader) -> AclOf:
    """Read the body of the reply to getACL."""
    start = reader.position
    read_count(reader)
    reader.position = start
    acl = reader.read_acl()
    return AclOf(acl, read_stat(reader))


def read_path(reader: Reader) -> str:
    """Read the body of the reply to create or sync."""
    return reader.read_ustring()


def read_created(reader: Reader) -> Created:
    """Read the body of the reply to create2, createContainer or createTTL."""
    path = reader.read_ustring()
    return Created(path, read_stat(reader))


def read_number(reader: Reader) -> int:
    """Read the body of the reply to getAllChildrenNumber."""
    return reader.read_int()


def read_paths(reader: Reader) -> tuple[str, ...]:
    """Read the body of the reply to getEphemerals."""
    return _read_texts(reader)


def read_identities(reader: Reader) -> tuple[Id, ...]:
    """Read the body of the reply to whoAmI."""
    count = read_count(reader)
    return tuple([_read_identity(reader) for _ in range(count)])


def _read_identity(reader: Reader) -> Id:
    """Read a scheme and a user; a null user is empty, as a null id in an ACL."""
    scheme = reader.read_ustring()
    user = reader.read_buffer() or b""
    return Id(scheme, user.decode("utf-8", "replace"))


def read_multi(reader: Reader) -> tuple[PartResult, ...]:
    """Read the body of the reply to multi: the result of each operation, in order.

    It is the path for each kind of create, Stat for setData, and None for delete and check.
    In a multi that failed, every result is Refused.
    """
    results: list[PartResult] = []
    while (op_code := next_in_multi(reader)) != END_OF_MULTI:
        results.append(_read_part(op_code, reader))
    return tuple(results)


def _read_part(op_code: int, reader: Reader) -> PartResult:
    if op_code == _CREATE:
        return reader.read_ustring()
    if op_code == _CREATE2:  # also for createContainer and createTTL
        path = reader.read_ustring()
        reader.skip(STAT_BYTES)  # most programs do not need it, and decoding takes time
        return path
    if op_code == _SET_DATA:
        return read_stat(reader)
    if op_code in (_DELETE, _CHECK):
        return None
    if op_code == _ERROR:
        return Refused(reader.read_int())
    raise MalformedError(f"op code {op_code} in the reply to a multi")


def read_multi_read(reader: Reader) -> tuple[ReadPartResult, ...]:
    """Read the body of the reply to multiRead: the result of each operation, in order.

    It is ZnodeData for getData and the names of the children for getChildren.
    """
    results: list[ReadPartResult] = []
    while (op_code := next_in_multi(reader)) != END_OF_MULTI:
        if op_code == _GET_DATA:
            results.append(read_data(reader))
        elif op_code == _GET_CHILDREN:
            results.append(_read_texts(reader))
        elif op_code == _ERROR:
            results.append(Refused(reader.read_int()))
        else:
            raise MalformedError(f"op code {op_code} in the reply to a multiRead")
    return tuple(results)


def read_event(reader: Reader, zxid: int) -> Event | None:
    """Read the body of a notification; ``zxid`` is the one in its header.

    None if it is not a watch event that a client knows: an event about the session's state has the
    type -1.
    """
    number = reader.read_int()
    reader.read_int()  # the session's state
    event_type = _EVENT_TYPES.get(number)
    if event_type is None:
        reader.skip_buffer()
        return None
    return Event(event_type, reader.read_ustring(), zxid)


def read_granted(reader: Reader) -> Granted:
    """Read the reply to a connect request, which is a frame without a header.

    Servers before 3.4 omit ``is_read_only``; then it is False.
    """
    reader.read_int()  # the protocol's version
    timeout_ms = reader.read_int()
    session_id = reader.read_long()
    password = reader.read_buffer() or b""
    is_read_only = reader.read_bool() if reader.remaining >= 1 else False
    return Granted(timeout_ms, session_id, password, is_read_only=is_read_only)


def read_count(reader: Reader, missing_bytes: int = 0) -> int:
    """Read the count of a vector; null has no elements. ``missing_bytes`` follow later.

    Raises MalformedError if the count is below -1, or if the elements do not fit in the bytes left.
    """
    count = reader.read_int()
    remaining = reader.remaining + missing_bytes
    if count < -1 or count > remaining:
        raise MalformedError(f"a vector of {count} elements in {remaining} bytes")
    return max(0, count)


def _read_texts(reader: Reader) -> tuple[str, ...]:
    """Read a vector of texts."""
    count = read_count(reader)
    return tuple([reader.read_ustring() for _ in range(count)])
