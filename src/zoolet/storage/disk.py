"""The file system, as small as storage needs it.

Raises OSError as the system gives it; what that means is the caller's to say.
"""

import contextlib
import errno
import fcntl
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Self

READ_BLOCK_BYTES = 1 << 20
_MOST_EXTENTS = 1000

_MOST_LOCK_TRIES = 1000


class DiskFile:
    """A file that is written from its start on."""

    def __init__(self, path: Path, *, synced: bool = False) -> None:
        """Create the file, which must not exist; ``synced``: each write is on disk at its return.

        That is one call of the system for a write and its sync. Between two, a thread has to wait
        for the interpreter, and the thread that has it is disturbed once more.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._path = path
        self._fd = os.open(path, flags | (os.O_DSYNC if synced else 0), 0o644)

    def write(self, data: bytes) -> None:
        """Write all of ``data`` where the last write ended."""
        view = memoryview(data)
        try:  # not _naming: every batch of the log passes here
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            error.filename = str(self._path)
            raise

    def preallocate(self, size_bytes: int) -> None:
        """Make the file ``size_bytes`` long, the new part zero, so that writing moves no end."""
        with _naming(self._path):
            os.posix_fallocate(self._fd, 0, size_bytes)

    def truncate(self, size_bytes: int) -> None:
        """Cut the file to ``size_bytes``, durably; the next write goes where the last ended."""
        with _naming(self._path):
            os.ftruncate(self._fd, size_bytes)
            os.fsync(self._fd)

    def sync(self) -> None:
        """Return when what was written is on disk."""
        with _naming(self._path):
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file; it is not synced by that."""
        os.close(self._fd)


class ReadableFile(ABC):
    """A file that is read a piece at a time, so that a large one takes little memory.

    Attributes:
        size_bytes: how large it was when it was opened; what is appended later is not read.
    """

    size_bytes: int

    @abstractmethod
    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Return ``size_bytes`` from ``offset`` on; fewer only at the end of the file."""

    @abstractmethod
    def next_data(self, offset: int) -> int:
        """Return where data may begin at or behind ``offset``: all before it is zero.

        ``size_bytes`` if there is nothing but zeros.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def blocks(self, block_bytes: int = READ_BLOCK_BYTES) -> Iterator[bytes]:
        """Yield the whole content, a block at a time."""
        for offset in range(0, self.size_bytes, block_bytes):
            yield self.read_at(offset, min(block_bytes, self.size_bytes - offset))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class BytesFile(ReadableFile):
    """Content in memory, read as a file is."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size_bytes = len(content)

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Return ``size_bytes`` from ``offset`` on; fewer only at the end."""
        return self._content[offset : offset + size_bytes]

    def next_data(self, offset: int) -> int:
        """Return ``offset``: content in memory has no holes."""
        return min(offset, self.size_bytes)

    def close(self) -> None:
        """There is nothing to close."""


class _DiskReader(ReadableFile):
    """A file on this machine's disks; what was preallocated and never written is not read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size_bytes = os.fstat(self._fd).st_size
        # Before the first read: what the system reads ahead is no hole any more.
        self._data_end = self._end_of_extents()

    def _end_of_extents(self) -> int:
        """Return where the last part of the file ends that is not a hole."""
        end = 0
        try:
            for _ in range(_MOST_EXTENTS):
                begin = os.lseek(self._fd, end, os.SEEK_DATA)
                end = os.lseek(self._fd, begin, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left, or nothing
                return min(end, self.size_bytes)
        return self.size_bytes  # too many parts, or a file system that knows no holes

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        data = os.pread(self._fd, size_bytes, offset)
        wanted_bytes = min(size_bytes, self.size_bytes - offset)
        while len(data) < wanted_bytes:  # the system may return less than asked
            more = os.pread(self._fd, wanted_bytes - len(data), offset + len(data))
            if not more:
                raise OSError(errno.EIO, "the file became shorter while it was read", self._path)
            data += more
        return data

    def next_data(self, offset: int) -> int:
        return self.size_bytes if offset >= self._data_end else offset

    def close(self) -> None:
        os.close(self._fd)


class DirectoryLock:
    """Keeps other processes out of a directory for as long as it is held.

    The file exists only while the lock is held, and after a crash. Who removes it holds its lock;
    who has just locked it checks that the path still names the file that it has locked. Without the
    check, one process could lock a file that another has just removed, while a third process locks
    the next file of that name.
    """

    def __init__(self, path: Path) -> None:
        """Lock through the file ``path``; raises BlockingIOError if another process holds it."""
        self._path = path
        # Each further try means that another process held the lock and removed the file meanwhile.
        for _ in range(_MOST_LOCK_TRIES):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                with _naming(path):
                    fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if self._is_named():
                        return
            except OSError:
                os.close(self._fd)
                raise
            os.close(self._fd)
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))

    def write_pid(self) -> None:
        """Write the pid of this process to the file, for the programs that want to stop it."""
        with _naming(self._path):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Remove the file and let others in."""
        try:
            # A file that stays locks nothing out: its lock ends with the descriptor.
            with contextlib.suppress(OSError):
                # An operator may have removed the file, and another server may have made its own.
                if self._is_named():
                    self._path.unlink()
        finally:
            os.close(self._fd)

    def _is_named(self) -> bool:
        """Whether the path names the file behind the descriptor."""
        try:
            return os.path.samestat(os.fstat(self._fd), self._path.stat())
        except FileNotFoundError:
            return False


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add the path to an OSError of a call that knows only the descriptor."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


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

    def open(self, path: Path) -> ReadableFile:
        """Open a file to read pieces of it."""
        return _DiskReader(path)

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
