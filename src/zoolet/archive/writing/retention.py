"""What an archive keeps: every txn for some days, then a snapshot per hour, then one per day.

Invariant: every zxid of the last ``txn_days`` days can be restored. The newest snapshot before this
time stays, and all txns after it. ``Timeline.txns_after`` is raised before txns are removed, so
that a check can distinguish removed txns from missing ones.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from zoolet.archive.errors import DamagedObjectError
from zoolet.archive.format.clock_steps import is_step
from zoolet.archive.format.log_records import EncodedTxn
from zoolet.archive.format.names import SegmentName, SnapshotName, TimelineName, parse_name
from zoolet.archive.store.archive import Archive
from zoolet.archive.store.catalog import Catalog, Line
from zoolet.archive.writing.ownership import Ownership
from zoolet.archive.writing.retrying import Retrier
from zoolet.archive.writing.status import log

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_MERGE_DELAY_MS: Final = 300_000
_MERGED_BYTES: Final = 64 << 20
"""The most bytes that merged segments have together, as stored."""


class Rules(NamedTuple):
    """How long an archive keeps its objects.

    Attributes:
        txn_days: every txn is kept for this number of days.
        hourly_days: one snapshot per hour is kept for this number of days; then one per day.
    """

    txn_days: int
    hourly_days: int


class RemovalClock:
    """The time for removals: a clock that jumps forward must not remove new txns.

    It is the newest archived time, plus the time that has passed since then in this process. It is
    never after the clock of the machine.
    """

    def __init__(
        self, now_ms: Callable[[], int], monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._now_ms = now_ms
        self._monotonic_s = monotonic_s
        self._limit_ms = 0
        self._at_s = monotonic_s()

    def now_ms(self, archived_ms: int) -> int:
        """Return the time; ``archived_ms`` is the newest archived time. In ms since the epoch."""
        at_s = self._monotonic_s()
        passed_ms = int((at_s - self._at_s) * 1000)
        self._at_s = at_s
        self._limit_ms = max(archived_ms, self._limit_ms + passed_ms)
        return min(self._now_ms(), self._limit_ms)


class Removal(NamedTuple):
    """What can be removed from a timeline.

    Attributes:
        txns_after: the txns that remain begin after this zxid.
        names: the objects to remove.
    """

    txns_after: int
    names: list[SegmentName | SnapshotName]


def removal_of(line: Line, rules: Rules, now_ms: int) -> Removal:
    """Return what the rules allow to remove from a timeline."""
    begin_ms = now_ms - rules.txn_days * _DAY_MS
    before = [each for each in line.snapshots if each.time_ms <= begin_ms]
    if not before:
        return Removal(line.timeline.txns_after, [])
    base = before[-1]
    names: list[SegmentName | SnapshotName] = [
        each for each in line.segments if each.last_zxid <= base.zxid
    ]
    kept_periods: set[int] = set()
    for snapshot in reversed(before[:-1]):
        is_old = snapshot.time_ms <= now_ms - rules.hourly_days * _DAY_MS
        length_ms = _DAY_MS if is_old else _HOUR_MS
        # Negative, so that an hour and a day are never the same period.
        period = -(snapshot.time_ms // length_ms) - 1 if is_old else snapshot.time_ms // length_ms
        if period in kept_periods:
            names.append(snapshot)
        kept_periods.add(period)
    return Removal(max(line.timeline.txns_after, base.zxid), names)


def groups_to_merge(
    line: Line, sizes: dict[str, int], now_ms: int, most_bytes: int = _MERGED_BYTES
) -> Iterator[list[SegmentName]]:
    """Yield groups of adjacent segments of an hour that is over, each to be merged into one.

    An hour of the future, which a clock that is ahead made, is over if txns of another hour follow.
    """
    group: list[SegmentName] = []
    size_bytes = 0
    for segment in line.chain(line.timeline.txns_after):
        hour = segment.last_ms // _HOUR_MS
        own_bytes = sizes.get(str(segment), 0)
        if group and (
            hour != _hour_of(group)
            or is_step(group[-1].last_ms, segment.first_ms)
            or size_bytes + own_bytes > most_bytes
        ):
            is_left = hour != _hour_of(group) and group[-1].last_ms > now_ms + _DAY_MS
            if len(group) > 1 and (is_left or _is_over(group, now_ms)):
                yield group
            group, size_bytes = [], 0
        group.append(segment)
        size_bytes += own_bytes
    if len(group) > 1 and _is_over(group, now_ms):
        yield group


def _hour_of(group: list[SegmentName]) -> int:
    return group[-1].last_ms // _HOUR_MS


def _is_over(group: list[SegmentName], now_ms: int) -> bool:
    return (_hour_of(group) + 1) * _HOUR_MS + _MERGE_DELAY_MS <= now_ms


def retain(
    archive: Archive,
    ownership: Ownership,
    retrier: Retrier,
    rules: Rules,
    now_ms: int,
    removal_ms: int,
) -> None:
    """Remove what the rules allow at ``removal_ms``, and merge segments; raises StoppedError."""
    catalog = retrier.call("reading the catalog", archive.catalog)
    for line in catalog.lines:
        _remove(archive, ownership, retrier, line, removal_of(line, rules, removal_ms))
    _remove_orphans(archive, ownership, retrier, catalog)
    catalog = retrier.call("reading the catalog", archive.catalog)
    sizes = retrier.call("reading the catalog", lambda: archive.store.sizes("txns/"))
    for line in catalog.lines:
        for group in groups_to_merge(line, sizes, now_ms):
            merged = group[0]._replace(last_zxid=group[-1].last_zxid, last_ms=group[-1].last_ms)
            try:
                _write_merged(archive, ownership, retrier, merged, group)
            except DamagedObjectError as error:
                log.error("segments are not merged: %s Run: zoolet archive check", error)
                continue
            covered = [each for each in line.segments if _is_within(each, merged)]
            _delete(archive, ownership, retrier, covered)


def _is_within(segment: SegmentName, merged: SegmentName) -> bool:
    return (
        segment != merged
        and segment.after_zxid >= merged.after_zxid
        and segment.last_zxid <= merged.last_zxid
    )


def _write_merged(
    archive: Archive,
    ownership: Ownership,
    retrier: Retrier,
    merged: SegmentName,
    group: list[SegmentName],
) -> None:
    def write() -> None:
        ownership.check()
        records = (txn.encoded for txn in _txns(archive, group))
        archive.store.write(str(merged), retrier.ending(records))

    retrier.call(f"writing {merged}", write)


def _txns(archive: Archive, group: Iterable[SegmentName]) -> Iterator[EncodedTxn]:
    reached = -1
    for segment in group:
        for txn in archive.txns(segment):
            if txn.zxid > reached:
                yield txn
                reached = txn.zxid


def _remove(
    archive: Archive, ownership: Ownership, retrier: Retrier, line: Line, removal: Removal
) -> None:
    if removal.txns_after > line.timeline.txns_after:
        changed = line.timeline._replace(txns_after=removal.txns_after)
        name = str(TimelineName(line.number))

        def write() -> None:
            ownership.check()
            archive.store.write(name, [changed.encode()])

        retrier.call(f"writing {name}", write)
    _delete(archive, ownership, retrier, removal.names)


def _remove_orphans(
    archive: Archive, ownership: Ownership, retrier: Retrier, catalog: Catalog
) -> None:
    """Remove snapshots of timelines whose object was never written, because of a kill.

    A kill leaves one snapshot and no txns. Several snapshots, or txns, belong to a timeline whose
    object was lost: they stay.
    """
    known = {line.number for line in catalog.lines}
    newest = max(known, default=0)
    names = retrier.call("reading the catalog", archive.store.names)
    found = [parse_name(name) for name in names]
    parts = [each for each in found if isinstance(each, (SegmentName, SnapshotName))]
    num_parts = Counter(each.timeline for each in parts)
    # A newer timeline may be about to begin.
    orphans = [
        each
        for each in parts
        if isinstance(each, SnapshotName)
        and each.timeline not in known
        and each.timeline < newest
        and num_parts[each.timeline] == 1
    ]
    _delete(archive, ownership, retrier, orphans)


def _delete(
    archive: Archive,
    ownership: Ownership,
    retrier: Retrier,
    names: Iterable[SegmentName | SnapshotName],
) -> None:
    for name in names:

        def delete(name: SegmentName | SnapshotName = name) -> None:
            ownership.check()
            archive.store.delete(str(name))

        retrier.call(f"deleting {name}", delete)
