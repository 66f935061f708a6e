"""Checks an archive: the bytes and the contents of every object, and what is missing."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from zoolet.archive.errors import AbsentObjectError, ArchiveError, DamagedObjectError
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
from zoolet.archive.store.catalog import Catalog, Line, abandoned_text
from zoolet.archive.store.store import Store
from zoolet.console.os_errors import explain
from zoolet.storage.snapshots import MAGIC, SEAL_BYTES, is_seal_of

_MOST_FAILURES: Final = 10
"""After this number of objects in a row that cannot be read, the store itself fails."""


class Finding(NamedTuple):
    """A line of the report.

    Attributes:
        kind: ``DAMAGED``, ``MISSING``, ``ERROR`` (an object cannot be read), ``GAP``, ``UNKNOWN``
            or ``note``.
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
    there is no archive, or if the key is missing, and OSError if the store fails.
    """
    try:
        archive = Archive.open(store)
    except DamagedObjectError as error:
        yield Finding("DAMAGED", str(error))
        archive = Archive(store, Identity("", 0, None))
    ends = archive.recorded_ends()
    names = store.names()
    contents = _Contents(archive)
    for name in track([name for name in names if name != IDENTITY]):
        if (finding := contents.check(name)) is not None:
            yield finding
    yield from contents.missing(names, ends)


class _Contents:
    """Reads the objects of an archive, one after the other."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._timelines: dict[int, Timeline] = {}
        self._vanished: list[str] = []
        self._num_failed = 0

    def check(self, name: str) -> Finding | None:
        """Read an object, and return what is wrong with it; raises OSError if the store fails."""
        try:
            _check_object(self._archive, name, self._timelines)
        except _UnknownObjectError:
            return Finding("UNKNOWN", f"{name}: the archiver did not write an object of this name")
        except AbsentObjectError:
            self._vanished.append(name)
        except ArchiveError as error:
            return Finding("DAMAGED", str(error))
        except OSError as error:
            self._num_failed += 1
            if self._num_failed > _MOST_FAILURES and not isinstance(error, PermissionError):
                raise
            return Finding("ERROR", f"the object {name} cannot be read: {explain(error)}")
        self._num_failed = 0
        return None

    def missing(self, names: list[str], ends: Mapping[int, int]) -> Iterator[Finding]:
        """Yield what is missing; ``ends`` are the recorded ends of the timelines."""
        if self._vanished:
            # A running archiver may have merged or removed them after they were listed.
            names = self._archive.store.names()
            for name in self._vanished:
                if name in names:
                    yield Finding("DAMAGED", str(AbsentObjectError(name)))
            for parsed in map(parse_name, names):
                if isinstance(parsed, TimelineName) and parsed.number in self._timelines:
                    self._timelines[parsed.number] = self._archive.timeline(parsed)
        yield from _missing(names, self._timelines, ends)


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
    names: list[str], timelines: dict[int, Timeline], recorded_ends: Mapping[int, int]
) -> Iterator[Finding]:
    """Yield what the names of the objects show: holes, gaps and objects without a timeline."""
    catalog = Catalog(names, timelines)
    for line in catalog.lines:
        yield from _missing_of(line)
    yield from _missing_ends(catalog, recorded_ends)
    for gap in catalog.gaps():
        yield Finding(
            "GAP",
            f"the txns after zxid 0x{gap.before.zxid:x} up to 0x{gap.after.zxid:x} were never"
            f" archived ({gap.reason.value}; timeline {gap.timeline})",
        )
    for abandoned in catalog.abandoned():
        yield Finding("note", f"the server was set back: {abandoned_text(abandoned)}")
    for name in names:
        parsed = parse_name(name)
        if isinstance(parsed, (SegmentName, SnapshotName)) and parsed.timeline not in timelines:
            kind = "note" if isinstance(parsed, SnapshotName) else "MISSING"
            yield Finding(kind, f"{name}: it belongs to a timeline that does not exist")


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


def _missing_ends(catalog: Catalog, recorded_ends: Mapping[int, int]) -> Iterator[Finding]:
    """Compare the ends of the timelines with what archivers and later timelines have recorded."""
    ends = {line.number: line.end.zxid for line in catalog.lines}
    recorded = dict(recorded_ends)
    for line in catalog.lines:
        if (previous := line.timeline.previous) is not None:
            number, zxid, _ = previous
            recorded[number] = max(recorded.get(number, 0), zxid)
    for number, zxid in sorted(recorded.items()):
        if number not in ends:
            yield Finding(
                "MISSING",
                f"the object {TimelineName(number)} does not exist or cannot be read, so the txns"
                f" of timeline {number}, up to zxid 0x{zxid:x}, cannot be restored",
            )
        elif ends[number] < zxid:
            yield Finding(
                "MISSING",
                f"timeline {number}: the txns after zxid 0x{ends[number]:x} up to 0x{zxid:x} were"
                " archived, but their objects do not exist",
            )
