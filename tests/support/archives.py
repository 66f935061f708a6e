"""Archives that a test makes from txns, without an archiver."""

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from zoolet.archive.format.encryption import Key
from zoolet.archive.format.names import SegmentName, SnapshotName, TimelineName
from zoolet.archive.format.records import Previous, Reason, Timeline
from zoolet.archive.reading.archive_source import ArchiveSource
from zoolet.archive.store.archive import Archive
from zoolet.archive.store.store import Store
from zoolet.model.txns import Txn
from zoolet.state_machine.machine import StateMachine
from zoolet.storage.snapshots import Image
from zoolet.storage.txn_log import encode_record
from zoolet.wire.jute import LONG, pack_ustring


class ArchiveMaker:
    """Writes the objects of an archive in a folder.

    Attributes:
        archive: the archive.
        timeline: the number of the newest timeline.
    """

    def __init__(self, folder: Path, key: Key | None = None) -> None:
        self.folder = folder
        self.archive = Archive.open_or_create(Store(str(folder), key))
        self.timeline = 0
        self._last_zxid = self._last_ms = 0

    @property
    def source(self) -> ArchiveSource:
        """The archive as a source of states."""
        return ArchiveSource(self.archive)

    def begin(self, machine: StateMachine, time_ms: int, reason: Reason = Reason.START) -> None:
        """Begin a timeline with this state."""
        previous = Previous(self.timeline, self._last_zxid, self._last_ms)
        self.timeline += 1
        timeline = Timeline(
            machine.zxid, reason, previous if self.timeline > 1 else None, time_ms, machine.zxid
        )
        self._last_zxid, self._last_ms = machine.zxid, time_ms
        self.snapshot(machine, time_ms)
        self._write(str(TimelineName(self.timeline)), [timeline.encode()])

    def segment(self, txns: Sequence[Txn]) -> str:
        """Write a segment; return the name of the object."""
        first, last = txns[0].header, txns[-1].header
        name = SegmentName(self.timeline, self._last_zxid, last.zxid, first.time_ms, last.time_ms)
        self._last_zxid, self._last_ms = last.zxid, last.time_ms
        return self._write(str(name), [encode_record(txn) for txn in txns])

    def snapshot(self, machine: StateMachine, time_ms: int) -> str:
        """Write a snapshot; return the name of the object."""
        name = SnapshotName(self.timeline, machine.zxid, time_ms)
        return self._write(str(name), list(_sealed(Image.of(machine))))

    def _write(self, name: str, pieces: list[bytes]) -> str:
        self.archive.store.write(name, pieces)
        return name


def _sealed(image: Image) -> Iterator[bytes]:
    checksum = 1
    for chunk in image.content():
        checksum = zlib.adler32(chunk, checksum)
        yield chunk
    yield LONG.pack(checksum) + pack_ustring("/")
