"""Retention: every zxid of the txn days can be restored; older snapshots become fewer."""

import random
from functools import partial
from pathlib import Path

import pytest

from tests.support.archiving import ArchiverRun, MemoryPlace, archive_in
from tests.support.writer import Writer
from zoolet.archive.checking.checking import check_archive
from zoolet.archive.format.names import (
    ObjectName,
    SegmentName,
    SnapshotName,
    TimelineName,
    parse_name,
)
from zoolet.archive.format.records import Reason, Timeline
from zoolet.archive.store.catalog import Catalog, Line
from zoolet.archive.store.store import Store
from zoolet.archive.writing.retention import (
    RemovalClock,
    Rules,
    groups_to_merge,
    removal_of,
    retain,
)
from zoolet.archive.writing.retrying import Retrier, Stopping
from zoolet.archive.writing.sources import DirectorySource
from zoolet.archive.writing.status import Status

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
RULES = Rules(txn_days=7, hourly_days=30)


def hourly_line(days: int) -> Line:
    """Return a timeline with a snapshot each hour, and two segments of 10 txns between them."""
    snapshots, segments = [SnapshotName(1, 0, 0)], []
    for hour in range(days * 24):
        first, last = hour * 20, hour * 20 + 20
        begin_ms, end_ms = hour * HOUR_MS, (hour + 1) * HOUR_MS
        segments.append(SegmentName(1, first, first + 10, begin_ms + 1, begin_ms + 1000))
        segments.append(SegmentName(1, first + 10, last, begin_ms + 2000, end_ms - 1))
        snapshots.append(SnapshotName(1, last, end_ms))
    return Line(1, Timeline(0, Reason.START, None, 0, 0), snapshots, segments)


def test_what_remains_of_60_days() -> None:
    line = hourly_line(60)
    now_ms = 60 * DAY_MS
    removal = removal_of(line, RULES, now_ms)
    segments = [each for each in line.segments if each not in removal.names]
    snapshots = [each for each in line.snapshots if each not in removal.names]
    assert segments[0].after_zxid == removal.txns_after == 53 * 24 * 20
    assert len(segments) == 7 * 24 * 2
    ages_ms = [now_ms - each.time_ms for each in snapshots]
    assert len([each for each in ages_ms if each <= 7 * DAY_MS]) == 7 * 24 + 1
    assert len([each for each in ages_ms if 7 * DAY_MS < each < 30 * DAY_MS]) == 23 * 24 - 1
    assert len([each for each in ages_ms if each >= 30 * DAY_MS]) in {30, 31}


@pytest.mark.parametrize("seed", range(20))
def test_each_zxid_of_the_txn_days_can_be_restored(seed: int) -> None:
    chance = random.Random(seed)
    line = hourly_line(12)
    line = Line(1, line.timeline, chance.sample(line.snapshots, 40), line.segments)
    now_ms = 12 * DAY_MS + chance.randrange(3 * DAY_MS)
    removal = removal_of(line, RULES, now_ms)
    names: list[ObjectName] = [*line.snapshots, *line.segments]
    left = [str(name) for name in names if name not in removal.names]
    timeline = line.timeline._replace(txns_after=removal.txns_after)
    catalog = Catalog(left, {1: timeline})
    assert catalog.lines[0].holes() == []
    assert any(each.zxid == removal.txns_after for each in line.snapshots) or not removal.names
    first_ms = min(each.time_ms for each in line.snapshots)
    for segment in line.segments:
        if segment.last_ms >= max(first_ms, now_ms - 7 * DAY_MS):
            assert next(catalog.plans(zxid=segment.last_zxid))


