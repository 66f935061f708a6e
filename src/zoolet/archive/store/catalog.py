"""What an archive holds: which objects give the state at a zxid or a time, and what is missing.

Pure: it uses only the names of the objects and the contents of the timelines. No I/O.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import accumulate
from typing import Final, NamedTuple

from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.clock_steps import Span, doubt_about, doubt_text
from zoolet.archive.format.names import SegmentName, SnapshotName, parse_name
from zoolet.archive.format.records import Reason, Timeline

_AHEAD_MS: Final = 86_400_000
_ALWAYS_MS: Final = 1 << 62


class MissingTxnsError(ArchiveError):
    """The archive does not have all txns or no snapshot that the moment needs."""


class Moment(NamedTuple):
    """A txn: its zxid and its time in ms since the epoch."""

    zxid: int
    time_ms: int


class Gap(NamedTuple):
    """Txns that were never archived.

    Attributes:
        timeline: the number of the timeline that begins after the gap.
        reason: why there is a gap.
        before: the last archived txn before the gap.
        after: the first state after the gap.
    """

    timeline: int
    reason: Reason
    before: Moment
    after: Moment


class Abandoned(NamedTuple):
    """Archived txns that the server does not have any more, because it was set back.

    Attributes:
        timeline: the number of the timeline that has them.
        following: the number of the timeline that continues without them.
        after_zxid: the last txn that both have.
        until_zxid: the last one of these txns.
    """

    timeline: int
    following: int
    after_zxid: int
    until_zxid: int


class Hole(NamedTuple):
    """Txns that were archived, but whose objects are missing now.

    Attributes:
        timeline: the number of the timeline.
        after_zxid: the last txn before the hole.
        until_zxid: the last txn of the hole.
    """

    timeline: int
    after_zxid: int
    until_zxid: int


class Plan(NamedTuple):
    """The objects that give a state: a snapshot, and the segments after it in their order.

    Segments may overlap: txns up to the zxid that was reached already must be skipped.
    """

    snapshot: SnapshotName
    segments: tuple[SegmentName, ...]


class Line:
    """The objects of one timeline.

    Attributes:
        number: the number of the timeline.
        timeline: the content of its object.
        snapshots: its snapshots by zxid.
        segments: its segments by zxid; of segments that begin alike, the longest one is the first.
    """

    def __init__(
        self,
        number: int,
        timeline: Timeline,
        snapshots: Iterable[SnapshotName],
        segments: Iterable[SegmentName],
    ) -> None:
        self.number = number
        self.timeline = timeline
        self.snapshots = sorted(snapshots)
        self.segments = sorted(segments, key=lambda each: (each.after_zxid, -each.last_zxid))
        self._starts = [each.after_zxid for each in self.segments]
        # The segment that reaches furthest among the first N + 1 ones.
        self._furthest = list(accumulate(self.segments, _further))

    @property
    def end(self) -> Moment:
        """The last archived txn, or the last snapshot if that is newer."""
        timeline = self.timeline
        found = [Moment(timeline.base_zxid, timeline.time_ms)]
        found += [Moment(each.last_zxid, each.last_ms) for each in self.segments]
        found += [Moment(each.zxid, each.time_ms) for each in self.snapshots[-1:]]
        zxid = max(each.zxid for each in found)
        return next(each for each in reversed(found) if each.zxid == zxid)

    def next_segment(self, zxid: int) -> SegmentName | None:
        """Return the segment that has the txn after ``zxid`` and reaches furthest; None if none."""
        num_begun = bisect_right(self._starts, zxid)
        furthest = self._furthest[num_begun - 1] if num_begun else None
        return furthest if furthest is not None and furthest.last_zxid > zxid else None

    def chain(self, zxid: int) -> Iterator[SegmentName]:
        """Yield the segments that follow ``zxid``, up to the first missing txn."""
        while (segment := self.next_segment(zxid)) is not None:
            yield segment
            zxid = segment.last_zxid

    def begin_ms(self, now_ms: int) -> int:
        """Return the time of the first state; that of a txn after it if the clock was ahead."""
        if self.timeline.time_ms <= now_ms + _AHEAD_MS:
            return self.timeline.time_ms
        known = [each.first_ms for each in self.segments if each.first_ms <= now_ms + _AHEAD_MS]
        return min(known, default=self.timeline.time_ms)

    def cut_at(self, time_ms: int, now_ms: int) -> int:
        """Return the number of the segments that begin at or before a time; see ``Catalog.plans``.

        Raises MissingTxnsError if the clock of the server was set back, and the time is not unique.
        """
        limit_ms = now_ms + _AHEAD_MS
        known = [each for each in self.segments if each.last_ms <= limit_ms]
        spans = [Span(each.first_ms, each.last_ms, each.after_zxid) for each in known]
        if (doubt := doubt_about(spans, time_ms)) is not None:
            raise MissingTxnsError(f"{_text(None, time_ms)} is not unique: {doubt_text(doubt)}")
        cut = 0
        for number, segment in enumerate(self.segments, 1):
            if segment.first_ms <= time_ms:
                cut = number
            if time_ms < segment.last_ms <= limit_ms:
                break
        return cut

    def holes(self) -> list[Hole]:
        """Return the txns whose segments are missing."""
        found: list[Hole] = []
        zxid = self.timeline.txns_after
        while True:
            for segment in self.chain(zxid):
                zxid = segment.last_zxid
            next_start = bisect_right(self._starts, zxid)
            if next_start == len(self._starts):
                return found
            found.append(Hole(self.number, zxid, self._starts[next_start]))
            zxid = self._starts[next_start]


class Catalog:
    """The timelines of an archive; ``lines`` has them by number, the oldest first."""

    def __init__(self, names: Iterable[str], timelines: Mapping[int, Timeline]) -> None:
        """Sort the objects; objects of timelines that are not in ``timelines`` are ignored."""
        parsed = [parse_name(name) for name in names]
        self.lines = tuple(
            Line(
                number,
                timelines[number],
                [e for e in parsed if isinstance(e, SnapshotName) and e.timeline == number],
                [e for e in parsed if isinstance(e, SegmentName) and e.timeline == number],
            )
            for number in sorted(timelines)
        )

    @property
    def end(self) -> Moment | None:
        """The last archived txn; None if the archive is empty."""
        return self.lines[-1].end if self.lines else None

    def lost_end(self, recorded_ends: Mapping[int, int]) -> Hole | None:
        """Return the txns that are missing after the end; None if there are none.

        ``recorded_ends`` has the last archived zxid of each timeline; they were read before the
        names of the objects.
        """
        number, zxid = max(recorded_ends.items(), default=(0, 0))
        line = self.lines[-1] if self.lines else None
        if line is None or number > line.number:
            return Hole(number, 0 if line is None else line.end.zxid, zxid) if number else None
        recorded = recorded_ends.get(line.number, 0)
        end = line.end.zxid
        return Hole(line.number, end, recorded) if recorded > end else None

    def gaps(self) -> list[Gap]:
        """Return the txns that were never archived, the oldest first."""
        found = []
        for line in self.lines:
            timeline, previous = line.timeline, line.timeline.previous
            if previous is None or previous.last_zxid >= timeline.base_zxid:
                continue
            before = Moment(previous.last_zxid, previous.last_ms)
            after = Moment(timeline.base_zxid, timeline.time_ms)
            found.append(Gap(line.number, timeline.reason, before, after))
        return found

    def abandoned(self) -> list[Abandoned]:
        """Return the txns that a server abandoned, the oldest first."""
        found = []
        for line in self.lines:
            base_zxid, previous = line.timeline.base_zxid, line.timeline.previous
            if previous is not None and previous.last_zxid > base_zxid:
                number, last_zxid, _ = previous
                found.append(Abandoned(number, line.number, base_zxid, last_zxid))
        return found

    def plans(
        self, zxid: int | None = None, time_ms: int | None = None, now_ms: int = _ALWAYS_MS
    ) -> Iterator[Plan]:
        """Yield the ways to the state at a zxid, at a time, or at the end; the shortest one first.

        A later plan begins with an older snapshot, for the case that an object is damaged. The
        newest timeline that had begun counts. Txns after the moment, in the last segment, must be
        skipped. ``now_ms`` is the present time: if txns are more than a day after it, the clock of
        the server was ahead, and their times do not count. Raises MissingTxnsError if the archive
        cannot give the state.
        """
        line = self._line_at(zxid, time_ms, now_ms)
        cut = len(line.segments) if time_ms is None else line.cut_at(time_ms, now_ms)
        usable = [
            each
            for each in line.snapshots
            if (zxid is None or each.zxid <= zxid)
            and (time_ms is None or _is_usable(each, line, cut, time_ms))
        ]
        found, problem = False, f"timeline {line.number} has no snapshot before it"
        for snapshot in reversed(usable):
            segments, problem = self._segments(line, snapshot, zxid, time_ms, cut)
            if segments is not None:
                found = True
                yield Plan(snapshot, segments)
        if not found:
            raise MissingTxnsError(
                f"the archive does not have the state at {_text(zxid, time_ms)}: {problem}."
                f" {self._nearest_text(line, usable, zxid, time_ms)}"
            )

    def _line_at(self, zxid: int | None, time_ms: int | None, now_ms: int) -> Line:
        for position in range(len(self.lines) - 1, -1, -1):
            line = self.lines[position]
            timeline = line.timeline
            if (zxid is not None and timeline.base_zxid > zxid) or (
                time_ms is not None and line.begin_ms(now_ms) > time_ms
            ):
                continue
            if position + 1 < len(self.lines):
                self._check_not_in_gap(line, self.lines[position + 1], zxid, time_ms)
            return line
        raise MissingTxnsError(
            f"the archive begins after {_text(zxid, time_ms)}: {self.range_text()}."
            if self.lines
            else "the archive is empty: no archiver has written a snapshot into it yet."
        )

    def _check_not_in_gap(
        self, line: Line, following: Line, zxid: int | None, time_ms: int | None
    ) -> None:
        end, timeline = line.end, following.timeline
        is_after = (zxid is not None and zxid > end.zxid) or (
            zxid is None and time_ms is not None and time_ms > end.time_ms
        )
        if is_after and timeline.base_zxid > end.zxid:
            raise MissingTxnsError(
                f"{_text(zxid, time_ms)} is in a gap of the archive ({timeline.reason.value}). The"
                f" nearest states are zxid 0x{end.zxid:x} ({_time_text(end.time_ms)}) before it and"
                f" zxid 0x{timeline.base_zxid:x} ({_time_text(timeline.time_ms)}) after it."
            )

    @staticmethod
    def _segments(
        line: Line, snapshot: SnapshotName, zxid: int | None, time_ms: int | None, cut: int
    ) -> tuple[tuple[SegmentName, ...] | None, str]:
        """Return the segments after a snapshot; or None, and why they are not usable."""
        last = line.segments[cut - 1] if cut else None
        reached = snapshot.zxid
        segments: list[SegmentName] = []
        for segment in line.chain(snapshot.zxid):
            is_before_cut = last is not None and segment.after_zxid <= last.after_zxid
            if (zxid is not None and reached >= zxid) or (
                time_ms is not None and segment.first_ms > time_ms and not is_before_cut
            ):
                return tuple(segments), ""
            segments.append(segment)
            reached = segment.last_zxid
        end = line.end.zxid
        wanted = end if zxid is None else min(zxid, end)
        # The times of missing txns are not known: the time must be before the last known one.
        is_within = (
            time_ms is not None
            and last is not None
            and segments
            and last.last_zxid <= reached
            and time_ms < segments[-1].last_ms
        )
        if reached < wanted and not is_within:
            return None, f"txns after zxid 0x{reached:x} are missing in timeline {line.number}"
        return tuple(segments), ""

    def _nearest_text(
        self,
        line: Line,
        usable: list[SnapshotName],
        zxid: int | None,
        time_ms: int | None,
    ) -> str:
        """Return which states next to a moment the archive has."""
        nearest = []
        if usable:
            before = usable[-1].zxid
            for segment in line.chain(before):
                if (zxid is not None and segment.last_zxid > zxid) or (
                    time_ms is not None and segment.last_ms > time_ms
                ):
                    break
                before = segment.last_zxid
            nearest.append(f"zxid 0x{before:x} before it")
        snapshots = [each for other in self.lines for each in other.snapshots]
        later = [
            each.zxid
            for each in snapshots
            if (zxid is not None and each.zxid > zxid)
            or (time_ms is not None and each.time_ms > time_ms)
        ]
        if later:
            nearest.append(f"zxid 0x{min(later):x} after it")
        if not nearest:
            return "To see what it has, run: zoolet archive check"
        return f"The nearest states are {' and '.join(nearest)}."

    def range_text(self) -> str:
        """Return which states the archive has, for messages."""
        parts = []
        for line in self.lines:
            first = min((each.zxid for each in line.snapshots), default=line.timeline.base_zxid)
            parts.append(f"0x{first:x} to 0x{line.end.zxid:x}")
        return f"zxids {', '.join(parts)}" if parts else "none"


def abandoned_text(found: Abandoned) -> str:
    """Return which txns a server abandoned, for messages."""
    return (
        f"it abandoned the txns of timeline {found.timeline} after zxid 0x{found.after_zxid:x} up"
        f" to 0x{found.until_zxid:x}; timeline {found.following} continues from there"
    )


def _further(one: SegmentName, other: SegmentName) -> SegmentName:
    return other if other.last_zxid > one.last_zxid else one


def _is_usable(snapshot: SnapshotName, line: Line, cut: int, time_ms: int) -> bool:
    """Return whether all txns of a snapshot count for a time; ``cut`` is that of ``cut_at``."""
    segments = line.segments
    if cut and snapshot.zxid <= segments[cut - 1].after_zxid:
        return True
    if snapshot.time_ms > time_ms:
        return False
    before = segments[cut - 1].last_zxid if cut else 0
    return cut == len(segments) or snapshot.zxid <= max(before, segments[cut].after_zxid)


def _text(zxid: int | None, time_ms: int | None) -> str:
    if zxid is not None:
        return f"zxid 0x{zxid:x}"
    return "the end" if time_ms is None else f"the time {_time_text(time_ms)}"


def _time_text(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
