"""A missing system call has a replacement; an error of the disk is raised all the same."""

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoolet.storage import system_calls
from zoolet.storage.disk import Disk

FULL_SYNC = 51
"""macOS's number of F_FULLFSYNC."""

UNSUPPORTED = sorted(system_calls._UNSUPPORTED)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the system calls that make data durable."""
    calls: list[str] = []
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name)

        def recorded(fd: int, name: str = name, real: object = real) -> None:
            calls.append(name)
            assert callable(real)
            real(fd)

        monkeypatch.setattr(os, name, recorded)
    return calls


def give_full_sync(
    monkeypatch: pytest.MonkeyPatch, made: list[str], error: OSError | None = None
) -> None:
    """Make this system like macOS: it has F_FULLFSYNC, which may fail with ``error``."""
    real = fcntl.fcntl

    def full_sync(fd: int, command: int, argument: int = 0) -> int:
        if command != FULL_SYNC:
            return real(fd, command, argument)
        made.append("full")
        if error is not None:
            raise error
        return 0

    monkeypatch.setattr(fcntl, "fcntl", full_sync)
    monkeypatch.setattr(system_calls, "_FULL_SYNC", FULL_SYNC)
    monkeypatch.setattr(system_calls, "SYNCED_WRITES", None)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """A file that is open for writing."""
    opened = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    yield opened
    os.close(opened)


def test_linux_syncs_the_data_only_where_that_is_enough(fd: int, made: list[str]) -> None:
    system_calls.sync_data(fd)
    system_calls.sync(fd)
    assert made == ["fdatasync", "fsync"]


def test_without_fdatasync_the_whole_file_is_synced(
    fd: int, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "fdatasync")
    system_calls.sync_data(fd)
    assert made == ["fsync"]


def test_macos_writes_the_cache_of_the_drive(
    fd: int, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if Python offers fdatasync there, because it is no more than an fsync."""
    give_full_sync(monkeypatch, made)
    system_calls.sync_data(fd)
    system_calls.sync(fd)
    assert made == ["full", "full"]


@pytest.mark.parametrize("code", UNSUPPORTED, ids=errno.errorcode.get)
def test_a_file_system_without_a_full_sync_gets_an_fsync(
    fd: int, made: list[str], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    give_full_sync(monkeypatch, made, OSError(code, os.strerror(code)))
    system_calls.sync_data(fd)
    assert made == ["full", "fsync"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EBADF])
