"""The operations of a multi, and the reasons for which a server refuses a multi.

This module imports `zoolet.client.errors` and ``model``.
"""

from enum import Enum, auto
from typing import NamedTuple

from zoolet.client.errors import BadVersionError, NodeExistsError, NoNodeError, ZooKeeperError
from zoolet.model import paths
from zoolet.model.codes import CreateMode


class Create(NamedTuple):
    """Create a znode; with ``sequence`` the server appends the parent's counter to its name.

    An ephemeral is deleted when its session ends.
    """

    path: str
    data: bytes
    sequence: bool = False
    ephemeral: bool = False

    @property
    def mode(self) -> CreateMode:
        """The mode of the znode in ZooKeeper's protocol."""
        return _MODES[self.sequence, self.ephemeral]


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


_MODES = {
    (False, False): CreateMode.PERSISTENT,
    (False, True): CreateMode.EPHEMERAL,
    (True, False): CreateMode.PERSISTENT_SEQUENTIAL,
    (True, True): CreateMode.EPHEMERAL_SEQUENTIAL,
}

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


_REFUSALS: dict[type[ZooKeeperError], Refusal] = {
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

    def __init__(self, position: int, error: ZooKeeperError) -> None:
        super().__init__(f"operation {position}: {error!r}")
        self.position = position
        self.reason = _REFUSALS.get(type(error), Refusal.OTHER)

    @property
    def lacks_parent(self) -> bool:
        """Whether the znode, or the parent of the znode to create, does not exist."""
        return self.reason is Refusal.MISSING


def needed_permission(operation: Operation) -> tuple[str, str]:
    """Return the path of the znode whose ACL is checked, and the permission that is needed."""
    if isinstance(operation, Create):
        return paths.parent_of(operation.path), "CREATE"
    if isinstance(operation, Delete):
        return paths.parent_of(operation.path), "DELETE"
    return operation.path, "WRITE" if isinstance(operation, SetData) else "READ"
