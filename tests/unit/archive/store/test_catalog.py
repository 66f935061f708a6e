"""The catalog: which objects give the state at a moment; holes and gaps; against a simple model."""

import random
from collections.abc import Iterable
from typing import NamedTuple

import pytest

from zoolet.archive.format.names import ObjectName, SegmentName, SnapshotName
from zoolet.archive.format.records import Previous, Reason, Timeline
from zoolet.archive.store.catalog import Catalog, Hole, MissingTxnsError, Moment

FIRST = Timeline(0, Reason.START, None, 1000, 0)


def catalog_of(names: Iterable[ObjectName], timelines: dict[int, Timeline]) -> Catalog:
    return Catalog([str(name) for name in names], timelines)


def simple() -> Catalog:
    """Snapshots at 0 and 20, segments of ten txns, one txn each 10 ms."""
    names: list[ObjectName] = [SnapshotName(1, 0, 1000), SnapshotName(1, 20, 1200)]
    names += [SegmentName(1, at, at + 10, 1010 + at * 10, 1100 + at * 10) for at in (0, 10, 20)]
    return catalog_of(names, {1: FIRST})


def test_the_newest_snapshot_before_a_zxid_and_the_segments_after_it() -> None:
    plans = list(simple().plans(zxid=25))
    assert [plan.snapshot.zxid for plan in plans] == [20, 0]
    assert [[each.after_zxid for each in plan.segments] for plan in plans] == [[20], [0, 10, 20]]


def test_a_zxid_at_a_snapshot_needs_no_segment() -> None:
    plan = next(simple().plans(zxid=20))
    assert (plan.snapshot.zxid, plan.segments) == (20, ())


def test_a_time_in_a_segment_needs_this_segment() -> None:
    plan = next(simple().plans(time_ms=1150))
    assert plan.snapshot.zxid == 0
    assert [each.after_zxid for each in plan.segments] == [0, 10]


def test_without_a_moment_the_end_counts() -> None:
    catalog = simple()
    plan = next(catalog.plans())
    assert plan.snapshot.zxid == 20
    assert [each.last_zxid for each in plan.segments] == [30]
    assert catalog.end == Moment(30, 1300)


def test_a_missing_segment_is_a_hole_and_its_states_are_refused() -> None:
    names: list[ObjectName] = [SnapshotName(1, 0, 1000)]
    names += [SegmentName(1, 0, 10, 1001, 1010), SegmentName(1, 20, 30, 1021, 1030)]
    catalog = catalog_of(names, {1: FIRST})
    assert catalog.lines[0].holes() == [Hole(1, 10, 20)]
    assert next(catalog.plans(zxid=10)).snapshot.zxid == 0
    for zxid in (11, 25, 30):
        with pytest.raises(MissingTxnsError, match="missing"):
            list(catalog.plans(zxid=zxid))


def test_a_missing_segment_at_the_end_of_an_epoch_is_seen() -> None:
    names: list[ObjectName] = [SnapshotName(1, 0, 1000)]
    names += [SegmentName(1, 0, 10, 1001, 1010)]
    names += [SegmentName(1, 12, (1 << 32) + 5, 1021, 1030)]
    assert catalog_of(names, {1: FIRST}).lines[0].holes() == [Hole(1, 10, 12)]


def test_a_moment_in_a_gap_is_refused_with_its_neighbours() -> None:
    names: list[ObjectName] = [SnapshotName(1, 0, 1000), SegmentName(1, 0, 10, 1001, 1010)]
    names += [SnapshotName(2, 50, 2000), SegmentName(2, 50, 60, 2001, 2010)]
    second = Timeline(50, Reason.SNAPSHOT, Previous(1, 10, 1010), 2000, 50)
    catalog = catalog_of(names, {1: FIRST, 2: second})
    assert [(gap.before.zxid, gap.after.zxid) for gap in catalog.gaps()] == [(10, 50)]
    for moment in ({"zxid": 30}, {"time_ms": 1500}):
        with pytest.raises(MissingTxnsError, match=r"0xa .* 0x32 "):
            list(catalog.plans(**moment))
    assert next(catalog.plans(zxid=10)).snapshot.timeline == 1
    assert next(catalog.plans(zxid=55)).snapshot.timeline == 2


