"""What a client may ask for: a record per request, its fields in the protocol's order.

Source: ``zookeeper.jute``, module ``org.apache.zookeeper.proto``. ``data`` is None where the
client sent a null buffer, which is not the same as an empty one.
"""

from typing import NamedTuple

from zoolet.model.acl import AclList
from zoolet.model.codes import AddWatchMode, OpCode, WatcherType


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


class Create(NamedTuple):
    """create and create2, which differ only in their reply."""

    path: str
    data: bytes | None
    acl: AclList
    flags: int


class CreateContainer(NamedTuple):
    """createContainer: a znode that the server removes some time after its last child."""

    path: str
    data: bytes | None
    acl: AclList
    flags: int


class CreateTtl(NamedTuple):
    """createTTL: a znode that the server removes when nothing came of it for ttl_ms."""

    path: str
    data: bytes | None
    acl: AclList
    flags: int
    ttl_ms: int


class Delete(NamedTuple):
    """delete; version -1 matches any."""

    path: str
    version: int


class DeleteContainer(NamedTuple):
    """deleteContainer, by which the server removes a container or TTL znode without children."""

    path: str


class SetData(NamedTuple):
    """setData; version -1 matches any."""

    path: str
    data: bytes | None
    version: int


class SetAcl(NamedTuple):
    """setACL; version is compared with aversion, -1 matches any."""

    path: str
    acl: AclList
    version: int


class Check(NamedTuple):
    """check, within a multi: the others happen only if this version is the znode's."""

    path: str
    version: int


class Multi(NamedTuple):
    """Several changes that all happen or none; each with the op code it came under."""

    operations: tuple[tuple[OpCode, "PartRequest"], ...]


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

    operations: tuple[tuple[OpCode, PathWatch], ...]


PartRequest = Create | CreateContainer | CreateTtl | Delete | SetData | Check
"""The writes that may be part of a multi."""

WriteRequest = PartRequest | DeleteContainer | SetAcl | Multi | CreateSession | CloseSession
"""The requests that become a txn."""
