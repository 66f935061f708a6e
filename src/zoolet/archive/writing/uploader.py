"""Uploads the txns of a server, in order and without a gap; begins a timeline where there is one.

Invariants: what is archived is known from the store alone, so a kill at any point loses nothing. A
segment is written only after the segment before it. A timeline begins with a snapshot, and its
object is written after the snapshot.
"""

import time
from typing import Final, NamedTuple

from zoolet.archive.errors import ArchiveError, DamagedObjectError
from zoolet.archive.format.clock_steps import split_at_steps
from zoolet.archive.format.log_records import EncodedTxn
from zoolet.archive.format.names import SegmentName, SnapshotName, TimelineName, parse_name
from zoolet.archive.format.records import Previous, Reason, Timeline
from zoolet.archive.store.archive import Archive
from zoolet.archive.store.catalog import Line
from zoolet.archive.writing.log_tail import Attached, LogTail, MovedError, Position
from zoolet.archive.writing.ownership import Ownership
from zoolet.archive.writing.proof import common_zxid, has_equal_state
from zoolet.archive.writing.retrying import Retrier, StoppedError, Stopping
from zoolet.archive.writing.snapshots import Housekeeping, upload_snapshot
from zoolet.archive.writing.sources import LocalSnapshot, Source
from zoolet.archive.writing.status import State, Status, log

SEGMENT_BYTES: Final = 4 << 20
"""A segment has about this number of bytes of records at most."""

_WAIT_S: Final = 0.2


class _End(NamedTuple):
    """The end of the archive: the newest timeline and the last txn; 0 if there is none."""

    timeline: int
    position: Position