def test_a_full_sync_that_fails_is_no_sync(
    fd: int, made: list[str], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """After a failed sync another one may report success although the data are lost."""
    give_full_sync(monkeypatch, made, OSError(code, os.strerror(code)))
    with pytest.raises(OSError, match=os.strerror(code)):
        system_calls.sync_data(fd)
    assert made == ["full"]


@pytest.mark.parametrize("synced", [True, False])
def test_a_synced_write_on_macos_is_a_write_and_a_full_sync(
    tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch, *, synced: bool
) -> None:
    give_full_sync(monkeypatch, made)
    file = Disk().create(tmp_path / "file", synced=synced)
    file.write(b"one")
    file.write(b"two")
    file.close()
    assert made == (["full", "full"] if synced else [])
    assert (tmp_path / "file").read_bytes() == b"onetwo"


def test_a_synced_write_whose_sync_fails_raises_with_the_path(
    tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    give_full_sync(monkeypatch, made, OSError(errno.EIO, os.strerror(errno.EIO)))
    file = Disk().create(tmp_path / "file", synced=True)
    with pytest.raises(OSError, match="Input/output error") as failed:
        file.write(b"one")
    file.close()
    assert failed.value.filename == str(tmp_path / "file")


def test_cuts_and_directories_are_synced_completely(
    tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    give_full_sync(monkeypatch, made)
    disk = Disk()
    file = disk.create(tmp_path / "file")
    file.write(b"12345")
    file.truncate(4)
    file.close()
    disk.truncate(tmp_path / "file", 3)
    disk.sync_directory(tmp_path)
    assert made == ["full"] * 3
    assert (tmp_path / "file").read_bytes() == b"123"


def test_preallocation_extends_a_file_with_zeros(fd: int, tmp_path: Path) -> None:
    if not system_calls.preallocate(fd, 4096):
        pytest.skip(f"the file system of {tmp_path} cannot preallocate")
    assert (tmp_path / "file").read_bytes() == bytes(4096)


@pytest.mark.parametrize(
    ("kind", "device", "is_known"),
    [
        ("ext4", 0, True),
        ("xfs", 0, True),
        ("btrfs", 0, False),
        ("ext4", 1, False),
        (None, 0, False),
    ],
)
def test_file_systems_that_overwrite_in_place_are_known_by_their_mount(
    fd: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str | None,
    device: int,
    is_known: bool,
) -> None:
    """The last mount has another file system, and optional fields."""
    mounts = tmp_path / "mountinfo"
    found = os.fstat(fd).st_dev
    name = f"{os.major(found)}:{os.minor(found) + device}"
    if kind is not None:
        mounts.write_text(
            "22 27 9999:1 / /proc rw,relatime - proc proc rw\n"
            f"36 35 {name} / /my\\040data rw,noatime shared:1 master:2 - {kind} /dev/a\\040b rw\n"
        )
    monkeypatch.setattr(system_calls, "_MOUNTS", mounts)
    assert system_calls.overwrites_in_place(fd) is is_known


def fail_to_allocate(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Let the call fail as a file system does that does not support it, or that is full."""

    def fail(fd: int, offset: int, size_bytes: int) -> None:
        raise OSError(code, os.strerror(code), f"{fd} {offset} {size_bytes}")

    monkeypatch.setattr(os, "posix_fallocate", fail)


@pytest.mark.parametrize("code", UNSUPPORTED, ids=errno.errorcode.get)
def test_a_file_system_that_cannot_preallocate(
    fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fail_to_allocate(monkeypatch, code)
    assert system_calls.preallocate(fd, 4096) is False
    assert (tmp_path / "file").read_bytes() == b""


def test_a_system_without_the_call_cannot_preallocate(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    assert system_calls.preallocate(fd, 4096) is False


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG])
def test_a_full_or_broken_disk_is_an_error(
    fd: int, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fail_to_allocate(monkeypatch, code)
    with pytest.raises(OSError, match=os.strerror(code)):
        system_calls.preallocate(fd, 4096)


def write_zeros(fd: int, offset: int, size_bytes: int) -> None:
    """Preallocate as glibc does if the file system cannot: write a zero into each block."""
    for position in range(offset, offset + size_bytes, 4096):
        os.pwrite(fd, b"\0", position)
    os.pwrite(fd, b"\0", offset + size_bytes - 1)


def test_a_c_library_that_writes_zeros_instead_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def record(fd: int, offset: int, size_bytes: int) -> None:
        asked.append(size_bytes)
        write_zeros(fd, offset, size_bytes)

    monkeypatch.setattr(os, "posix_fallocate", record)
    file = Disk().create(tmp_path / "file", synced=True)
    assert file.preallocate(64 << 20) is False
    file.write(b"begin")
    file.close()
    assert asked == [1]
    assert (tmp_path / "file").read_bytes() == b"begin"


def test_a_file_is_written_from_its_begin_after_preallocation(tmp_path: Path) -> None:
    file = Disk().create(tmp_path / "file", synced=True)
    is_longer = file.preallocate(4096)
    file.write(b"begin")
    if is_longer:
        assert file.preallocate(8192)
    file.write(b" end")
    file.close()
    content = (tmp_path / "file").read_bytes()
    assert content.rstrip(b"\0") == b"begin end"
    assert len(content) == (8192 if is_longer else 9)


@pytest.mark.parametrize("missing", ["SEEK_DATA", "SEEK_HOLE"])
def test_without_holes_a_file_is_read_completely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.delattr(os, missing)
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write(b"1")
        file.truncate(1 << 20)
    with Disk().open(path) as read:
        assert (read.next_data(1), read.size_bytes) == (1, 1 << 20)
