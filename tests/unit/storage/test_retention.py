"""Retention: what is needed to start from any kept snapshot stays."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.writer import DISK, Writer
from zoolet.model.acl import OPEN_ACL
from zoolet.model.stat import Stat
from zoolet.state_machine.tree import Tree
from zoolet.storage.compression import Compression, CompressionError
from zoolet.storage.disk import READ_BLOCK_BYTES, Disk, ReadableFile
from zoolet.storage.files import DataDirectories
from zoolet.storage.retention import Retention, checked_size
from zoolet.storage.snapshots import Image, SnapshotFile, write_snapshot

LONG_AGO = "snapshot.0 snapshot.5 snapshot.9 snapshot.f log.1 log.6 log.a log.10"


def put(directory: Path, name: str, *, is_whole: bool = True) -> Path:
    """Write a file of a data directory; a snapshot that is not whole lacks its last bytes."""
    kind, _, rest = name.partition(".")
    if kind != "snapshot":
        path = directory / name
        path.touch()
        return path
    zxid, _, suffix = rest.partition(".")
    image = Image(int(zxid, 16), Tree.fresh(), {})
    path = write_snapshot(DISK, directory, image, Compression(suffix))
    if not is_whole:
        path.write_bytes(path.read_bytes()[:-3])
    return path


@pytest.mark.parametrize(
    ("names", "removed"),
    [
        ("snapshot.0 snapshot.5 log.1", ""),
        ("snapshot.0 snapshot.5 snapshot.9 log.1 log.6 log.a", ""),
        (LONG_AGO, "snapshot.0"),
        (
            "snapshot.0 snapshot.5 snapshot.9.gz snapshot.f snapshot.20.snappy log.1 log.8 log.a",
            "snapshot.0 snapshot.5 log.1",
        ),
        ("snapshot.0 snapshot.5 snapshot.9 unfinished.snapshot.f torn.log.1.16 log.1", ""),
    ],
)
def test_what_lies_before_the_kept_snapshots_goes(tmp_path: Path, names: str, removed: str) -> None:
    directories = DataDirectories.of(tmp_path)
    directories.prepare(DISK)
    for name in names.split():
        put(directories.snapshots, name)
    assert Retention(DISK, directories, 3).purge() == removed.split()
    left = {path.name for path in directories.snapshots.iterdir()}
    assert left == set(names.split()) - set(removed.split())


@pytest.mark.parametrize(
    ("names", "damaged", "removed"),
    [
        ("snapshot.0 snapshot.5 snapshot.9 snapshot.f", "snapshot.5 snapshot.9 snapshot.f", ""),
        (LONG_AGO, "snapshot.f", ""),
        (
            "snapshot.0 snapshot.5 snapshot.9 snapshot.f snapshot.20 log.1 log.4 log.8 log.a",
            "snapshot.9",
            "snapshot.0 log.1",
        ),
        (
            "snapshot.0 snapshot.5.gz snapshot.9.snappy snapshot.f snapshot.20.gz",
            "snapshot.5.gz snapshot.20.gz",
            "",
        ),
    ],
)
def test_a_snapshot_that_is_not_whole_does_not_count(
    tmp_path: Path, names: str, damaged: str, removed: str
) -> None:
    directories = DataDirectories.of(tmp_path)
    directories.prepare(DISK)
    for name in names.split():
        put(directories.snapshots, name, is_whole=name not in damaged.split())
    assert Retention(DISK, directories, 3).purge() == removed.split()
    left = {path.name for path in directories.snapshots.iterdir()}
    assert left == set(names.split()) - set(removed.split())


def test_a_start_is_possible_behind_a_purge_with_the_newest_three_cut_short(
    tmp_path: Path,
) -> None:
    writer = Writer(tmp_path)
    for number in range(5):
        writer.create(f"/{number}")
        path = writer.snapshot()
        if number >= 2:
            path.write_bytes(path.read_bytes()[:-4])
    assert Retention(DISK, writer.directories, 3).purge() == []
    Retention(DISK, writer.directories, 2).purge()
    for log in writer.logs()[:-4]:
        assert log.exists()
    assert writer.recover().machine.zxid == writer.machine.zxid


@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("size_bytes", [0, 5_000_000])
def test_a_snapshot_is_checked_in_blocks(
    tmp_path: Path, compression: Compression, size_bytes: int
) -> None:
    tree = Tree.fresh()
    chance = random.Random(1)
    tree.add("/a", chance.randbytes(size_bytes), OPEN_ACL, Stat(1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1))
    path = write_snapshot(DISK, tmp_path, Image(1, tree, {}), compression)
    largest = Largest()
    assert checked_size(largest, path) == path.stat().st_size
    assert largest.read_bytes <= READ_BLOCK_BYTES
    content = bytearray(path.read_bytes())
    for position in (0, len(content) // 2, len(content) - 20):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            assert checked_size(DISK, path) is None
        except CompressionError:
            continue


class Largest(Disk):
    """Notes the largest piece of a file that was read."""

    read_bytes = 0

    def open(self, path: Path) -> ReadableFile:
        file = super().open(path)
        read_at = file.read_at

        def noting(offset: int, size_bytes: int) -> bytes:
            self.read_bytes = max(self.read_bytes, size_bytes)
            return read_at(offset, size_bytes)

        file.read_at = noting  # type: ignore[method-assign]
        return file

    def read(self, path: Path) -> bytes:
        raise AssertionError(f"{path} is read as a whole")


class Meddling(Disk):
    """Calls back when a snapshot is opened: someone else does something meanwhile."""

    def __init__(self, meddle: Callable[[Path], object]) -> None:
        self._meddle = meddle

    def open(self, path: Path) -> ReadableFile:
        self._meddle(path)
        return super().open(path)


def six_snapshots(tmp_path: Path) -> Writer:
    writer = Writer(tmp_path)
    for number in range(5):
        writer.create(f"/{number}")
        writer.snapshot()
    return writer


def test_snapshots_that_vanish_meanwhile_do_not_count(tmp_path: Path) -> None:
    writer = six_snapshots(tmp_path)
    newest = sorted(writer.directories.snapshots.glob("snapshot.*"))[-2:]
    vanishing = Meddling(lambda path: path.unlink(missing_ok=True) if path in newest else None)
    removed = Retention(vanishing, writer.directories, 3).purge()
    assert [name for name in removed if name.startswith("snapshot.")] == ["snapshot.0"]
    assert writer.recover().machine.zxid == writer.machine.zxid


def test_a_checked_snapshot_that_vanishes_before_the_removal_stops_it(tmp_path: Path) -> None:
    writer = six_snapshots(tmp_path)
    newest = max(writer.directories.snapshots.glob("snapshot.*"))
    # It was checked first; it vanishes while the next one is.
    vanishing = Meddling(lambda path: None if path == newest else newest.unlink(missing_ok=True))
    assert Retention(vanishing, writer.directories, 3).purge() == []
    assert writer.recover().machine.zxid == writer.machine.zxid


def test_a_second_purge_in_the_middle_of_the_first_removes_nothing_more(tmp_path: Path) -> None:
    writer = six_snapshots(tmp_path)
    second = Retention(DISK, writer.directories, 4)
    first = Retention(Meddling(lambda _: second.purge()), writer.directories, 3)
    first.purge()
    left = sorted(path.name for path in writer.directories.snapshots.glob("snapshot.*"))
    assert left == ["snapshot.4", "snapshot.5", "snapshot.6"]
    assert writer.recover().machine.zxid == writer.machine.zxid


def test_a_snapshot_that_is_being_written_is_not_touched(tmp_path: Path) -> None:
    writer = six_snapshots(tmp_path)
    file = SnapshotFile(DISK, writer.directories.snapshots, writer.machine.zxid + 1)
    Retention(DISK, writer.directories, 3).purge()
    for chunk in Image.of(writer.machine).content():
        file.write(chunk)
    file.finish()
    assert checked_size(DISK, file.path) == file.path.stat().st_size


def test_whole_snapshots_are_read_once(tmp_path: Path) -> None:
    writer = six_snapshots(tmp_path)
    opened: list[str] = []
    retention = Retention(Meddling(lambda path: opened.append(path.name)), writer.directories, 3)
    for _ in range(2):
        retention.purge()
        writer.create(f"/more{len(opened)}")
        writer.snapshot()
    largest = Largest()
    path = max(writer.directories.snapshots.glob("snapshot.*"))
    assert checked_size(largest, path, path.stat().st_size) == path.stat().st_size
    assert largest.read_bytes == 0
    assert opened[:3] == ["snapshot.6", "snapshot.5", "snapshot.4"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_purged_a_start_gives_the_same_state(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    writer = Writer(tmp_path)
    retentions = [Retention(DISK, writer.directories, keep) for keep in (3, 4)]
    for number in range(40):
        kind = chance.random()
        if kind < 0.5:
            writer.create(f"/{number}")
        elif kind < 0.6:
            writer.log.roll()
        elif kind < 0.8:
            path = writer.snapshot()
            if chance.random() < 0.4:
                path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])
        else:
            chance.choice(retentions).purge()
            recovered = writer.recover().machine
            assert recovered.zxid == writer.machine.zxid
            assert recovered.tree.all_records() == writer.machine.tree.all_records()
