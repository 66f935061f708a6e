"""The records of the requests that kazoo lacks, with the same interface as kazoo's own requests.

kazoo's connection uses the ``type`` of a request, calls ``serialize()`` for the request's body and
``deserialize(buffer, offset)`` for the reply's. Paths include the chroot. Source:
``zookeeper.jute``, module ``org.apache.zookeeper.proto``. Imports ``model``, and kazoo's
serialisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from kazoo.exceptions import EXCEPTIONS, ZookeeperError
from kazoo.protocol.serialization import (
    Create,
    Exists,
    GetChildren2,
    GetData,
    MultiHeader,
    Transaction,
    int_struct,
    long_struct,
    read_buffer,
    read_string,
    stat_struct,
    write_string,
)
from kazoo.protocol.states import ZnodeStat

from zoolet.model.acl import AclList, Id
from zoolet.model.codes import AddWatchMode, OpCode, WatcherType

_ERROR = -1


class CreateContainer(Create):  # type: ignore[misc]  # kazoo has no types
    """createContainer: create a znode that is deleted some time after its last child is gone."""

    type = int(OpCode.CREATE_CONTAINER)


@dataclass(frozen=True, slots=True)
class CreateTtl:
    """createTTL: create a znode that is deleted after ttl_ms without children or changes."""

    path: str
    data: bytes | None
    acl: AclList
    flags: int
    ttl_ms: int
    type: ClassVar[int] = int(OpCode.CREATE_TTL)

    def serialize(self) -> bytes:
        """Return the request's body."""
        created = Create(self.path, self.data, self.acl, self.flags).serialize()
        return bytes(created) + bytes(long_struct.pack(self.ttl_ms))

    @staticmethod
    def deserialize(buffer: bytes, offset: int) -> str:
        """Return the path of the znode, with its sequence number; skip the Stat after it."""
        path, _ = read_string(buffer, offset)
        return str(path)


@dataclass(frozen=True, slots=True)
class GetEphemerals:
    """getEphemerals: list the paths of this session's ephemerals that begin with the prefix."""

    prefix: str
    type: ClassVar[int] = int(OpCode.GET_EPHEMERALS)

    def serialize(self) -> bytes:
        """Return the request's body."""
        return bytes(write_string(self.prefix))

    @staticmethod
    def deserialize(buffer: bytes, offset: int) -> list[str]:
        """Return the paths."""
        return _read_strings(buffer, offset)[0]


@dataclass(frozen=True, slots=True)
class GetAllChildrenNumber:
    """getAllChildrenNumber: count the descendants of a znode."""

    path: str
    type: ClassVar[int] = int(OpCode.GET_ALL_CHILDREN_NUMBER)

    def serialize(self) -> bytes:
        """Return the request's body."""
        return bytes(write_string(self.path))

    @staticmethod
    def deserialize(buffer: bytes, offset: int) -> int:
        """Return the number."""
        return int(int_struct.unpack_from(buffer, offset)[0])


@dataclass(frozen=True, slots=True)
class WhoAmI:
    """whoAmI: list the authenticated identities of this connection."""

    type: ClassVar[int] = int(OpCode.WHO_AM_I)

    @staticmethod
    def serialize() -> bytes:
        """Return the request's body, which is empty."""
        return b""

    @staticmethod
    def deserialize(buffer: bytes, offset: int) -> list[Id]:
        """Return the identities."""
        count = int_struct.unpack_from(buffer, offset)[0]
        offset += int_struct.size
        identities = []
        for _ in range(count):
            scheme, offset = read_string(buffer, offset)
            user, offset = read_string(buffer, offset)
            identities.append(Id(scheme, user or ""))
        return identities


@dataclass(frozen=True, slots=True)
class AddWatch:
    """addWatch: add a persistent watch."""

    path: str
    mode: AddWatchMode
    type: ClassVar[int] = int(OpCode.ADD_WATCH)

    def serialize(self) -> bytes:
        """Return the request's body."""
        return bytes(write_string(self.path)) + bytes(int_struct.pack(self.mode))

    @staticmethod
    def deserialize(_buffer: bytes, _offset: int) -> bool:
        """Return True; the reply's body has no information."""
        return True


@dataclass(frozen=True, slots=True)
class RemoveWatches:
    """removeWatches: remove this session's watches of a type on a path."""

    path: str
    watcher_type: WatcherType
    type: ClassVar[int] = int(OpCode.REMOVE_WATCHES)

    def serialize(self) -> bytes:
        """Return the request's body."""
        return bytes(write_string(self.path)) + bytes(int_struct.pack(self.watcher_type))

    @staticmethod
    def deserialize(_buffer: bytes, _offset: int) -> bool:
        """Return True: the reply has no body."""
        return True


