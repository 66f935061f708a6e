"""The kinds of a znode's ephemeralOwner: none, a session, a container or a TTL.

Source: Apache ZooKeeper's ``EphemeralType``. The owner of a container is the smallest 64-bit
number. The owner of a TTL znode has all bits of its first byte set, and the TTL in the last five
bytes.
"""

from enum import Enum
from typing import Final

CONTAINER_OWNER: Final = -(1 << 63)

_TTL_BASE: Final = -(1 << 56)
MAX_TTL_MS: Final = (1 << 40) - 1


class OwnerKind(Enum):
    """The condition under which the server deletes a znode."""

    NOBODY = "only a client deletes it"
    SESSION = "it is deleted when its session ends"
    CONTAINER = "it is deleted some time after its last child"
    TTL = "it is deleted after its TTL without a child and without a change"

    @classmethod
    def of(cls, owner: int) -> "OwnerKind":
        """Return the kind of an ephemeralOwner."""
        if owner == 0:
            return cls.NOBODY
        if owner == CONTAINER_OWNER:
            return cls.CONTAINER
        if _TTL_BASE <= owner <= _TTL_BASE + MAX_TTL_MS:
            return cls.TTL
        return cls.SESSION


# Module constants, because in compiled code looking up an enum member is slower than its use.
NOBODY: Final = OwnerKind.NOBODY
SESSION: Final = OwnerKind.SESSION
CONTAINER: Final = OwnerKind.CONTAINER
TTL: Final = OwnerKind.TTL


def owner_of_ttl(ttl_ms: int) -> int:
    """Return the ephemeralOwner for a TTL from 1 to MAX_TTL_MS."""
    return _TTL_BASE + ttl_ms


def ttl_of(owner: int) -> int:
    """Return the TTL in ms of an ephemeralOwner of the kind TTL."""
    return owner - _TTL_BASE
