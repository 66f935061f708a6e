"""The archiver continues after a kill or a failure of the store at any point, without a gap."""

import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.archiving import (
    ArchiverRun,
    Killed,
    MemoryPlace,
    RandomFaults,
    archive_in,
)
from tests.support.histories import History, state_of
from tests.support.writer import DISK, Writer
from zoolet.archive.checking.checking import check_archive
from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.names import SegmentName, parse_name
from zoolet.archive.format.records import Reason
from zoolet.archive.reading.archive_source import ArchiveSource
from zoolet.archive.reading.source import AbandonedTxns
from zoolet.archive.store.catalog import Abandoned, MissingTxnsError
from zoolet.archive.store.store import Store
from zoolet.archive.writing.ownership import LostOwnershipError
from zoolet.archive.writing.retention import Rules, retain
from zoolet.archive.writing.retrying import Retrier, Stopping
from zoolet.archive.writing.snapshots import HOUR_MS
from zoolet.archive.writing.sources import DirectorySource
from zoolet.archive.writing.status import State, Status
from zoolet.storage.recovery import ALL, AsOf
from zoolet.storage.retention import Retention
from zoolet.storage.snapshots import Image, write_snapshot
from zoolet.storage.txn_log import encode_record


def problems_of(place: MemoryPlace) -> list[str]:
    findings = check_archive(Store("memory", place=place))
    return [f"{each.kind} {each.text}" for each in findings if each.is_problem]


