"""Stat: what ZooKeeper keeps about a znode beside its data, and its 68 packed bytes."""

import struct
from typing import NamedTuple

STAT = struct.Struct(">qqqqiiiqiiq")
"""A Stat as it stands in replies; its fields are Stat's, in order, big-endian."""


class Stat(NamedTuple):
    """A znode's metadata, as a reply carries it.

    Attributes:
        czxid: zxid of the txn that created the znode.
        mzxid: zxid of the txn that last set its data.
        ctime: milliseconds since the epoch at czxid.
        mtime: milliseconds since the epoch at mzxid.
        version: how often the data was set.
        cversion: how often a child was created; the next sequential child's number.
        aversion: how often the ACL was set.
        ephemeral_owner: id of the session that the znode goes with; 0 where it stays.
        data_length: bytes of data.
        num_children: how many children it has.
        pzxid: zxid of the txn that last created or deleted a child.
    """

    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    ephemeral_owner: int
    data_length: int
    num_children: int
    pzxid: int

    @classmethod
    def unpack(cls, packed: bytes, offset: int = 0) -> "Stat":
        """Read the Stat that stands at ``offset`` of ``packed``."""
        return cls._make(STAT.unpack_from(packed, offset))

    def pack(self) -> bytes:
        """Return the 68 bytes that a reply carries."""
        return STAT.pack(*self)
