"""What a client may ask for: a record per request, its fields in the protocol's order.

Source: ``zookeeper.jute``, module ``org.apache.zookeeper.proto``. ``data`` is None where the
client sent a null buffer, which is not the same as an empty one.
"""

from collections.abc import Iterator
from typing import NamedTuple, final

from mypy_extensions import mypyc_attr

from zoolet.model.acl import AclList
from zoolet.model.codes import AddWatchMode, WatcherType
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.record import Record


class Connect(NamedTuple):
    """The first frame of a connection: a new session (session_id 0) or an old one's return."""

    protocol_version: int
    last_zxid_seen: int
    timeout_ms: int
    session_id: int
    password: bytes
    read_only: bool
    has_read_only: bool
    """Whether the frame held ``read_only`` at all; 3.4's clients and older may leave it out."""


class Auth(NamedTuple):
    """Credentials for this connection, under a scheme."""

    type: int
    scheme: str
    auth: bytes | None


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Create(Record):
    """create, create2, createContainer and createTTL.

    Attributes:
        flags: what ``CreateMode`` has.
        kind: CONTAINER of createContainer, TTL of createTTL; NOBODY of the others, whose flags say
            whether the znode is ephemeral.
        ttl_ms: of createTTL.
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
    """delete; version -1 matches any."""

    __slots__ = ("path", "version")

    def __init__(self, path: str, version: int) -> None:
        self.path = path
        self.version = version


class DeleteContainer(NamedTuple):
    """deleteContainer, by which the server removes a container or TTL znode without children."""

    path: str


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class SetData(Record):
    """setData; version -1 matches any."""

    __slots__ = ("path", "data", "version")

    def __init__(self, path: str, data: bytes | None, version: int) -> None:
        self.path = path
        self.data = data
        self.version = version


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class SetAcl(Record):
    """setACL; version is compared with aversion, -1 matches any."""

    __slots__ = ("path", "acl", "version")

    def __init__(self, path: str, acl: AclList, version: int) -> None:
        self.path = path
        self.acl = acl
        self.version = version


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Check(Record):
    """check, within a multi: the others happen only if this version is the znode's."""

    __slots__ = ("path", "version")

    def __init__(self, path: str, version: int) -> None:
        self.path = path
        self.version = version


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Multi(Record):
    """Several changes that all happen or none; each with the op code it came under."""

    __slots__ = ("operations",)

    def __init__(self, operations: "tuple[tuple[int, PartRequest], ...]") -> None:
        self.operations = operations


class CloseSession(NamedTuple):
    """closeSession; it has no body."""


class CreateSession(NamedTuple):
    """createSession, which the server asks of itself for a connection that brings no session."""

    timeout_ms: int


class PathWatch(NamedTuple):
    """exists, getData, getChildren and getChildren2."""

    path: str
    watch: bool


class PathOnly(NamedTuple):
    """getACL, sync, getAllChildrenNumber and getEphemerals (there it is a prefix)."""

    path: str


class SetWatches(NamedTuple):
    """setWatches and setWatches2: what a client watched when it lost its connection.

    relative_zxid is the last that it has seen; the last two are setWatches2's.
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
        """Yield requests that together ask for the same; each has at most ``at_most`` watches."""
        for kind, watched in enumerate(self._lists()):
            for start in range(0, len(watched), at_most):
                lists: list[tuple[str, ...]] = [()] * len(self._lists())
                lists[kind] = watched[start : start + at_most]
                yield SetWatches(self.relative_zxid, *lists)


class AddWatch(NamedTuple):
    """addWatch."""

    path: str
    mode: AddWatchMode


class WatchesOf(NamedTuple):
    """checkWatches and removeWatches: the asker's own watches of a type on a path."""

    path: str
    type: WatcherType


class MultiRead(NamedTuple):
    """multiRead: getData and getChildren, each with the op code it came under."""

    operations: tuple[tuple[int, PathWatch], ...]


PartRequest = Create | Delete | SetData | Check
"""The writes that may be part of a multi."""

WriteRequest = PartRequest | DeleteContainer | SetAcl | Multi | CreateSession | CloseSession
"""The requests that become a txn."""