class Uploader:
    """Follows a source; ``run`` returns when the archiver stops."""

    def __init__(
        self,
        archive: Archive,
        source: Source,
        ownership: Ownership,
        housekeeping: Housekeeping,
        retrier: Retrier,
        status: Status,
        stopping: Stopping,
        interval_s: float,
    ) -> None:
        self._archive = archive
        self._source = source
        self._ownership = ownership
        self._housekeeping = housekeeping
        self._retrier = retrier
        self._status = status
        self._stopping = stopping
        self._interval_s = interval_s
        self._tail = LogTail(source.directories)
        self._end: _End
        # The end, if the source is known to have the same state there.
        self._proven: Position | None = None
        self._has_written = False

    def run(self, *, once: bool = False) -> None:
        """Upload until the archiver stops; with ``once``, until everything is uploaded.

        Raises ArchiveError if the archiver cannot continue.
        """
        try:
            try:
                self._end = self._retrier.call("reading the archive", self._read_end, at_start=True)
            except DamagedObjectError as error:
                raise ArchiveError(
                    f"{error} The archiver cannot continue this archive: archive into a new folder"
                    " or prefix. The old archive still gives the states that do not need the"
                    " object. Run: zoolet archive check"
                ) from error
            self._show()
            while True:
                is_asked = self._stopping.is_asked
                is_up_to_date = self._pass()
                is_last = is_asked or (once and is_up_to_date)
                self._status.is_complete = is_up_to_date
                if not is_asked:
                    self._housekeeping.look(self._end.position.zxid, self._end.position.time_ms)
                if is_last:
                    break
                self._stopping.wait(self._interval_s if is_up_to_date else _WAIT_S)
        except StoppedError:
            log.warning(
                "the last upload did not end in time: txns after zxid 0x%x are archived at the"
                " next start",
                self._end.position.zxid,
            )
        finally:
            self._housekeeping.end()
        self._status.change(State.STOPPED)

    # --- Where the archive ends

    def _read_end(self) -> _End:
        catalog = self._archive.catalog(needs_all=True)
        if not catalog.lines:
            return _End(0, Position(0, 0, None))
        line = catalog.lines[-1]
        self._housekeeping.timeline_began(
            line.number,
            line.snapshots[-1]
            if line.snapshots
            else SnapshotName(line.number, line.timeline.base_zxid, 0),
        )
        return _End(line.number, self._last_txn(line))

    def _last_txn(self, line: Line) -> Position:
        timeline = line.timeline
        # Retention may have removed all txns. A snapshot alone proves no end: the snapshot of an
        # observer may contain txns that are not archived.
        start = max(timeline.base_zxid, timeline.txns_after)
        last = max(line.segments, key=lambda each: each.last_zxid, default=None)
        if last is None or last.last_zxid < start:
            times = [each.time_ms for each in line.snapshots if each.zxid == start]
            return Position(start, max(times, default=timeline.time_ms), None)
        encoded = None
        try:
            for txn in self._archive.txns(last):
                encoded = txn.encoded
        except DamagedObjectError as error:
            log.error("%s Run: zoolet archive check", error)
            encoded = None
        return Position(last.last_zxid, last.last_ms, encoded)

    # --- One pass

    def _pass(self) -> bool:
        """Upload what the source has; return False if it should be looked at again soon."""
        if not self._tail.has_place and not self._attach():
            return False
        try:
            is_full = True
            while is_full and (txns := self._tail.read(SEGMENT_BYTES)):
                for part in split_at_steps(txns):
                    self._upload(part)
                # Later txns wait for the next pass: many small segments would be slow.
                is_full = sum(len(txn.encoded) for txn in txns) >= SEGMENT_BYTES
                if self._stopping.is_over:
                    raise StoppedError
        except MovedError:
            self._attach()
            return False
        self._archiving()
        return True

    def _attach(self) -> bool:
        """Find the next txn, or begin a timeline; return whether txns can be read."""
        if not self._end.timeline:
            return self._begin_timeline(None)
        try:
            attached = self._attached()
        except MovedError:
            return False
        if attached is Attached.FOLLOWS:
            self._archiving()
            return True
        return self._begin_timeline(attached)

    def _attached(self) -> Attached:
        """Find the next txn; if no equal txn proves that it follows, compare the states."""
        position = self._end.position
        attached = self._tail.attach(position)
        if attached is not Attached.FOLLOWS or self._tail.is_proven or self._proven == position:
            return attached
        is_equal = self._retrier.call(
            "comparing the states",
            lambda: has_equal_state(self._archive, self._source.directories, position.zxid),
        )
        if is_equal is None:
            is_equal = self._tail.last_ms == position.time_ms
        if not is_equal:
            return Attached.TRUNCATED
        self._proven = position
        return self._tail.attach(position)

    def _archiving(self) -> None:
        is_current = self._source.is_current()
        if is_current:
            self._status.followed_s = time.monotonic()
        if self._status.state is not State.STORE_FAILS:
            self._status.change(State.ARCHIVING if is_current else State.WAITING)

    def _begin_timeline(self, problem: Attached | None) -> bool:
        """Begin a timeline with the state of the source, if the files do not continue the archive.

        The problem may be temporary: an observer gets the txns after its own last one. So it counts
        only if it is there when the files have the newest state.
        """
        if not self._source.is_current():
            if self._status.state is State.STARTING:
                self._status.change(State.WAITING)
            return False
        try:
            common: int | None = None
            if problem is not None:
                common = self._retrier.call(
                    "comparing the histories",
                    lambda: common_zxid(self._archive, self._source.directories),
                )
            with self._source.first_snapshot(common) as snapshot:
                if problem is not None:
                    problem = self._attached()
                    if problem is Attached.FOLLOWS:
                        self._archiving()
                        return True
                self._write_timeline(snapshot, problem)
            self._tail.attach(self._end.position)
        except MovedError:
            return False
        return True

    def _write_timeline(self, snapshot: LocalSnapshot, problem: Attached | None) -> None:
        old, number = self._end, self._retrier.call("listing", self._next_timeline)
        reason, previous = Reason.START, None
        if problem is not None:
            is_cut = problem in {Attached.TRUNCATED, Attached.BEHIND}
            reason = Reason.TRUNCATED if is_cut else self._source.gap_reason
            previous = Previous(old.timeline, old.position.zxid, old.position.time_ms)
            self._status.gaps += snapshot.zxid > old.position.zxid
            log.warning(
                "%s: timeline %d ends at zxid 0x%x, and timeline %d begins at zxid 0x%x",
                problem.value,
                old.timeline,
                old.position.zxid,
                number,
                snapshot.zxid,
            )
        name = SnapshotName(number, snapshot.zxid, snapshot.time_ms)
        upload_snapshot(
            self._archive,
            self._ownership,
            self._retrier,
            name,
            snapshot,
            at_start=not self._has_written,
        )
        timeline = Timeline(snapshot.zxid, reason, previous, snapshot.time_ms, snapshot.zxid)

        def write() -> None:
            self._ownership.check()
            self._archive.store.write(str(TimelineName(number)), [timeline.encode()])

        self._retrier.call(f"writing timeline {number}", write, at_start=not self._has_written)
        self._has_written = True
        self._status.snapshots += 1
        self._proven = Position(snapshot.zxid, snapshot.time_ms, None)
        self._end = _End(number, self._proven)
        self._housekeeping.timeline_began(number, name)
        self._show()
        self._archiving()

    def _next_timeline(self) -> int:
        parsed = [parse_name(name) for name in self._archive.store.names()]
        numbers = [each.number for each in parsed if isinstance(each, TimelineName)]
        numbers += [
            each.timeline for each in parsed if isinstance(each, (SegmentName, SnapshotName))
        ]
        return max(numbers, default=0) + 1

    def _upload(self, txns: list[EncodedTxn]) -> None:
        end, last = self._end, txns[-1]
        name = SegmentName(
            end.timeline, end.position.zxid, last.zxid, txns[0].time_ms, last.time_ms
        )
        self._status.waiting_since_ms = txns[0].time_ms

        def upload() -> None:
            self._ownership.check()
            self._archive.store.write(str(name), (txn.encoded for txn in txns))

        def failed() -> None:
            self._status.waiting_txns = len(txns) + self._tail.txns_ahead()

        self._retrier.call(f"uploading {name}", upload, failed, at_start=not self._has_written)
        self._has_written = True
        self._end = _End(end.timeline, Position(last.zxid, last.time_ms, last.encoded))
        self._status.segments += 1
        self._status.waiting_since_ms = self._status.waiting_txns = 0
        self._show()

    def _show(self) -> None:
        timeline, position = self._end
        self._status.timeline = timeline
        self._status.archived_zxid, self._status.archived_ms = position.zxid, position.time_ms
        self._ownership.reached(timeline, position.zxid)


def wall_ms() -> int:
    """Return the time, in ms since the epoch."""
    return int(time.time() * 1000)
