"""What a znode's ephemeral owner says: a session, or that the server removes the znode itself.

Source: Apache ZooKeeper's ``EphemeralType``. A container's owner is the least 64-bit number; a TTL
znode's has all bits of its first byte set, and its TTL in the last five bytes.
"""

from enum import Enum
from typing import Final

CONTAINER_OWNER: Final = -(1 << 63)

_TTL_BASE: Final = -(1 << 56)
MAX_TTL_MS: Final = (1 << 40) - 1


class OwnerKind(Enum):
    """Whom a znode goes with."""

    NOBODY = "it stays until it is deleted"
    SESSION = "it goes with its session"
    CONTAINER = "it goes some time after its last child"
    TTL = "it is deleted after a time without a child and without a change"

    @classmethod
    def of(cls, owner: int) -> "OwnerKind":
        """Return what kind of owner a number stands for."""
        if owner == 0:
            return cls.NOBODY
        if owner == CONTAINER_OWNER:
            return cls.CONTAINER
        if _TTL_BASE <= owner <= _TTL_BASE + MAX_TTL_MS:
            return cls.TTL
        return cls.SESSION


# Looked up once: compiled, a member of an enum costs more than what is done with it.
NOBODY: Final = OwnerKind.NOBODY
SESSION: Final = OwnerKind.SESSION
CONTAINER: Final = OwnerKind.CONTAINER
TTL: Final = OwnerKind.TTL


def owner_of_ttl(ttl_ms: int) -> int:
    """Return the owner that stands for a TTL from 1 to MAX_TTL_MS."""
    return _TTL_BASE + ttl_ms


def ttl_of(owner: int) -> int:
    """Return the TTL, in ms, that an owner of the kind TTL stands for."""
    return owner - _TTL_BASE