def test_a_snapshot_of_the_last_archived_txn_is_no_gap() -> None:
    names: list[ObjectName] = [SnapshotName(1, 0, 1000), SegmentName(1, 0, 10, 1001, 1010)]
    names += [SnapshotName(2, 10, 2000)]
    second = Timeline(10, Reason.SNAPSHOT, Previous(1, 10, 1010), 2000, 10)
    assert catalog_of(names, {1: FIRST, 2: second}).gaps() == []


def test_the_newest_timeline_counts() -> None:
    names: list[ObjectName] = [SnapshotName(1, 0, 1000), SegmentName(1, 0, 10, 1001, 1010)]
    names += [SnapshotName(2, 5, 2000), SegmentName(2, 5, 12, 2001, 2010)]
    second = Timeline(5, Reason.TRUNCATED, Previous(1, 10, 1010), 2000, 5)
    catalog = catalog_of(names, {1: FIRST, 2: second})
    assert next(catalog.plans(zxid=7)).snapshot.timeline == 2
    assert next(catalog.plans(zxid=4)).snapshot.timeline == 1


def test_an_empty_archive_has_no_state() -> None:
    with pytest.raises(MissingTxnsError, match="empty"):
        list(catalog_of([], {}).plans())


class _Txn(NamedTuple):
    zxid: int
    time_ms: int


def random_txns(generator: random.Random) -> list[_Txn]:
    """Return txns in several epochs."""
    txns = [_Txn(0, 1000)]
    for _ in range(60):
        epoch, counter = divmod(txns[-1].zxid, 1 << 32)
        is_new = generator.random() < 0.1
        zxid = (epoch + 1 << 32) + 1 if is_new else (epoch << 32) + counter + 1
        txns.append(_Txn(zxid, txns[-1].time_ms + generator.randrange(1, 20)))
    return txns


def random_objects(generator: random.Random, txns: list[_Txn]) -> list[ObjectName]:
    """Return snapshots, and segments that overlap or are missing."""
    names: list[ObjectName] = [SnapshotName(1, 0, 1000)]
    names += [SnapshotName(1, *generator.choice(txns)) for _ in range(4)]
    at = 0
    while at < len(txns) - 1:
        end = min(len(txns) - 1, at + generator.randint(1, 8))
        first, last = txns[at + 1], txns[end]
        if generator.random() > 0.1:
            names.append(SegmentName(1, txns[at].zxid, last.zxid, first.time_ms, last.time_ms))
        at = end if generator.random() < 0.8 else max(at + 1, end - 2)
    return names


@pytest.mark.parametrize("seed", range(30))
def test_random_archives_give_each_state_or_refuse_it(seed: int) -> None:
    """The model knows which txns are in a segment."""
    generator = random.Random(seed)
    txns = random_txns(generator)
    names = random_objects(generator, txns)
    catalog = catalog_of(names, {1: FIRST})
    segments = [each for each in names if isinstance(each, SegmentName)]
    end = catalog.lines[0].end.zxid
    missing = [
        txn.zxid
        for txn in txns
        if txn.zxid <= end and not any(e.after_zxid < txn.zxid <= e.last_zxid for e in segments)
    ]

    def possible(zxid: int, needed: int) -> set[int]:
        snapshots = [each.zxid for each in catalog.lines[0].snapshots if each.zxid <= zxid]
        return {at for at in snapshots if not any(at < each <= needed for each in missing)}

    for number, txn in enumerate(txns):
        if txn.zxid > end:
            break
        following = txns[min(number + 1, len(txns) - 1)].zxid
        check_plans(catalog, {"zxid": txn.zxid}, possible(txn.zxid, txn.zxid), txn.zxid)
        # A missing txn may have the same time, so the txn after the time must be there too.
        check_plans(catalog, {"time_ms": txn.time_ms}, possible(txn.zxid, following), txn.zxid)


def check_plans(catalog: Catalog, moment: dict[str, int], possible: set[int], zxid: int) -> None:
    try:
        plans = list(catalog.plans(**moment))
    except MissingTxnsError:
        plans = []
    assert {plan.snapshot.zxid for plan in plans} == possible
    for plan in plans:
        reached = plan.snapshot.zxid
        for segment in plan.segments:
            assert segment.after_zxid <= reached < segment.last_zxid
            reached = segment.last_zxid
        assert reached >= zxid
