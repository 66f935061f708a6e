"""An empty work directory gets the newest state of the archive."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.support.archiving import ArchiverRun, Killed, MemoryPlace, archive_in
from tests.support.histories import state_of as values_of
from tests.support.writer import Writer
from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.names import SnapshotName, parse_name
from zoolet.archive.writing.seeding import claim, seed
from zoolet.archive.writing.sources import DirectorySource
from zoolet.data.directory_reader import state_of
from zoolet.storage.disk import Disk
from zoolet.storage.epochs import has_standalone_history
from zoolet.storage.files import DataDirectories


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    """The directory of the server that is archived."""
    return Writer(tmp_path / "server")


def archived(writer: Writer) -> MemoryPlace:
    """Return an archive with two snapshots and txns after them."""
    place = MemoryPlace()
    source = DirectorySource(writer.directories)
    hours = 1_700_000_000_000
    for name in "abc":
        writer.create(f"/{name}")
        hours += 3_600_000
        ArchiverRun(place, source, now_ms=partial(int, hours)).run()
    writer.create("/d")
    ArchiverRun(place, source, now_ms=lambda: 0).run()
    return place


def test_the_directory_has_the_newest_state_of_an_ensemble(writer: Writer, tmp_path: Path) -> None:
    place = archived(writer)
    directories = DataDirectories.of(tmp_path / "work")
    seed(archive_in(place), directories)
    assert values_of(state_of(directories).machine) == values_of(writer.machine)
    assert not has_standalone_history(Disk(), directories)


def test_a_damaged_snapshot_is_passed_over(writer: Writer, tmp_path: Path) -> None:
    place = archived(writer)
    snapshots = [each for each in map(parse_name, place.objects) if isinstance(each, SnapshotName)]
    assert len(snapshots) > 1
    place.objects[str(max(snapshots))] = b"damaged"
    directories = DataDirectories.of(tmp_path / "work")
    seed(archive_in(place), directories)
    assert values_of(state_of(directories).machine) == values_of(writer.machine)


def test_without_an_undamaged_snapshot_the_directory_stays_empty(
    writer: Writer, tmp_path: Path
) -> None:
    place = archived(writer)
    for name in place.objects:
        if name.startswith("snapshots/"):
            place.objects[name] = b"damaged"
    directories = DataDirectories.of(tmp_path / "work")
    seed(archive_in(place), directories)
    assert list(directories.snapshots.iterdir()) == []


def test_a_directory_with_data_is_not_changed(writer: Writer, tmp_path: Path) -> None:
    place = archived(writer)
    other = Writer(tmp_path / "work")
    before = sorted(path.name for path in other.directories.snapshots.iterdir())
    seed(archive_in(place), other.directories)
    assert sorted(path.name for path in other.directories.snapshots.iterdir()) == before


def test_a_kill_leaves_a_directory_that_can_be_used(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are changed by renames only; the kill comes before or after each of them."""
    place = archived(writer)
    states = []
    for kill_at in range(8):
        directories = DataDirectories.of(tmp_path / str(kill_at))
        with monkeypatch.context() as patch:
            renamed = iter(range(kill_at))

            def rename(disk: Disk, old: Path, new: Path, left: Iterator[int] = renamed) -> None:
                del disk
                if next(left, None) is None:
                    raise Killed
                old.replace(new)

            patch.setattr(Disk, "rename", rename)
            with suppress(Killed):
                seed(archive_in(place), directories)
        seed(archive_in(place), directories)
        states.append(state_of(directories).machine.zxid)
    assert writer.machine.zxid in states
    assert all(zxid > 0 for zxid in states)


def test_a_work_directory_belongs_to_one_archive(writer: Writer, tmp_path: Path) -> None:
    first, second = archive_in(archived(writer)), archive_in(archived(writer))
    work_dir = tmp_path / "work"
    claim(first, work_dir)
    claim(first, work_dir)
    with pytest.raises(ArchiveError, match="--work-dir"):
        claim(second, work_dir)
    claim(first, work_dir)