def test_every_state_of_a_directory_is_archived(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    states = {0: state_of(Writer(tmp_path / "new").machine) | {"zxid": 0, "sessions": {}}}
    place = MemoryPlace()
    for number in range(10):
        writer.create(f"/{number}")
        states[writer.machine.zxid] = state_of(writer.machine)
        if number % 3 == 0:
            ArchiverRun(place, DirectorySource(writer.directories)).run()
        if number == 5:
            writer.snapshot()
    ArchiverRun(place, DirectorySource(writer.directories)).run()
    assert problems_of(place) == []
    archive = archive_in(place)
    for zxid, state in states.items():
        if zxid:
            assert state_of(ArchiveSource(archive).state_at(AsOf(zxid=zxid)).machine) == state


def test_without_new_txns_nothing_is_uploaded(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    place = MemoryPlace()
    ArchiverRun(place, DirectorySource(writer.directories)).run()
    before = {name for name in place.objects if not name.startswith("owners/")}
    ArchiverRun(place, DirectorySource(writer.directories)).run()
    assert {name for name in place.objects if not name.startswith("owners/")} == before


def test_a_snapshot_that_has_later_txns_is_not_archived_as_it_is(tmp_path: Path) -> None:
    """Apache ZooKeeper writes a snapshot while it applies txns."""
    writer, place = Writer(tmp_path), MemoryPlace()
    writer.create("/a")
    early = writer.machine.zxid
    writer.log.roll()
    writer.create("/b", "/c")
    name = write_snapshot(DISK, writer.directories.snapshots, Image.of(writer.machine))
    name.rename(name.with_name(f"snapshot.{early:x}"))
    states = {writer.machine.zxid: state_of(writer.machine)}
    for hour in range(3):
        hours = partial(int, 1_700_000_000_000 + hour * HOUR_MS)
        ArchiverRun(place, DirectorySource(writer.directories), now_ms=hours).run()
        writer.create(f"/hour-{hour}")
        states[writer.machine.zxid] = state_of(writer.machine)
    ArchiverRun(place, DirectorySource(writer.directories), now_ms=lambda: 0).run()
    archive = archive_in(place)
    snapshots = archive.catalog().lines[0].snapshots
    assert len(snapshots) > 2
    for zxid, state in states.items():
        for plan in archive.catalog().plans(zxid=zxid):
            recovery = ArchiveSource(archive).recover(plan, AsOf(zxid=zxid))
            assert state_of(recovery.machine) == state


def test_removed_logs_begin_a_timeline_and_are_reported(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    place = MemoryPlace()
    ArchiverRun(place, DirectorySource(writer.directories)).run()
    archived = writer.machine.zxid
    writer.create("/a")
    writer.snapshot()
    writer.create("/b")
    writer.snapshot()
    Retention(DISK, writer.directories, 1).purge()
    run = ArchiverRun(place, DirectorySource(writer.directories))
    run.run()
    assert run.status.gaps == 1
    (gap,) = archive_in(place).catalog().gaps()
    assert (gap.reason, gap.before.zxid) == (Reason.MISSING_LOGS, archived)
    (problem,) = problems_of(place)
    assert problem.startswith("GAP")


def test_a_directory_that_was_restored_to_an_older_state_begins_a_timeline(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "data")
    writer.create("/a", "/b")
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    writer.create("/c")
    place = MemoryPlace()
    ArchiverRun(place, DirectorySource(writer.directories)).run()
    end = writer.machine.zxid
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "copy").rename(tmp_path / "data")
    ArchiverRun(place, DirectorySource(writer.directories)).run()
    catalog = archive_in(place).catalog()
    assert catalog.lines[-1].timeline.reason is Reason.TRUNCATED
    assert catalog.gaps() == []
    assert catalog.abandoned() == [Abandoned(1, 2, end - 1, end)]
    assert problems_of(place) == []
    found = list(ArchiveSource(archive_in(place)).txns(ALL, ALL))
    assert AbandonedTxns(end - 1, end) in found
    with pytest.raises(ArchiveError, match="was set back"):
        ArchiveSource(archive_in(place)).state_at(AsOf(zxid=end))


@pytest.mark.parametrize("seed", range(3))
def test_each_state_of_a_server_that_is_set_back_is_in_the_archive(
    seed: int, tmp_path: Path
) -> None:
    """By time, each state that the server ever had; by zxid, those of the newest timeline."""
    chance = random.Random(seed)
    place, data, copy = MemoryPlace(), tmp_path / "data", tmp_path / "copy"
    writer = Writer(data)
    writer.create("/stays")
    shutil.copytree(data, copy)
    by_time: dict[int, dict[str, object]] = {}
    by_zxid: dict[int, dict[str, object]] = {}
    time_ms = 1000
    for number in range(40):
        time_ms += 10
        writer.time_ms = time_ms
        writer.create(f"/{number}")
        by_time[time_ms] = by_zxid[writer.machine.zxid] = state_of(writer.machine)
        if chance.random() < 0.2:
            writer.snapshot()
        if chance.random() < 0.15:
            shutil.rmtree(copy)
            shutil.copytree(data, copy)
        if chance.random() < 0.2:
            ArchiverRun(place, DirectorySource(writer.directories), now_ms=lambda: 0).run()
        if chance.random() < 0.15:
            ArchiverRun(place, DirectorySource(writer.directories), now_ms=lambda: 0).run()
            shutil.rmtree(data)
            shutil.copytree(copy, data)
            writer = Writer.reopened(data)
    ArchiverRun(place, DirectorySource(writer.directories), now_ms=lambda: 0).run()
    source = ArchiveSource(archive_in(place))
    assert problems_of(place) == []
    assert len(archive_in(place).catalog().lines) > 1
    for at, state in by_time.items():
        assert state_of(source.state_at(AsOf(time_ms=at)).machine) == state
    for zxid in range(3, writer.machine.zxid + 1):
        assert state_of(source.state_at(AsOf(zxid=zxid)).machine) == by_zxid[zxid]


def test_an_owner_that_sees_a_newer_one_stops_before_its_next_upload(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    place = MemoryPlace()
    old = ArchiverRun(place, DirectorySource(writer.directories))
    ArchiverRun(place, DirectorySource(writer.directories)).run()
    with pytest.raises(LostOwnershipError):
        old.ownership.refresh()
    writer.create("/a")
    before = set(place.objects)
    with pytest.raises(LostOwnershipError):
        old.run()
    assert set(place.objects) == before


class _World:
    """A server, its archive, and the states that the server had."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.chance = random.Random(seed)
        self.directory = directory
        self.place = MemoryPlace()
        self.faults = RandomFaults(self.place, self.chance)
        self.now_ms = 1_700_000_000_000
        self.states: dict[int, list[dict[str, object]]] = {}
        self.uncertain = 0
        self._begin(Writer(directory))

    def _begin(self, writer: Writer) -> None:
        self.writer = writer
        # It stays, so after a gap, too, the archive is known to be one of this server.
        writer.create("/stays")
        self.history = History(self.chance, writer.machine, prefix="h")
        self.note()

    def note(self) -> None:
        machine = self.writer.machine
        self.states.setdefault(machine.zxid, []).append(state_of(machine))

    def step(self) -> None:
        actions: list[tuple[float, Callable[[], None]]] = [
            (0.6, self.change),
            (0.75, self.archive),
            (0.9, self.snapshot),
            (0.97, self.purge),
            (1.0, self.hour),
        ]
        chance = self.chance.random()
        next(action for limit, action in actions if chance < limit)()

    def change(self) -> None:
        for _ in range(self.chance.randrange(1, 8)):
            txn = self.history.step()
            self.writer.log.append(txn.header.zxid, encode_record(txn))
            self.note()

    def snapshot(self) -> None:
        self.writer.snapshot()

    def purge(self) -> None:
        Retention(DISK, self.writer.directories, 2).purge()

    def hour(self) -> None:
        self.now_ms += 3_600_000

    def archive(self) -> None:
        try:
            run = ArchiverRun(
                self.place, DirectorySource(self.writer.directories), now_ms=lambda: self.now_ms
            )
            run.run()
        except Killed:
            pass

    def check(self) -> None:
        """Each state that the catalog gives is one that the server had; only gaps are missing."""
        self.faults.is_on = False
        self.archive()
        problems = problems_of(self.place)
        assert [each for each in problems if not each.startswith("GAP")] == []
        archive = archive_in(self.place)
        catalog = archive.catalog()
        gaps = catalog.gaps()
        for zxid in self.chance.sample(sorted(self.states), min(15, len(self.states))):
            states = self.states[zxid]
            is_in_gap = any(gap.before.zxid < zxid < gap.after.zxid for gap in gaps)
            try:
                plans = list(catalog.plans(zxid=zxid))
            except MissingTxnsError:
                assert is_in_gap or zxid < catalog.lines[0].timeline.base_zxid
                continue
            for plan in self.chance.sample(plans, min(2, len(plans))):
                recovery = ArchiveSource(archive).recover(plan, AsOf(zxid=zxid))
                assert state_of(recovery.machine) in states
        assert catalog.end is not None
        assert catalog.end.zxid == self.writer.machine.zxid


@pytest.mark.parametrize("seed", range(8))
def test_random_faults_lose_nothing(seed: int, tmp_path: Path) -> None:
    world = _World(seed, tmp_path)
    for _ in range(40):
        world.step()
    world.check()


def test_segments_have_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoolet.archive.writing.uploader.SEGMENT_BYTES", 100)
    writer = Writer(tmp_path)
    writer.create(*(f"/{number}" for number in range(10)))
    place = MemoryPlace()
    ArchiverRun(place, DirectorySource(writer.directories), now_ms=lambda: 100).run()
    segments = [parse_name(name) for name in place.objects]
    assert len([each for each in segments if isinstance(each, SegmentName)]) > 3
    assert problems_of(place) == []


def test_a_directory_without_a_readable_snapshot_is_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for path in writer.directories.snapshots.glob("snapshot.*"):
        path.write_bytes(b"damaged")
    writer.logs()[0].rename(writer.directories.logs / "log.5")
    with pytest.raises(ArchiveError, match="no snapshot that can be read"):
        ArchiverRun(MemoryPlace(), DirectorySource(writer.directories)).run()


def test_a_lost_timeline_object_stops_the_archiver(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "data")
    place = MemoryPlace()
    for name in "ab":
        writer.create(f"/{name}")
        ArchiverRun(place, DirectorySource(writer.directories)).run()
        shutil.rmtree(tmp_path / "data")
        writer = Writer(tmp_path / "data")
    (lost, _) = (name for name in place.objects if name.startswith("timelines/"))
    del place.objects[lost]
    before = set(place.objects)
    with pytest.raises(ArchiveError, match=lost):
        ArchiverRun(place, DirectorySource(writer.directories)).run()
    assert {name for name in before if not name.startswith("owners/")} <= set(place.objects)


def test_without_new_txns_retention_makes_no_gap(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.create("/a", "/b")
    place = MemoryPlace()
    source = DirectorySource(writer.directories)
    for hour in range(3):
        run = ArchiverRun(place, source, now_ms=partial(int, hour * HOUR_MS))
        run.run()
    retain(
        run.archive, run.ownership, Retrier(Stopping(60), Status()), Rules(1, 1), 1 << 40, 1 << 40
    )
    assert not any(name.startswith("txns/") for name in place.objects)
    writer.snapshot()
    writer.logs()[0].unlink()
    writer.create("/c")
    run = ArchiverRun(place, source)
    run.run()
    assert run.status.gaps == 0
    assert problems_of(place) == []
    assert len(archive_in(place).catalog().lines) == 1
    recovery = ArchiveSource(archive_in(place)).state_at(AsOf())
    assert state_of(recovery.machine) == state_of(writer.machine)


@pytest.mark.parametrize("seed", range(12))
def test_another_server_with_the_same_zxids_never_continues_the_archive(
    seed: int, tmp_path: Path
) -> None:
    """The archiver stops, tells what to do, and leaves the archive as it is."""
    chance = random.Random(seed)
    place = MemoryPlace()
    writer = Writer(tmp_path / "a")
    num_txns = chance.randrange(1, 5)
    writer.create(*(f"/a{number}" for number in range(num_txns)))
    if chance.random() < 0.5:  # the timeline begins at the last txn
        writer.snapshot()
        writer.logs()[0].unlink()
        for path in writer.directories.snapshots.glob("snapshot.0"):
            path.unlink()
    ArchiverRun(place, DirectorySource(writer.directories)).run()
    before = {name: data for name, data in place.objects.items() if "owners/" not in name}
    other = Writer(tmp_path / "b", session=78)
    other.create(*(f"/b{number}" for number in range(num_txns)))
    if chance.random() < 0.7:
        other.snapshot()
        if chance.random() < 0.5:
            other.logs()[0].unlink()
    other.create(*(f"/later{number}" for number in range(chance.randrange(3))))
    for _ in range(2):
        with pytest.raises(ArchiveError, match="new folder or prefix"):
            ArchiverRun(place, DirectorySource(other.directories)).run()
    assert {name: place.objects[name] for name in before} == before
    assert len(before) == len([name for name in place.objects if "owners/" not in name])


def test_the_same_server_continues_the_archive_without_an_equal_txn(tmp_path: Path) -> None:
    """The first archived state is its last txn; later its files only have a newer snapshot."""
    writer = Writer(tmp_path)
    writer.create("/a", "/b")
    writer.snapshot()
    writer.logs()[0].unlink()
    for path in writer.directories.snapshots.glob("snapshot.0"):
        path.unlink()
    place = MemoryPlace()
    ArchiverRun(place, DirectorySource(writer.directories)).run()
    writer.create("/c")
    old = min(writer.directories.snapshots.glob("snapshot.*"))
    writer.snapshot()
    old.unlink()
    writer.create("/d")
    ArchiverRun(place, DirectorySource(writer.directories)).run()
    assert len(archive_in(place).catalog().lines) == 1
    assert problems_of(place) == []
    recovery = ArchiveSource(archive_in(place)).state_at(AsOf())
    assert state_of(recovery.machine) == state_of(writer.machine)


def test_the_state_is_waiting_while_the_source_is_not_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(tmp_path)
    source, place = DirectorySource(writer.directories), MemoryPlace()
    ArchiverRun(place, source).run()
    states: list[State] = []
    answers = [True]
    run = ArchiverRun(place, source)
    monkeypatch.setattr(source, "is_current", lambda: answers.pop() if answers else False)
    change = run.status.change

    def noted(state: State) -> None:
        states.append(state)
        change(state)

    monkeypatch.setattr(run.status, "change", noted)
    run.run()
    assert states == [State.ARCHIVING, State.WAITING, State.STOPPED]
