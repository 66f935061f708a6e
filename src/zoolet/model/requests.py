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


@final
@mypyc_attr(acyclic=True)
class Auth(Record):
    """Credentials of a scheme for this connection."""

    __slots__ = ("auth_type", "scheme", "auth")

    def __init__(self, auth_type: int, scheme: str, auth: bytes | None) -> None:
        self.auth_type = auth_type
        self.scheme = scheme
        self.auth = auth


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


@final
@mypyc_attr(acyclic=True)
class DeleteContainer(Record):
    """deleteContainer, with which the server deletes a container or TTL znode without children."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


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


@final
@mypyc_attr(acyclic=True)
class CloseSession(Record):
    """The request closeSession; it has no body."""

    __slots__ = ()


@final
@mypyc_attr(acyclic=True)
class CreateSession(Record):
    """createSession, which the server creates itself for a connection without a session."""

    __slots__ = ("timeout_ms",)

    def __init__(self, timeout_ms: int) -> None:
        self.timeout_ms = timeout_ms


@final
@mypyc_attr(acyclic=True)
class PathWatch(Record):
    """The requests exists, getData, getChildren and getChildren2."""

    __slots__ = ("path", "watch")

    def __init__(self, path: str, watch: bool) -> None:
        self.path = path
        self.watch = watch


@final
@mypyc_attr(acyclic=True)
class PathOnly(Record):
    """getACL, sync, getAllChildrenNumber and getEphemerals (whose path is a prefix)."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


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


@final
@mypyc_attr(acyclic=True)
class AddWatch(Record):
    """The request addWatch."""

    __slots__ = ("path", "mode")

    def __init__(self, path: str, mode: AddWatchMode) -> None:
        self.path = path
        self.mode = mode


@final
@mypyc_attr(acyclic=True)
class WatchesOf(Record):
    """checkWatches and removeWatches: the client's own watches of a type on a path."""

    __slots__ = ("path", "watcher_type")

    def __init__(self, path: str, watcher_type: WatcherType) -> None:
        self.path = path
        self.watcher_type = watcher_type


@final
@mypyc_attr(acyclic=True)
class MultiRead(Record):
    """The request multiRead: getData and getChildren requests, each with its op code."""

    __slots__ = ("operations",)

    def __init__(self, operations: tuple[tuple[int, PathWatch], ...]) -> None:
        self.operations = operations


PartRequest = Create | Delete | SetData | Check
"""The requests that can be part of a multi."""

WriteRequest = PartRequest | DeleteContainer | SetAcl | Multi | CreateSession | CloseSession
"""The requests that are turned into a txn."""
