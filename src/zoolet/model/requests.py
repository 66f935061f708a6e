"""The requests of clients: one record for each request, with its fields in the protocol's order.

Source: ``zookeeper.jute``, module ``org.apache.zookeeper.proto``. ``data`` is None if the client
sent a null buffer, which differs from an empty buffer.
"""

from collections.abc import Iterator
from typing import NamedTuple, final

from mypy_extensions import mypyc_attr

from zoolet.model.acl import AclList
from zoolet.model.codes import AddWatchMode, WatcherType
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.record import Record


class Connect(NamedTuple):
    """The first frame of a connection: it opens a new session (session_id 0) or resumes one."""

    protocol_version: int
    last_zxid_seen: int
    timeout_ms: int
    session_id: int
    password: bytes
    read_only: bool
    has_read_only: bool
    """Whether the frame contained ``read_only``; clients before 3.4 and some newer ones omit it."""


class Auth(NamedTuple):
    """Credentials of a scheme for this connection."""

    type: int
    scheme: str
    auth: bytes | None


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Create(Record):
    """The requests create, create2, createContainer and createTTL.

    Attributes:
        flags: the number of a ``CreateMode``, or an invalid number.
        kind: CONTAINER for createContainer, TTL for createTTL, NOBODY for the others, whose flags
            say whether the znode is ephemeral.
        ttl_ms: the TTL in milliseconds of createTTL; -1 for the others.
    """

    __slots__ = ("path", "data", "acl", "flags", "kind", "ttl_ms")

    def __init__(
        self,
        path: str,
        data: bytes | None,
        acl: AclList,
        flags: int,
        kind: OwnerKind = OwnerKind.NOBODY,
        ttl_ms: int = -1,
    ) -> None:
        self.path = path
        self.data = data
        self.acl = acl
        self.flags = flags
        self.kind = kind
        self.ttl_ms = ttl_ms


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Delete(Record):
    """The request delete; version -1 matches any version."""

    __slots__ = ("path", "version")

    def __init__(self, path: str, version: int) -> None:
        self.path = path
        self.version = version


class DeleteContainer(NamedTuple):
    """deleteContainer, with which the server deletes a container or TTL znode without children."""

    path: str


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class SetData(Record):
    """The request setData; version -1 matches any version."""

    __slots__ = ("path", "data", "version")

    def __init__(self, path: str, data: bytes | None, version: int) -> None:
        self.path = path
        self.data = data
        self.version = version


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class SetAcl(Record):
    """The request setACL; ``version`` is compared with aversion, -1 matches any version."""

    __slots__ = ("path", "acl", "version")

    def __init__(self, path: str, acl: AclList, version: int) -> None:
        self.path = path
        self.acl = acl
        self.version = version


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Check(Record):
    """The request check in a multi: the multi is refused if the znode has another version."""

    __slots__ = ("path", "version")

    def __init__(self, path: str, version: int) -> None:
        self.path = path
        self.version = version


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Multi(Record):
    """The request multi: all of its changes happen or none; each change has its op code."""

    __slots__ = ("operations",)

    def __init__(self, operations: "tuple[tuple[int, PartRequest], ...]") -> None:
        self.operations = operations


class CloseSession(NamedTuple):
    """The request closeSession; it has no body."""


class CreateSession(NamedTuple):
    """createSession, which the server creates itself for a connection without a session."""

    timeout_ms: int


class PathWatch(NamedTuple):
    """The requests exists, getData, getChildren and getChildren2."""

    path: str
    watch: bool


class PathOnly(NamedTuple):
    """getACL, sync, getAllChildrenNumber and getEphemerals (whose path is a prefix)."""

    path: str


class SetWatches(NamedTuple):
    """The requests setWatches and setWatches2: the watches of a client that has reconnected.

    ``relative_zxid`` is the last zxid that the client has seen. Only setWatches2 has the last two
    lists.
    """

    relative_zxid: int
    data_watches: tuple[str, ...]
    exist_watches: tuple[str, ...]
    child_watches: tuple[str, ...]
    persistent_watches: tuple[str, ...] = ()
    persistent_recursive_watches: tuple[str, ...] = ()

    @property
    def num_watches(self) -> int:
        """The number of watches in all lists."""
        return sum(map(len, self._lists()))

    def _lists(self) -> tuple[tuple[str, ...], ...]:
        return (
            self.data_watches,
            self.exist_watches,
            self.child_watches,
            self.persistent_watches,
            self.persistent_recursive_watches,
        )

    def parts(self, at_most: int) -> Iterator["SetWatches"]:
        """Split this request into requests of at most ``at_most`` watches each."""
        for kind, watched in enumerate(self._lists()):
            for start in range(0, len(watched), at_most):
                lists: list[tuple[str, ...]] = [()] * len(self._lists())
                lists[kind] = watched[start : start + at_most]
                yield SetWatches(self.relative_zxid, *lists)


class AddWatch(NamedTuple):
    """The request addWatch."""

    path: str
    mode: AddWatchMode


class WatchesOf(NamedTuple):
    """checkWatches and removeWatches: the client's own watches of a type on a path."""

    path: str
    type: WatcherType


class MultiRead(NamedTuple):
    """The request multiRead: getData and getChildren requests, each with its op code."""

    operations: tuple[tuple[int, PathWatch], ...]


PartRequest = Create | Delete | SetData | Check
"""The requests that can be part of a multi."""

WriteRequest = PartRequest | DeleteContainer | SetAcl | Multi | CreateSession | CloseSession
"""The requests that are turned into a txn."""