@dataclass(frozen=True, slots=True)
class SetWatches:
    """setWatches, or setWatches2 with five lists: set the watches again on a new connection.

    The lists have the paths of data, exist, child, persistent and recursive watches, in this order.
    For watches of the first three lists, the server sends events for changes after
    ``relative_zxid``.
    """

    relative_zxid: int
    lists: tuple[Sequence[str], ...]

    @property
    def type(self) -> int:
        """The op code: setWatches for three lists, because servers before 3.6 lack setWatches2."""
        return int(OpCode.SET_WATCHES if len(self.lists) == 3 else OpCode.SET_WATCHES2)

    def serialize(self) -> bytes:
        """Return the request's body."""
        parts = [long_struct.pack(self.relative_zxid)]
        for watched in self.lists:
            parts.append(int_struct.pack(len(watched)))
            parts.extend(write_string(path) for path in watched)
        return b"".join(parts)

    @staticmethod
    def deserialize(_buffer: bytes, _offset: int) -> bool:
        """Return True: the reply has no body."""
        return True


class _LeavesWatch:
    """A read that sets a watch, without an entry in kazoo's own table of watches."""

    path: str

    def serialize(self) -> bytes:
        """Return the request's body."""
        return bytes(write_string(self.path)) + b"\x01"


class WatchingGet(_LeavesWatch, GetData):  # type: ignore[misc]
    """getData that sets a watch."""


class WatchingExists(_LeavesWatch, Exists):  # type: ignore[misc]
    """exists that sets a watch."""


class WatchingChildren(_LeavesWatch, GetChildren2):  # type: ignore[misc]
    """getChildren2 that sets a watch."""


@dataclass(frozen=True, slots=True)
class MultiRead:
    """multiRead: several GetData and GetChildren in one request (ZooKeeper 3.6 and later)."""

    operations: Sequence[Any]
    type: ClassVar[int] = int(OpCode.MULTI_READ)

    def serialize(self) -> bytes:
        """Return the request's body."""
        return bytes(Transaction(self.operations).serialize())

    @staticmethod
    def deserialize(buffer: bytes, offset: int) -> list[Any]:
        """Return each operation's result: (data, stat), a list of children, or its error."""
        return _read_results(buffer, offset)


class Multi(Transaction):  # type: ignore[misc]
    """multi of any writes; kazoo's own class cannot read the results of newer creates."""

    @classmethod
    def deserialize(cls, buffer: bytes, offset: int) -> list[Any]:
        """Return each operation's result: a path, a Stat, True, or its error."""
        return _read_results(buffer, offset)


def _read_results(buffer: bytes, offset: int) -> list[Any]:
    results: list[Any] = []
    header, offset = MultiHeader.deserialize(buffer, offset)
    while not header.done:
        result, offset = _read_result(header.type, buffer, offset)
        results.append(result)
        header, offset = MultiHeader.deserialize(buffer, offset)
    return results


def _read_result(op_code: int, buffer: bytes, offset: int) -> tuple[Any, int]:
    """Return one operation's result, and the offset of the next result."""
    if op_code == _ERROR:
        error: ZookeeperError = EXCEPTIONS[int_struct.unpack_from(buffer, offset)[0]]()
        return error, offset + int_struct.size
    if op_code == OpCode.GET_DATA:
        data, offset = read_buffer(buffer, offset)
        return (data, _stat(buffer, offset)), offset + stat_struct.size
    if op_code == OpCode.GET_CHILDREN:
        return _read_strings(buffer, offset)
    if op_code == OpCode.SET_DATA:
        return _stat(buffer, offset), offset + stat_struct.size
    if op_code == OpCode.CREATE:
        path, offset = read_string(buffer, offset)
        return path, offset
    if op_code == OpCode.CREATE2:
        path, offset = read_string(buffer, offset)
        return path, offset + stat_struct.size
    return True, offset  # the results of delete and check are empty


def _stat(buffer: bytes, offset: int) -> ZnodeStat:
    return ZnodeStat._make(stat_struct.unpack_from(buffer, offset))


def _read_strings(buffer: bytes, offset: int) -> tuple[list[str], int]:
    count = int_struct.unpack_from(buffer, offset)[0]
    offset += int_struct.size
    strings = []
    for _ in range(count):
        text, offset = read_string(buffer, offset)
        strings.append(text)
    return strings, offset
