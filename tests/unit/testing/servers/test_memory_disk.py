"""The disk in memory: what a crash takes, and how it fails."""

import random
import threading
from pathlib import Path

import pytest

from zoolet.testing.servers.memory_disk import MemoryDisk

DIRECTORY = Path("/d")


def written(disk: MemoryDisk, name: str, *parts: bytes) -> None:
    """Write a file, and sync all of it but the last part."""
    file = disk.create(DIRECTORY / name)
    for number, part in enumerate(parts):
        if number == len(parts) - 1:
            file.sync()
        file.write(part)
    file.close()


def test_a_crash_takes_what_was_not_synced() -> None:
    disk = MemoryDisk()
    written(disk, "a", b"synced", b" and not")
    disk.sync_directory(DIRECTORY)
    written(disk, "b", b"", b"nothing")
    assert disk.read(DIRECTORY / "a") == b"synced and not"
    assert disk.list_names(DIRECTORY) == ["a", "b"]
    disk.lose_unsynced()
    assert disk.list_names(DIRECTORY) == ["a"]
    assert disk.read(DIRECTORY / "a") == b"synced"
    assert disk.used_bytes == len(b"synced")


def test_a_rename_may_be_taken_back_and_a_removal() -> None:
    disk = MemoryDisk()
    written(disk, "a", b"one", b"")
    written(disk, "b", b"two", b"")
    disk.sync_directory(DIRECTORY)
    disk.rename(DIRECTORY / "a", DIRECTORY / "c")
    disk.remove(DIRECTORY / "b")
    assert disk.list_names(DIRECTORY) == ["c"]
    disk.lose_unsynced()
    assert disk.list_names(DIRECTORY) == ["a", "b"]


def test_chance_leaves_the_first_few_writes() -> None:
    left = set()
    for seed in range(50):
        disk = MemoryDisk()
        file = disk.create(DIRECTORY / "a")
        disk.sync_directory(DIRECTORY)
        file.preallocate(6)
        for part in (b"ab", b"cd"):
            file.write(part)
        disk.lose_unsynced(random.Random(seed))
        left.add(disk.read(DIRECTORY / "a"))
    assert left == {b"", bytes(6), b"ab\0\0\0\0", b"abcd\0\0"}


def test_a_full_disk_takes_what_fits() -> None:
    disk = MemoryDisk()
    written(disk, "a", b"12345", b"")
    disk.fill()
    file = disk.create(DIRECTORY / "b")
    with pytest.raises(OSError, match="No space left"):
        file.preallocate(1)
    with pytest.raises(OSError, match="No space left"):
        file.write(b"x")
    disk.truncate(DIRECTORY / "a", 2)
    with pytest.raises(OSError, match="No space left"):
        file.write(b"wxyz")
    assert disk.used_bytes == 5
    disk.mend()
    file.write(b"more")
    assert disk.used_bytes > 5


def test_without_power_everything_fails_also_what_was_held() -> None:
    disk = MemoryDisk()
    file = disk.create(DIRECTORY / "a")
    disk.hold_syncs()
    errors = []

    def sync() -> None:
        try:
            file.sync()
        except OSError as error:
            errors.append(error)

    syncing = threading.Thread(target=sync)
    syncing.start()
    disk.wait_for_sync()
    disk.cut_power()
    syncing.join()
    assert "the power is off" in str(errors[0])
    with pytest.raises(OSError, match="the power is off"):
        disk.create(DIRECTORY / "b")
    disk.restore_power()
    file.sync()


def test_what_is_not_there_is_said() -> None:
    disk = MemoryDisk()
    with pytest.raises(FileNotFoundError):
        disk.read(DIRECTORY / "a")
    with pytest.raises(TimeoutError, match="was anything written"):
        disk.wait_for_sync(timeout_s=0.01)
    disk.create(DIRECTORY / "a")
    with pytest.raises(FileExistsError):
        disk.create(DIRECTORY / "a")
    disk.remove(DIRECTORY / "missing")
    lock = disk.lock(DIRECTORY / "lock")
    with pytest.raises(BlockingIOError):
        disk.lock(DIRECTORY / "lock")
    lock.release()
    disk.lock(DIRECTORY / "lock").write_pid()


def test_an_erased_disk_is_empty_and_sound() -> None:
    disk = MemoryDisk()
    written(disk, "a", b"x", b"")
    disk.fill()
    disk.fail_syncs()
    disk.erase()
    assert disk.list_names(DIRECTORY) == []
    written(disk, "b", b"x", b"y")


def test_zeros_after_the_data_are_overwritten_and_need_no_room() -> None:
    disk = MemoryDisk()
    file = disk.create(DIRECTORY / "a")
    file.write(b"ab", 4)
    disk.fill()
    file.write(b"cd", 9)
    assert disk.read(DIRECTORY / "a") == b"abcd\0\0"
