"""Data directories that attacks begin with, written with zoolet's own storage modules."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from zoolet.model.acl import ACL, ANYONE, OPEN_ACL, AclList, Id
from zoolet.model.codes import Permission
from zoolet.model.owner_kinds import owner_of_ttl
from zoolet.state_machine.tree import Tree
from zoolet.storage.disk import Disk
from zoolet.storage.snapshots import Image, write_snapshot

NO_DATA: Final = b""
FIRST_SESSION: Final = 0x0100_0000_0000_0001
"""An id of a session that the server has not given to a client."""

_ZXID: Final = 1


class DataDirectory:
    """A tree that becomes a snapshot.

    Attributes:
        tree: the znodes.
        sessions: the timeout in ms of each session.
        time_ms: when the next znodes were created, ms since the epoch.
    """

    def __init__(self) -> None:
        self.time_ms = 1
        self.tree = Tree.fresh()
        self.sessions: dict[int, int] = {}

    def create(
        self, path: str, data: bytes = NO_DATA, acl: AclList = OPEN_ACL, owner: int = 0
    ) -> None:
        """Create a znode; ``owner`` is a session id or what ``owner_of_ttl`` returns."""
        parent = path[: path.rfind("/")] or "/"
        self.tree.create(path, parent, data, acl, owner, -1, _ZXID, self.time_ms)

    def create_children(
        self, parent: str, number: int, data: bytes = NO_DATA, owner: int = 0
    ) -> None:
        """Create a znode and its children; only they have the owner."""
        self.create(parent)
        create = self.tree.create
        for child in range(number):
            path = f"{parent}/c{child:07d}"
            create(path, parent, data, OPEN_ACL, owner, -1, _ZXID, self.time_ms)

    def add_sessions(self, number: int, timeout_ms: int) -> None:
        """Add sessions without a client."""
        for position in range(number):
            self.sessions[FIRST_SESSION + position] = timeout_ms

    def write(self, directory: Path) -> None:
        """Write the snapshot."""
        directory.mkdir(parents=True)
        write_snapshot(Disk(), directory, Image(_ZXID, self.tree, self.sessions))


def long_acl(entries: int) -> AclList:
    """Return a list of users that nobody is, of the scheme digest, and anyone at the end."""
    users = (
        ACL(int(Permission.ALL), Id("digest", f"user{number:06d}:{'x' * 27}="))
        for number in range(entries - 1)
    )
    return (*users, ACL(int(Permission.ALL), ANYONE))


def ttl_owner(ttl_ms: int) -> int:
    """Return the owner of a znode with a TTL."""
    return owner_of_ttl(ttl_ms)


def write_children(directory: Path, children: Mapping[str, int]) -> None:
    """Write a data directory with this number of children under each of these paths."""
    data = DataDirectory()
    for parent, number in children.items():
        data.create_children(parent, number)
    data.write(directory)
