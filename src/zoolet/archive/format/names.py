"""The names of the objects in an archive (docs/formats/archive.md).

A name says which txns or which state the object contains, so a listing is enough to find the
objects for a moment.
"""

import re
from typing import Final, NamedTuple

IDENTITY: Final = "archive"
"""The name of the object with the identity of the archive."""

OWNERS: Final = "owners/"
"""The beginning of the names of the objects of archivers."""

_OWNER: Final = re.compile(r"owners/(\d{10})")
_TIMELINE: Final = re.compile(r"timelines/(\d{4})")
_SEGMENT: Final = re.compile(r"txns/(\d{4})/([0-9a-f]{16})-([0-9a-f]{16})-(\d{13})-(\d{13})")
_SNAPSHOT: Final = re.compile(r"snapshots/(\d{4})/([0-9a-f]{16})-(\d{13})")


class OwnerName(NamedTuple):
    """The object with which an archiver shows that it writes; greater numbers are newer."""

    number: int

    def __str__(self) -> str:
        """Return the name of the object."""
        return f"{OWNERS}{self.number:010}"


class TimelineName(NamedTuple):
    """The object that describes a timeline; greater numbers are newer."""

    number: int

    def __str__(self) -> str:
        """Return the name of the object."""
        return f"timelines/{self.number:04}"


class SegmentName(NamedTuple):
    """A segment: all txns of a timeline after one zxid, up to and with another one.

    Attributes:
        timeline: the number of the timeline.
        after_zxid: the zxid of the txn before the first one.
        last_zxid: the zxid of the last txn.
        first_ms: the time of the first txn, in ms since the epoch.
        last_ms: the time of the last txn.
    """

    timeline: int
    after_zxid: int
    last_zxid: int
    first_ms: int
    last_ms: int

    def __str__(self) -> str:
        """Return the name of the object."""
        return (
            f"txns/{self.timeline:04}/{self.after_zxid:016x}-{self.last_zxid:016x}"
            f"-{self.first_ms:013}-{self.last_ms:013}"
        )


class SnapshotName(NamedTuple):
    """The state of a timeline after a txn.

    Attributes:
        timeline: the number of the timeline.
        zxid: the zxid of the last txn that the state contains.
        time_ms: a time, in ms since the epoch, that is not before the txns in the state.
    """

    timeline: int
    zxid: int
    time_ms: int

    def __str__(self) -> str:
        """Return the name of the object."""
        return f"snapshots/{self.timeline:04}/{self.zxid:016x}-{self.time_ms:013}"


ObjectName = OwnerName | TimelineName | SegmentName | SnapshotName


def parse_name(name: str) -> ObjectName | None:
    """Return what the name of an object says; None for the identity and for unknown names."""
    if found := _SEGMENT.fullmatch(name):
        timeline, after, last, first_ms, last_ms = found.groups()
        return SegmentName(
            int(timeline), int(after, 16), int(last, 16), int(first_ms), int(last_ms)
        )
    if found := _SNAPSHOT.fullmatch(name):
        timeline, zxid, time_ms = found.groups()
        return SnapshotName(int(timeline), int(zxid, 16), int(time_ms))
    if found := _TIMELINE.fullmatch(name):
        return TimelineName(int(found[1]))
    if found := _OWNER.fullmatch(name):
        return OwnerName(int(found[1]))
    return None


def claim_name(owner_id: str) -> str:
    """Return the name of the object that a starting archiver writes to see the store's clock."""
    return f"{OWNERS}claim-{owner_id}"


def is_claim(name: str) -> bool:
    """Return whether this is the name of such an object."""
    return name.startswith(f"{OWNERS}claim-")
