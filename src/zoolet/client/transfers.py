"""What copies of subtrees have in common: their results, their operations, and how they are split.

This module does no I/O. It imports ``model``, the format of exports, and the client's multis.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from zoolet.client.protocol.batches import Multi
from zoolet.exports.lines import ExportedZnode
from zoolet.model import paths
from zoolet.model.acl import AclList
from zoolet.model.codes import CreateMode
from zoolet.model.owner_kinds import OwnerKind, ttl_of
from zoolet.model.results import ZnodeData

MULTI_BYTES: Final = 512 * 1024
"""The most bytes in one multi: well below the default jute.maxbuffer (1 MiB)."""

MULTIS_IN_PROGRESS: Final = 8
"""The most multis that are sent and have no reply yet."""

ZNODES_IN_MULTI: Final = 500
"""The most znodes that one multi writes or moves."""

OPERATION_BYTES: Final = 64
"""An upper bound of an operation's bytes besides its path, data and ACL."""

_HIDDEN_DIGEST: Final = ":x"
"""The end of a digest identity in the server's reply to a client without ADMIN permission."""


class Transferred(NamedTuple):
    """What a copy, an import or a move of a subtree has done.

    Attributes:
        created: the number of created znodes.
        replaced: the number of existing znodes whose data and ACL were overwritten.
        left_out: the number of ephemerals that were not written.
        is_copied: whether all znodes are written.
        deleted: the number of znodes of the source that a move has deleted.
    """

    created: int = 0
    replaced: int = 0
    left_out: int = 0
    is_copied: bool = False
    deleted: int = 0

    @property
    def written(self) -> int:
        """The number of written znodes."""
        return self.created + self.replaced


OnTransferred = Callable[[Transferred], None]
"""A function of the program that is called with what is done until now."""


class Splitter:
    """Splits a sequence of items into batches that fit one multi.

    Args:
        most: the most items of a batch.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._size_bytes = 0

    def ends_before(self, size_bytes: int) -> bool:
        """Note the next item; return whether it begins another batch."""
        item_bytes = size_bytes + OPERATION_BYTES
        is_full = self._count >= self._most or self._size_bytes + item_bytes > MULTI_BYTES
        begins = bool(self._count) and is_full
        if begins:
            self._count = self._size_bytes = 0
        self._count += 1
        self._size_bytes += item_bytes
        return begins


def exported(path: str, found: ZnodeData, acl: AclList) -> ExportedZnode:
    """Return a znode that was read."""
    stat = found.stat
    # cversion = 2 * (number of children ever created) - (number of children now)
    created = (stat.cversion + stat.num_children) // 2
    return ExportedZnode(path, found.data, acl, stat, created)


def moved(znode: ExportedZnode, source: str, target: str) -> ExportedZnode:
    """Return a znode of the subtree ``source`` with its path in the subtree ``target``."""
    below = znode.path if source == paths.ROOT else znode.path[len(source) :]
    below = "" if below == paths.ROOT else below
    return znode._replace(path=(("" if target == paths.ROOT else target) + below) or paths.ROOT)


def is_inside(path: str, root: str) -> bool:
    """Return whether ``path`` is in the subtree ``root``, or its root."""
    return f"{path}/".startswith("/" if root == paths.ROOT else f"{root}/")


def check_not_inside(source: str, target: str) -> None:
    """Raise ValueError if ``target`` is in the subtree ``source`` of the same server."""
    if is_inside(target, source):
        raise ValueError(f"{target} is inside {source}: the copy would never end")


def depth_below(root: str, path: str) -> int:
    """Return the number of levels of ``path`` below ``root``; ``path`` must be in its subtree."""
    return 0 if path == root else path.count("/") - (0 if root == paths.ROOT else root.count("/"))


def is_system(path: str) -> bool:
    """Return whether a path is ``/zookeeper`` or below it."""
    return path == paths.SYSTEM or path.startswith(f"{paths.SYSTEM}/")


def is_ephemeral(znode: ExportedZnode) -> bool:
    """Return whether a znode is ephemeral; a copy of it cannot belong to the same session."""
    return OwnerKind.of(znode.stat.ephemeral_owner) is OwnerKind.SESSION


def is_hidden(acl: AclList) -> bool:
    """Return whether the server has hidden a part of an ACL."""
    return any(
        entry.id.scheme == "digest" and entry.id.id.endswith(_HIDDEN_DIGEST) for entry in acl
    )


def mode_of(znode: ExportedZnode) -> tuple[CreateMode, int]:
    """Return the mode and the TTL of a znode's copy; the copy of an ephemeral is persistent."""
    kind = OwnerKind.of(znode.stat.ephemeral_owner)
    if kind is OwnerKind.CONTAINER:
        return CreateMode.CONTAINER, 0
    if kind is OwnerKind.TTL:
        return CreateMode.PERSISTENT_WITH_TTL, ttl_of(znode.stat.ephemeral_owner)
    return CreateMode.PERSISTENT, 0


def add_creation(batch: Multi, znode: ExportedZnode) -> None:
    """Add the creation of a znode's copy to a multi."""
    mode, ttl_ms = mode_of(znode)
    batch.create(znode.path, znode.data, mode=mode, acl=znode.acl, ttl_ms=ttl_ms)


def size_of(znode: ExportedZnode) -> int:
    """Return the approximate number of bytes of a znode in a multi."""
    acl_bytes = sum(len(entry.id.scheme) + len(entry.id.id) + 12 for entry in znode.acl)
    return len(znode.path.encode()) + len(znode.data or b"") + acl_bytes
