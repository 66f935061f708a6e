"""The files with the epochs of a member."""

import random
from pathlib import Path

import pytest

from tests.support.stopping_disk import StoppedError, StoppingDisk
from tests.support.writer import DISK, Writer
from zoolet.storage.epochs import EpochFiles, has_standalone_history
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories
from zoolet.storage.snapshots import Image, write_snapshot

DIRECTORIES = DataDirectories.of(Path("/data"))


def empty(directory: Path) -> DataDirectories:
    directories = DataDirectories.of(directory)
    directories.prepare(DISK)
    return directories


def test_a_directory_without_the_files_has_no_epochs(tmp_path: Path) -> None:
    epochs = EpochFiles(DISK, empty(tmp_path))
    assert (epochs.accepted, epochs.current) == (None, None)


def test_stored_epochs_are_read_again_and_have_apache_s_format(tmp_path: Path) -> None:
    directories = empty(tmp_path)
    epochs = EpochFiles(DISK, directories)
    epochs.store_accepted(7)
    epochs.store_current(6)
    epochs.store_accepted(8)
    again = EpochFiles(DISK, directories)
    assert (again.accepted, again.current) == (epochs.accepted, epochs.current) == (8, 6)
    assert (tmp_path / "version-2" / "acceptedEpoch").read_text() == "8\n"
    assert sorted(path.name for path in (tmp_path / "version-2").iterdir()) == [
        *("acceptedEpoch", "currentEpoch")
    ]


def test_a_member_that_never_had_data_has_no_epochs(tmp_path: Path) -> None:
    """Apache ZooKeeper writes -1 then."""
    directories = empty(tmp_path)
    (directories.snapshots / "currentEpoch").write_bytes(b"-1")
    assert EpochFiles(DISK, directories).current is None


@pytest.mark.parametrize("content", [b"", b"five", b"-2", b"\xff\xfe"])
def test_a_file_without_a_number_is_refused(tmp_path: Path, content: bytes) -> None:
    directories = empty(tmp_path)
    (directories.snapshots / "currentEpoch").write_bytes(content)
    with pytest.raises(StorageError, match="currentEpoch must contain a number"):
        EpochFiles(DISK, directories)


@pytest.mark.parametrize("seed", range(40))
def test_after_a_crash_a_file_has_the_old_number_or_the_new_one(seed: int) -> None:
    chance = random.Random(seed)
    disk = StoppingDisk(chance)
    epochs = EpochFiles(disk, DIRECTORIES)
    stored = 0
    for epoch in range(1, 6):
        disk.stop_at = disk.count + chance.randrange(1, 15)
        try:
            epochs.store_current(epoch)
            stored = epoch
            is_stopped = False
        except StoppedError:
            is_stopped = True
        disk.restart()
        epochs = EpochFiles(disk, DIRECTORIES)
        allowed = {stored, epoch} if is_stopped else {epoch}
        assert (epochs.current or 0) in allowed
        stored = epochs.current or 0


def test_only_a_standalone_server_s_directory_has_standalone_history(tmp_path: Path) -> None:
    directories = empty(tmp_path / "new")
    assert not has_standalone_history(DISK, directories)
    writer = Writer(tmp_path / "old")
    assert has_standalone_history(DISK, writer.directories)
    EpochFiles(DISK, writer.directories).store_accepted(1)
    assert not has_standalone_history(DISK, writer.directories)


def test_a_snapshot_without_logs_may_be_history(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "old")
    directories = empty(tmp_path / "new")
    first = Image(0, writer.machine.tree, {})
    write_snapshot(DISK, directories.snapshots, first)
    assert not has_standalone_history(DISK, directories)
    write_snapshot(DISK, directories.snapshots, Image.of(writer.machine))
    assert has_standalone_history(DISK, directories)
