"""The file system, as small as storage needs it.

Raises OSError as the system gives it; what that means is the caller's to say.
"""

import contextlib
import fcntl
import os
from pathlib import Path


class DiskFile:
    """A file that is written from its start on."""

    def __init__(self, path: Path, *, synced: bool = False) -> None:
        """Create the file, which must not exist; ``synced``: each write is on disk at its return.

        That is one call of the system for a write and its sync. Between two, a thread has to wait
        for the interpreter, and the thread that has it is disturbed once more.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(path, flags | (os.O_DSYNC if synced else 0), 0o644)

    def write(self, data: bytes) -> None:
        """Write all of ``data`` where the last write ended."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def preallocate(self, size_bytes: int) -> None:
        """Make the file ``size_bytes`` long, the new part zero, so that writing moves no end."""
        os.posix_fallocate(self._fd, 0, size_bytes)

    def sync(self) -> None:
        """Return when what was written is on disk."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file; it is not synced by that."""
        os.close(self._fd)


class DirectoryLock:
    """Keeps other processes out of a directory for as long as it is held."""

    def __init__(self, path: Path) -> None:
        """Lock through the file ``path``; raises BlockingIOError where another process has it."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise

    def write_pid(self) -> None:
        """Leave this process's number in the file, for those who want to stop it."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others in."""
        os.close(self._fd)


class Disk:
    """The directories and files of this machine."""

    def make_directory(self, path: Path) -> None:
        """Make a directory and those above it, where they are missing."""
        path.mkdir(parents=True, exist_ok=True)

    def list_names(self, directory: Path) -> list[str]:
        """Return the names in a directory, sorted."""
        return sorted(entry.name for entry in directory.iterdir())

    def read(self, path: Path) -> bytes:
        """Return all of a file."""
        return path.read_bytes()

    def create(self, path: Path, *, synced: bool = False) -> DiskFile:
        """Create a file that must not exist; ``synced``: each write is on disk when it returns."""
        return DiskFile(path, synced=synced)

    def rename(self, old: Path, new: Path) -> None:
        """Move a file within a directory; one that has the new name is replaced."""
        old.replace(new)

    def remove(self, path: Path) -> None:
        """Remove a file where it exists."""
        with contextlib.suppress(FileNotFoundError):
            path.unlink()

    def truncate(self, path: Path, size_bytes: int) -> None:
        """Cut a file short, durably."""
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, size_bytes)
            os.fsync(fd)
        finally:
            os.close(fd)

    def sync_directory(self, path: Path) -> None:
        """Return when the directory's entries are on disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def lock(self, path: Path) -> DirectoryLock:
        """Lock a directory through the file ``path`` in it."""
        return DirectoryLock(path)
