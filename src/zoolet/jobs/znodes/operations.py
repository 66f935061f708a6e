"""The operations of a multi, their encoding, and the reasons for which a server refuses a multi.

This module imports zoolet.client, zoolet.model and kazoo's serialisation.
"""

import struct
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import NamedTuple, Self

from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError
from kazoo.protocol import serialization

from zoolet.client.kazoo.requests import Multi
from zoolet.model import paths
from zoolet.model.acl import AclList
from zoolet.model.codes import OpCode

_EPHEMERAL = 1
_SEQUENTIAL = 2
_INT = struct.Struct("!i")
_HEADER = struct.Struct("!ibii")
"""The start of an operation: its code, done (false), err (-1), and the length of its path."""
_END = struct.pack("!ibi", -1, 1, -1)


class Create(NamedTuple):
    """Create a znode; with ``sequence`` the server appends the parent's counter to its name.

    An ephemeral is deleted when its session ends.
    """

    path: str
    data: bytes
    sequence: bool = False
    ephemeral: bool = False


class Delete(NamedTuple):
    """Delete a znode if it has this version; -1 matches every version."""

    path: str
    version: int


class SetData(NamedTuple):
    """Replace the data of a znode if it has this version; -1 matches every version."""

    path: str
    data: bytes
    version: int


class Exists(NamedTuple):
    """Refuse the multi unless this znode exists."""

    path: str


Operation = Create | Delete | SetData | Exists


class Refusal(Enum):
    """Why the server refused an operation of a multi."""

    MISSING = auto()
    """The znode, or the parent of the znode to create, does not exist."""
    EXISTS = auto()
    """The znode to create exists already."""
    CHANGED = auto()
    """The znode has another version."""
    OTHER = auto()


_REFUSALS = {
    NoNodeError: Refusal.MISSING,
    NodeExistsError: Refusal.EXISTS,
    BadVersionError: Refusal.CHANGED,
}


class RefusedError(Exception):
    """The server refused a multi and executed none of its operations.

    Attributes:
        position: the position of the operation that failed, from 0.
        reason: the reason for which the operation failed.
    """

    def __init__(self, position: int, error: Exception) -> None:
        super().__init__(f"operation {position}: {error!r}")
        self.position = position
        self.reason = _REFUSALS.get(type(error), Refusal.OTHER)

    @property
    def lacks_parent(self) -> bool:
        """Whether the znode, or the parent of the znode to create, does not exist."""
        return self.reason is Refusal.MISSING


class PackedMulti(Multi):
    """A multi request that is encoded when it is created.

    kazoo creates an object and ten small byte strings for each operation, which takes half of the
    submitter's time for a job. The bytes of this class are the same as kazoo's.
    """

    packed: bytes

    def __new__(cls, operations: Sequence[Operation], chroot: str, acl: AclList) -> Self:
        """Encode the operations; their paths are relative to the chroot."""
        request: Self = super().__new__(cls, operations)
        request.packed = b"".join(_pack(operations, chroot.encode(), acl))
        return request

    def serialize(self) -> bytes:
        """Return the request's body."""
        return self.packed


def _pack(operations: Sequence[Operation], chroot: bytes, acl: AclList) -> Iterator[bytes]:
    created = serialization.Create("", b"", acl, 0).serialize()
    acls = bytes(created[2 * _INT.size : -_INT.size])
    for operation in operations:
        path = chroot + operation.path.encode()
        if isinstance(operation, Create):
            yield _HEADER.pack(OpCode.CREATE, 0, -1, len(path))
            yield path
            yield _INT.pack(len(operation.data)) + operation.data + acls
            flags = _SEQUENTIAL if operation.sequence else 0
            yield _INT.pack(flags | _EPHEMERAL if operation.ephemeral else flags)
        elif isinstance(operation, Delete):
            yield _HEADER.pack(OpCode.DELETE, 0, -1, len(path))
            yield path + _INT.pack(operation.version)
        elif isinstance(operation, SetData):
            yield _HEADER.pack(OpCode.SET_DATA, 0, -1, len(path))
            yield path + _INT.pack(len(operation.data)) + operation.data
            yield _INT.pack(operation.version)
        else:
            yield _HEADER.pack(OpCode.CHECK, 0, -1, len(path))
            yield path + _INT.pack(-1)
    yield _END


def needed_permission(operation: Operation) -> tuple[str, str]:
    """Return the path of the znode whose ACL is checked, and the permission that is needed."""
    if isinstance(operation, Create):
        return paths.parent_of(operation.path), "CREATE"
    if isinstance(operation, Delete):
        return paths.parent_of(operation.path), "DELETE"
    return operation.path, "WRITE" if isinstance(operation, SetData) else "READ"
