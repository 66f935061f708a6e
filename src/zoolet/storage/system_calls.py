"""System calls for files that some systems or file systems lack, with their replacements.

docs/platforms.md says what is weaker with each replacement. Invariant: a replacement is used only
if the system reports that it does not support the call. Every other error, for example of a broken
or full disk, is raised.
"""

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import Final

if sys.platform != "win32":
    import fcntl

_UNSUPPORTED: Final = frozenset(
    {
        errno.EINVAL,  # the file system does not support the call (ZFS, for example)
        errno.ENODEV,
        errno.ENOSYS,  # the kernel does not have the call
        errno.ENOTSUP,
        errno.ENOTTY,
        errno.EOPNOTSUPP,  # the file system does not support the call; reported by musl
        errno.EPERM,  # a filter of system calls forbids the call
    }
)

_IN_PLACE: Final = frozenset({b"ext4", b"xfs"})
"""The types of file systems that write new data to the place of the old ones."""

_MOUNTS = Path("/proc/self/mountinfo")

_FULL_SYNC: Final[int | None] = (
    getattr(fcntl, "F_FULLFSYNC", None) if sys.platform != "win32" else None
)
"""On macOS, fsync does not wait until the drive has written its cache; this fcntl does."""

SYNCED_WRITES: Final[int | None] = None if _FULL_SYNC is not None else getattr(os, "O_DSYNC", None)
"""The flag of a file whose writes return when their data are on disk; None if there is no such
flag, or if it does not include the drive's cache (macOS)."""


def sync(fd: int) -> None:
    """Return when the whole file is on disk, with its size and its other metadata."""
    if not _full_sync(fd):
        os.fsync(fd)


def sync_data(fd: int) -> None:
    """Return when the written bytes of a file are on disk, and the size that a reader needs."""
    if _FULL_SYNC is None and hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        sync(fd)


def _full_sync(fd: int) -> bool:
    """Write the drive's cache, too; return False if the system or the file system cannot."""
    if _FULL_SYNC is None:
        return False
    try:
        fcntl.fcntl(fd, _FULL_SYNC)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return False
    return True


def preallocate(fd: int, size_bytes: int) -> bool:
    """Reserve room on disk for a file of ``size_bytes``; the new part contains zeros.

    Returns False if the system or the file system cannot reserve room. Then the file is unchanged.
    The file must be empty at the first call.
    """
    if not hasattr(os, "posix_fallocate"):
        return False
    try:
        if os.fstat(fd).st_size == 0 and _writes_zeros(fd):
            return False
        os.posix_fallocate(fd, 0, size_bytes)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return False
    return True


def _writes_zeros(fd: int) -> bool:
    """Return whether posix_fallocate writes zeros into an empty file; the file stays empty if so.

    If the file system does not support the call (ext2, NFS 3), glibc writes a zero into each block.
    With a file whose writes are synced, 64 MB would be 16,384 syncs, which take minutes.
    """
    os.posix_fallocate(fd, 0, 1)
    try:
        has_data = begin_of_data(fd, 0) == 0  # reserved room counts as a hole
    except OSError:
        return False
    finally:
        os.lseek(fd, 0, os.SEEK_SET)
    if has_data:
        os.ftruncate(fd, 0)
    return has_data


def overwrites_in_place(fd: int) -> bool:
    """Return whether the file system writes new data of a file to the place of the old data.

    False if this is not known. A file system that copies on write needs room for each overwrite,
    also in a preallocated file, once there were data.
    """
    device = os.fstat(fd).st_dev
    wanted = b"%d:%d" % (os.major(device), os.minor(device))
    with contextlib.suppress(OSError), _MOUNTS.open("rb") as mounts:
        for line in mounts:  # proc_pid_mountinfo(5)
            mount, _, source = line.partition(b" - ")
            if mount.split(maxsplit=3)[2] == wanted:
                return source.split(maxsplit=1)[0] in _IN_PLACE
    return False


def begin_of_data(fd: int, offset: int) -> int:
    """Return the position of the first byte from ``offset`` on that is not in a hole of the file.

    Raises OSError: with errno ENXIO if only a hole follows, with another errno if the file system
    does not report holes.
    """
    return os.lseek(fd, offset, _seek("SEEK_DATA"))


def end_of_data(fd: int, offset: int) -> int:
    """Return the position of the first hole from ``offset`` on; raises as `begin_of_data` does."""
    return os.lseek(fd, offset, _seek("SEEK_HOLE"))


def _seek(name: str) -> int:
    whence: int | None = getattr(os, name, None)
    if whence is None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    return whence
