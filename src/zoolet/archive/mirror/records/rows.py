"""What a mirror knows about one znode: its state in the source and its copy in the target.

Imports ``model`` and the counters.
"""

from typing import Final, NamedTuple, Self

from zoolet.archive.live.counters import counter_of
from zoolet.model.acl import AclList
from zoolet.model.stat import Stat

UNKNOWN: Final = -1
"""The ``czxid`` of a row whose copy was not made from a known state: compare the data."""

DIFFERENT: Final = 0
"""The ``czxid`` of a row whose copy differs from the source: write data and ACL."""

NEXT_ZXID: Final = -2
"""Stands for the zxid of a multi that has no reply yet."""


class Row(NamedTuple):
    """A znode of the target, as the mirror wrote it or found it.

    Attributes:
        czxid: the source's czxid when the copy was made; or `UNKNOWN` or `DIFFERENT`.
        mzxid: the source's mzxid.
        aversion: the source's version of the ACL; -1 if the copy's ACL is another one.
        copy_czxid: the target's czxid.
        copy_mzxid: the target's mzxid.
        copy_version: the target's version of the data.
        copy_aversion: the target's version of the ACL.
        wanted: the source's counter for sequential children.
        counter: the target's counter, or a lower number.
        ctime: the source's ctime: a source that was set back uses the same zxids again.
        mtime: the source's mtime.
    """

    czxid: int
    mzxid: int
    aversion: int
    copy_czxid: int
    copy_mzxid: int
    copy_version: int
    copy_aversion: int
    wanted: int
    counter: int
    ctime: int
    mtime: int

    @classmethod
    def unknown(cls, copy: Stat) -> Self:
        """Return the row of a znode of the target that the mirror has not written."""
        return cls(UNKNOWN, -1, -1, *_copy_fields(copy), 0, counter_of(copy), ctime=-1, mtime=-1)

    @classmethod
    def equal(cls, source: Stat, copy: Stat) -> Self:
        """Return the row of a znode whose data and ACL are the same in both subtrees."""
        return cls(
            *(source.czxid, source.mzxid, source.aversion),
            *_copy_fields(copy),
            wanted=counter_of(source),
            counter=counter_of(copy),
            ctime=source.ctime,
            mtime=source.mtime,
        )

    @classmethod
    def created(cls, source: Stat) -> Self:
        """Return the row of a copy that the next multi creates."""
        return cls(
            *(source.czxid, source.mzxid, source.aversion),
            *(NEXT_ZXID, NEXT_ZXID, 0, 0),
            wanted=counter_of(source),
            counter=0,
            ctime=source.ctime,
            mtime=source.mtime,
        )

    def set_from(self, source: Stat) -> Self:
        """Return the row after the next multi has set the data."""
        return self._replace(
            czxid=source.czxid,
            mzxid=source.mzxid,
            copy_mzxid=NEXT_ZXID,
            copy_version=self.copy_version + 1,
            wanted=counter_of(source),
            ctime=source.ctime,
            mtime=source.mtime,
        )

    def applied(self, zxid: int) -> Self:
        """Return the row after the multi has got its zxid."""
        return self._replace(
            copy_czxid=zxid if self.copy_czxid == NEXT_ZXID else self.copy_czxid,
            copy_mzxid=zxid if self.copy_mzxid == NEXT_ZXID else self.copy_mzxid,
        )

    def is_same_source(self, source: Stat) -> bool:
        """Whether the copy was made from this state of the source."""
        return self.has_same_data(source) and self.aversion == source.aversion

    def has_same_data(self, source: Stat) -> bool:
        """Whether the data of the copy were made from this state of the source."""
        return self.is_same_znode(source) and (self.mzxid, self.mtime) == (
            source.mzxid,
            source.mtime,
        )

    def is_same_znode(self, source: Stat) -> bool:
        """Whether the copy was made from this znode, which was not created again since."""
        return (self.czxid, self.ctime) == (source.czxid, source.ctime)

    def is_same_copy(self, copy: Stat) -> bool:
        """Whether the target has the copy as the mirror knows it."""
        return _copy_fields(copy) == (
            self.copy_czxid,
            self.copy_mzxid,
            self.copy_version,
            self.copy_aversion,
        )


class Found(NamedTuple):
    """A znode of the source as it was read; ``acl`` is None if it was not needed."""

    data: bytes | None
    stat: Stat
    acl: AclList | None


def _copy_fields(copy: Stat) -> tuple[int, int, int, int]:
    return copy.czxid, copy.mzxid, copy.version, copy.aversion


def same_acl(one: AclList, other: AclList) -> bool:
    """Whether two ACLs have the same entries, in any order."""
    return sorted(one) == sorted(other)
