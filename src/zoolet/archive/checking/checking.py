"""Checks an archive: the bytes and the contents of every object, and what is missing."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from zoolet.archive.errors import ArchiveError, DamagedObjectError
from zoolet.archive.format.names import (
    IDENTITY,
    OwnerName,
    SegmentName,
    SnapshotName,
    TimelineName,
    is_claim,
    parse_name,
)
from zoolet.archive.format.records import Identity, Timeline
from zoolet.archive.store.archive import Archive
from zoolet.archive.store.catalog import Catalog, Line
from zoolet.archive.store.store import Store
from zoolet.storage.snapshots import MAGIC, SEAL_BYTES, is_seal_of


class Finding(NamedTuple):
    """A line of the report.

    Attributes:
        kind: ``DAMAGED``, ``MISSING``, ``GAP``, ``UNKNOWN`` or ``note``.
        text: the description.
    """

    kind: str
    text: str

    @property
    def is_problem(self) -> bool:
        """Whether the exit status is 1."""
        return self.kind != "note"


def check_archive(
    store: Store, track: Callable[[list[str]], Iterable[str]] = lambda names: names
) -> Iterator[Finding]:
    """Read every object of the archive in a store, and yield what is wrong.

    ``track`` returns the names that it gets, and may show the progress. Raises ArchiveError if
    there is no archive, or if the key is missing, and OSError.
    """
    names = store.names()
    try:
        archive = Archive.open(store)
    except DamagedObjectError as error:
        yield Finding("DAMAGED", str(error))
        archive = Archive(store, Identity("", 0, None))
    timelines: dict[int, Timeline] = {}
    for name in track([name for name in names if name != IDENTITY]):
        try:
            _check_object(archive, name, timelines)
        except _UnknownObjectError:
            yield Finding("UNKNOWN", f"{name}: the archiver did not write an object of this name")
        except ArchiveError as error:
            yield Finding("DAMAGED", str(error))
    yield from _missing(archive, names, timelines)


class _UnknownObjectError(Exception):
    """The name of the object is not one of an archive."""


def _check_object(archive: Archive, name: str, timelines: dict[int, Timeline]) -> None:
    parsed = parse_name(name)
    if isinstance(parsed, SegmentName):
        for _ in archive.txns(parsed):
            pass
    elif isinstance(parsed, SnapshotName):
        _check_snapshot(archive, parsed)
    elif isinstance(parsed, TimelineName):
        timelines[parsed.number] = archive.timeline(parsed)
    elif isinstance(parsed, OwnerName):
        archive.owner(name)
    elif not is_claim(name):
        raise _UnknownObjectError


def _check_snapshot(archive: Archive, name: SnapshotName) -> None:
    checksum, seal, head = 1, b"", b""
    for piece in archive.snapshot(name):
        data = seal + piece
        seal = data[-SEAL_BYTES:]
        content = memoryview(data)[: len(data) - len(seal)]
        head = (head + bytes(content[: len(MAGIC)]))[: len(MAGIC)]
        checksum = zlib.adler32(content, checksum)
    if head != MAGIC or not is_seal_of(checksum, seal):
        raise DamagedObjectError(str(name), "its content is not a complete snapshot")


def _missing(
    archive: Archive, names: list[str], timelines: dict[int, Timeline]
) -> Iterator[Finding]:
    """Yield what the names of the objects show: holes, gaps and objects without a timeline."""
    catalog = Catalog(names, timelines)
    numbers = sorted(timelines)
    for number in range(numbers[0] if numbers else 1, (numbers or [0])[-1]):
        if number not in timelines and not _is_skipped(timelines, number):
            yield Finding("MISSING", f"{TimelineName(number)}: the timeline cannot be read")
    for line in catalog.lines:
        yield from _missing_of(line)
    yield from _missing_ends(archive, names, catalog)
    for gap in catalog.gaps():
        yield Finding(
            "GAP",
            f"the txns after zxid 0x{gap.before.zxid:x} up to 0x{gap.after.zxid:x} were never"
            f" archived ({gap.reason.value}; timeline {gap.timeline})",
        )
    for name in names:
        parsed = parse_name(name)
        if isinstance(parsed, (SegmentName, SnapshotName)) and parsed.timeline not in timelines:
            kind = "note" if isinstance(parsed, SnapshotName) else "MISSING"
            yield Finding(kind, f"{name}: it belongs to a timeline that does not exist")


def _is_skipped(timelines: dict[int, Timeline], number: int) -> bool:
    """Return whether no timeline says that this one was before it: it never began."""
    previous = [each.previous.number for each in timelines.values() if each.previous is not None]
    return number not in previous


def _missing_of(line: Line) -> Iterator[Finding]:
    number = line.number
    for hole in line.holes():
        yield Finding(
            "MISSING",
            f"timeline {number}: the txns after zxid 0x{hole.after_zxid:x} up to"
            f" 0x{hole.until_zxid:x} were archived, but their objects do not exist",
        )
    start = line.timeline.txns_after
    if all(each.zxid != start for each in line.snapshots):
        yield Finding(
            "MISSING", f"timeline {number}: the snapshot of zxid 0x{start:x} does not exist"
        )


def _missing_ends(archive: Archive, names: list[str], catalog: Catalog) -> Iterator[Finding]:
    """Compare the ends of the timelines with what owners and later timelines say about them."""
    ends = {line.number: line.end.zxid for line in catalog.lines}
    said: dict[int, int] = {}
    for line in catalog.lines:
        if (previous := line.timeline.previous) is not None:
            said[previous.number] = max(said.get(previous.number, 0), previous.last_zxid)
    for name in names:
        if isinstance(parse_name(name), OwnerName):
            try:
                owner = archive.owner(name)
            except ArchiveError:
                continue  # it was reported already
            if owner.timeline:
                said[owner.timeline] = max(said.get(owner.timeline, 0), owner.last_zxid)
    for number, zxid in sorted(said.items()):
        if number not in ends:
            yield Finding("MISSING", f"{TimelineName(number)}: the timeline cannot be read")
        elif ends[number] < zxid:
            yield Finding(
                "MISSING",
                f"timeline {number}: the txns after zxid 0x{ends[number]:x} up to 0x{zxid:x} were"
                " archived, but their objects do not exist",
            )