def test_segments_of_finished_hours_are_merged() -> None:
    line = hourly_line(1)
    sizes = {str(each): 100 for each in line.segments}
    groups = list(groups_to_merge(line, sizes, now_ms=10 * HOUR_MS + HOUR_MS // 2))
    assert [len(group) for group in groups] == [2] * 10
    assert list(groups_to_merge(line, sizes, now_ms=10 * HOUR_MS, most_bytes=150)) == []
    assert len(list(groups_to_merge(line, sizes, now_ms=10 * HOUR_MS))) == 9


def test_merged_segments_replace_the_small_ones(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    place = MemoryPlace()
    hours = iter(range(100))
    for number in range(6):
        writer.create(f"/{number}")
        ArchiverRun(place, DirectorySource(writer.directories), now_ms=lambda: 100).run()
    before = [each for each in map(parse_name, place.objects) if isinstance(each, SegmentName)]
    assert len(before) == 6
    run = ArchiverRun(
        place,
        DirectorySource(writer.directories),
        now_ms=lambda: 1_700_000_000_000 + next(hours) * HOUR_MS,
    )
    run.run()
    after = [each for each in map(parse_name, place.objects) if isinstance(each, SegmentName)]
    assert [(each.after_zxid, each.last_zxid) for each in after] == [(0, before[-1].last_zxid)]
    archive = archive_in(place)
    assert [txn.zxid for txn in archive.txns(after[0])] == list(range(1, 8))
    assert not any(each.is_problem for each in check_archive(Store("memory", place=place)))


def test_only_the_snapshot_of_a_killed_archiver_is_removed_as_an_orphan(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    place = MemoryPlace()
    writer.create("/a")
    ArchiverRun(place, DirectorySource(writer.directories)).run()
    archive = archive_in(place)
    line = archive.catalog().lines[0]
    fourth = TimelineName(4)
    archive.store.write(str(fourth), [line.timeline.encode()])
    kept = [SegmentName(1, 5, 9, 5, 9), SnapshotName(1, 5, 5)]
    kept += [SnapshotName(2, 5, 5), SnapshotName(2, 6, 6)]
    orphan = SnapshotName(3, 5, 5)
    del place.objects[str(TimelineName(1))]
    for name in (*kept, orphan):
        archive.store.write(str(name), [b""])
    run = ArchiverRun(place, DirectorySource(writer.directories))
    retain(archive, run.ownership, Retrier(Stopping(60), Status()), RULES, 100, 100)
    assert {str(name) for name in kept} <= place.objects.keys()
    assert str(orphan) not in place.objects


def test_a_clock_that_jumps_removes_no_new_txns(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    place = MemoryPlace()
    source = DirectorySource(writer.directories)
    for hour in range(5):
        writer.time_ms = hour * HOUR_MS
        writer.create(f"/{hour}")
        ArchiverRun(place, source, RULES, partial(int, hour * HOUR_MS)).run()
    snapshots = {name for name in place.objects if name.startswith("snapshots/")}
    for now_ms in (400 * DAY_MS, 400 * DAY_MS + HOUR_MS):
        ArchiverRun(place, source, RULES, partial(int, now_ms)).run()
    assert snapshots <= place.objects.keys()
    catalog = archive_in(place).catalog()
    assert catalog.lines[0].timeline.txns_after == catalog.lines[0].timeline.base_zxid
    assert all(next(catalog.plans(zxid=zxid)) for zxid in range(1, writer.machine.zxid + 1))


@pytest.mark.parametrize("seed", range(10))
def test_the_time_for_removals_follows_the_archive_and_the_passed_time(seed: int) -> None:
    chance = random.Random(seed)
    real_ms = 1_700_000_000_000
    archived_ms = real_ms
    jump_ms = 0
    clock = RemovalClock(lambda: real_ms + jump_ms, lambda: real_ms / 1000)
    clock.now_ms(archived_ms)
    for _ in range(50):
        real_ms += chance.randrange(DAY_MS)
        if chance.random() < 0.5:
            archived_ms = real_ms
        jump_ms = chance.choice([0, 0, 400 * DAY_MS, -DAY_MS])
        found_ms = clock.now_ms(archived_ms)
        assert real_ms - max(0, -jump_ms) - 100 <= found_ms <= real_ms
