"""The file system operations that storage needs.

The functions raise the OSErrors of the operating system; the callers explain them to the user.
"""

import contextlib
import errno
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from zoolet.storage import system_calls

if sys.platform != "win32":
    import fcntl

READ_BLOCK_BYTES = 1 << 20
FILE_MODE = 0o640
DIRECTORY_MODE = 0o750
"""The permissions of new files and directories with data, less those that the umask takes away: a
file has the data of all znodes, whatever their ACLs are."""

MOST_ZEROS_BYTES = 1 << 20
"""The most zeros that a write adds after its data."""

_ZEROS = memoryview(bytes(MOST_ZEROS_BYTES))

_MOST_EXTENTS = 1000

_MOST_LOCK_TRIES = 1000


class DiskFile:
    """A file that is written from its start to its end.

    Attributes:
        path: the path of the file.
    """

    def __init__(self, path: Path, *, synced: bool = False) -> None:
        """Create the file, which must not exist.

        If ``synced``, a write and its sync are one system call: when ``write`` returns, its data
        are on disk. With two system calls, the thread would have to wait for the interpreter lock
        between them, and would interrupt the other threads one more time. A system without such
        writes gets two system calls.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        if synced:
            flags |= system_calls.SYNCED_WRITES or 0
        self.path = path
        self._syncs_itself = synced and system_calls.SYNCED_WRITES is None
        self._fd = os.open(path, flags, FILE_MODE)

    @property
    def writable_fd(self) -> int | None:
        """The descriptor, if writing all bytes to it does all that ``write`` does; else None."""
        if type(self).write is not DiskFile.write or self._syncs_itself:
            return None
        return self._fd

    def overwrites_in_place(self) -> bool:
        """Return whether zeros after the data make later writes faster, and need no more room."""
        return system_calls.overwrites_in_place(self._fd)

    def write(self, data: bytes, zero_bytes: int = 0) -> None:
        """Write all of ``data`` after the last write.

        Args:
            data: the bytes.
            zero_bytes: the number of zeros to write after the data, up to MOST_ZEROS_BYTES. The
                next write overwrites them. A full disk may get fewer.
        """
        view = memoryview(data)
        try:  # not _naming, because it is too slow: every batch of the log is written here
            while view:
                view = view[self._write_once(view, zero_bytes) :]
            if self._syncs_itself:
                system_calls.sync_data(self._fd)
        except OSError as error:
            error.filename = str(self.path)
            raise

    def _write_once(self, data: memoryview, zero_bytes: int) -> int:
        """Return how many bytes of the data were written; the next write continues after them."""
        if not zero_bytes:
            return os.write(self._fd, data)
        written = os.writev(self._fd, [data, _ZEROS[:zero_bytes]])
        if written > len(data):
            os.lseek(self._fd, len(data) - written, os.SEEK_CUR)
        return written

    def preallocate(self, size_bytes: int) -> bool:
        """Extend the file to ``size_bytes`` with zeros, so that writes do not change its size.

        Returns False if the system or the file system cannot do this; the file is then unchanged.
        """
        with _naming(self.path):
            return system_calls.preallocate(self._fd, size_bytes)

    def truncate(self, size_bytes: int) -> None:
        """Durably cut the file to ``size_bytes``; the offset of the next write does not change."""
        with _naming(self.path):
            os.ftruncate(self._fd, size_bytes)
            system_calls.sync(self._fd)

    def sync(self) -> None:
        """Return when all written bytes are on disk."""
        with _naming(self.path):
            system_calls.sync_data(self._fd)

    def close(self) -> None:
        """Close the file without a sync."""
        os.close(self._fd)


class ReadableFile(ABC):
    """A file that is read in pieces, so that a large file takes little memory.

    Attributes:
        size_bytes: the size of the file when it was opened; later appended bytes are not read.
    """

    size_bytes: int

    @abstractmethod
    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Return ``size_bytes`` bytes from ``offset``; fewer only at the end of the file."""

    @abstractmethod
    def next_data(self, offset: int) -> int:
        """Return the position from which to read on: all bytes from ``offset`` up to it are zeros.

        The result is ``size_bytes`` if only zeros follow.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def blocks(self, block_bytes: int = READ_BLOCK_BYTES) -> Iterator[bytes]:
        """Yield the whole content in blocks."""
        for offset in range(0, self.size_bytes, block_bytes):
            yield self.read_at(offset, min(block_bytes, self.size_bytes - offset))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class BytesFile(ReadableFile):
    """Content in memory with the interface of a file."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size_bytes = len(content)

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Return ``size_bytes`` bytes from ``offset``; fewer only at the end."""
        return self._content[offset : offset + size_bytes]

    def next_data(self, offset: int) -> int:
        """Return ``offset``: content in memory has no holes."""
        return min(offset, self.size_bytes)

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


class _DiskReader(ReadableFile):
    """A file on disk; preallocated parts without data are not read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size_bytes = os.fstat(self._fd).st_size
        # Before the first read, because read-ahead by the system turns holes into data.
        self._data_end = self._end_of_extents()

    def _end_of_extents(self) -> int:
        """Return the end of the last part of the file that is not a hole."""
        end = 0
        try:
            for _ in range(_MOST_EXTENTS):
                begin = system_calls.begin_of_data(self._fd, end)
                end = system_calls.end_of_data(self._fd, begin)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole or the end of the file is left
                return min(end, self.size_bytes)
        return self.size_bytes  # too many parts, or a file system without support for holes

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        data = os.pread(self._fd, size_bytes, offset)
        wanted_bytes = min(size_bytes, self.size_bytes - offset)
        while len(data) < wanted_bytes:  # pread may return fewer bytes than requested
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
    """Locks a directory against other processes.

    The lock file exists while the lock is held, and after a crash. Only a process that holds the
    lock removes the file. After locking the file, a process checks that the path still names this
    file. Without the check, a process could lock a file that another process has just removed,
    while a third process locks a new file of the same name.
    """

    def __init__(self, path: Path) -> None:
        """Lock the file ``path``; raises BlockingIOError if another process holds the lock."""
        self._path = path
        # Another try is needed only if another process held the lock and then removed the file.
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
        """Write the pid of this process to the file, for programs that stop the server."""
        with _naming(self._path):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Remove the file and release the lock."""
        try:
            # If the file cannot be removed, it is harmless: closing the descriptor ends the lock.
            with contextlib.suppress(OSError):
                # An operator may have removed the file, and another server may have created one.
                if self._is_named():
                    self._path.unlink()
        finally:
            os.close(self._fd)

    def _is_named(self) -> bool:
        """Return whether the path names the open file."""
        try:
            return os.path.samestat(os.fstat(self._fd), self._path.stat())
        except FileNotFoundError:
            return False


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add the path to an OSError of a call that has only the descriptor."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


class Disk:
    """The directories and files of this machine."""

    def make_directory(self, path: Path) -> None:
        """Create a directory and its parents if they do not exist."""
        path.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)

    def list_names(self, directory: Path) -> list[str]:
        """Return the names in a directory, sorted."""
        return sorted(entry.name for entry in directory.iterdir())

    def read(self, path: Path) -> bytes:
        """Return the content of a file."""
        return path.read_bytes()

    def open(self, path: Path) -> ReadableFile:
        """Open a file for reading in pieces."""
        return _DiskReader(path)

    def create(self, path: Path, *, synced: bool = False) -> DiskFile:
        """Create a file, which must not exist; ``synced`` is the argument of DiskFile."""
        return DiskFile(path, synced=synced)

    def rename(self, old: Path, new: Path) -> None:
        """Rename a file within a file system; a file with the new name is replaced."""
        old.replace(new)

    def remove(self, path: Path) -> None:
        """Remove a file if it exists."""
        with contextlib.suppress(FileNotFoundError):
            path.unlink()

    def truncate(self, path: Path, size_bytes: int) -> None:
        """Cut a file to ``size_bytes``, durably."""
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, size_bytes)
            system_calls.sync(fd)
        finally:
            os.close(fd)

    def sync_directory(self, path: Path) -> None:
        """Return when the directory's entries are on disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            system_calls.sync(fd)
        finally:
            os.close(fd)

    def lock(self, path: Path) -> DirectoryLock:
        """Lock a directory; ``path`` is the lock file in it."""
        return DirectoryLock(path)
