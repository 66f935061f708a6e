"""A disk in memory, which a test can crash, fill, slow down and let fail.

This module stores files and directory entries in two states: the current state, and the state after
a crash. A crash keeps all synced data, and the first N writes to each file and the first N changes
of directories after the last sync, as POSIX allows; N is random or 0. Several threads may use a
disk. This module must not import the server.
"""

import errno
import os
import random
import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path

from zoolet.storage.disk import BytesFile, DirectoryLock, Disk, DiskFile, ReadableFile

_WAIT_S = 10.0

_Names = dict[Path, "Content"]


class DiskStep(Enum):
    """The operations of a disk that may fail."""

    CREATE = auto()
    WRITE = auto()
    PREALLOCATE = auto()
    TRUNCATE = auto()
    SYNC = auto()
    RENAME = auto()
    SYNC_DIRECTORY = auto()


class Content:
    """The bytes of a file: the synced bytes, and the writes after the last sync.

    Attributes:
        durable: the synced bytes, which survive a crash.
        pending: the writes after the last sync, each with its position; a write with empty bytes
            only extends the file to its position.
        size_bytes: the length of the file, including pending writes.
    """

    __slots__ = ("durable", "pending", "size_bytes")

    def __init__(self) -> None:
        self.durable = bytearray()
        self.pending: list[tuple[int, bytes]] = []
        self.size_bytes = 0

    @property
    def current(self) -> bytes:
        """The bytes that a reader gets."""
        content = bytearray(self.durable)
        self._apply(content)
        return bytes(content)

    def put(self, position: int, data: bytes) -> None:
        """Write without syncing."""
        self.pending.append((position, data))
        self.size_bytes = max(self.size_bytes, position + len(data))

    def sync(self) -> None:
        """Make the pending writes durable."""
        self._apply(self.durable)
        self.pending.clear()

    def cut(self, size_bytes: int) -> None:
        """Sync, and keep only the first ``size_bytes`` bytes."""
        self.sync()
        del self.durable[size_bytes:]
        self.size_bytes = len(self.durable)

    def forget_pending(self, kept: int) -> None:
        """Lose the pending writes except the first ``kept`` writes."""
        del self.pending[kept:]
        self.sync()
        self.size_bytes = len(self.durable)

    def _apply(self, content: bytearray) -> None:
        for position, data in self.pending:
            content.extend(bytes(max(0, position - len(content))))
            content[position : position + len(data)] = data


class MemoryDisk(Disk):
    """Files by path, for a server whose data are not on a real disk.

    A test can delay syncs, let syncs fail, fill the disk, or cut the power. A subclass can raise
    errors in ``before`` and ``after``.

    Attributes:
        sync_takes_s: the duration of each sync of a file, in seconds of real time.
    """

    def __init__(self, note: Callable[[str], None] = lambda _: None) -> None:
        """Begin empty and without faults; call ``note`` with a text for each fault of a test."""
        self.sync_takes_s = 0.0
        self._note = note
        self._is_off = False
        self._lock = threading.RLock()
        self._names: _Names = {}
        self._durable_names: _Names = {}
        self._changes: list[Callable[[_Names], object]] = []
        self._locked: set[Path] = set()
        self._capacity_bytes: int | None = None
        self._sync_error: OSError | None = None
        self._gate = threading.Event()
        self._gate.set()
        self._arrived = threading.Event()

    # --- Faults that a test makes

    def hold_syncs(self) -> None:
        """Block all syncs of files until ``release_syncs``."""
        self._note("hold the syncs")
        self._arrived.clear()
        self._gate.clear()

    def wait_for_sync(self, timeout_s: float = _WAIT_S) -> None:
        """Wait until a sync is blocked.

        Raises:
            TimeoutError: no sync has begun after ``timeout_s`` seconds.
        """
        if not self._arrived.wait(timeout_s):
            raise TimeoutError(f"no sync came within {timeout_s:g} s: was anything written?")

    def release_syncs(self) -> None:
        """Unblock the syncs."""
        self._gate.set()

    def fail_syncs(self, error: OSError | None = None) -> None:
        """Let every later sync of a file fail, as on a broken disk."""
        self._sync_error = error or OSError(errno.EIO, os.strerror(errno.EIO))
        self._note(f"fail the syncs: {self._sync_error}")

    def fill(self) -> None:
        """Fill the disk: no file can grow any more."""
        self._note("fill the disk")
        with self._lock:
            self._capacity_bytes = self.used_bytes

    def mend(self) -> None:
        """End all faults except a power cut: free space, and fast syncs without errors."""
        self._capacity_bytes = self._sync_error = None
        self.sync_takes_s = 0.0
        self.release_syncs()

    def cut_power(self) -> None:
        """Let every later operation fail, and also the blocked syncs."""
        self._is_off = True
        self.release_syncs()

    def restore_power(self) -> None:
        """End the effect of ``cut_power``."""
        self._is_off = False

    def erase(self) -> None:
        """Remove all files, and end all faults except a power cut."""
        with self._lock:
            self._names, self._durable_names, self._changes = {}, {}, []
        self.mend()

    def lose_unsynced(self, chance: random.Random | None = None) -> None:
        """Lose unsynced changes, except a random first part of them; None keeps no part."""

        def kept_of(count: int) -> int:
            return 0 if chance is None else chance.randrange(count + 1)

        with self._lock:
            names = dict(self._durable_names)
            for change in self._changes[: kept_of(len(self._changes))]:
                try:
                    change(names)
                except KeyError:
                    break
            self._names, self._durable_names, self._changes = names, dict(names), []
            for content in names.values():
                content.forget_pending(kept_of(len(content.pending)))

    @property
    def used_bytes(self) -> int:
        """The sum of the lengths of all files."""
        return sum(content.size_bytes for content in self._names.values())

    # --- For subclasses

    def before(self, step: DiskStep) -> None:
        """Run before a step; an exception prevents the step.

        Of a write that an exception prevents, ``part_of`` bytes are still written.
        """

    def after(self, step: DiskStep) -> None:
        """Run after a step; an exception reports a failure of a step that was done."""

    def part_of(self, size_bytes: int) -> int:
        """Return the number of bytes that a failed write still writes."""
        del size_bytes
        return 0

    # --- Calls of storage

    def make_directory(self, path: Path) -> None:
        """Do nothing: a disk in memory needs no directories."""

    def list_names(self, directory: Path) -> list[str]:
        """Return the names in a directory, sorted."""
        with self._lock:
            return sorted(path.name for path in self._names if path.parent == directory)

    def read(self, path: Path) -> bytes:
        """Return all bytes of a file."""
        with self._lock:
            return self._existing(path).current

    def open(self, path: Path) -> ReadableFile:
        """Open a file for reading."""
        return BytesFile(self.read(path))

    def create(self, path: Path, *, synced: bool = False) -> DiskFile:
        """Create a new file; with ``synced``, each write is durable when it returns."""
        with self._lock:
            if path in self._names:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            self._begin(DiskStep.CREATE)
            content = Content()
            self._change(lambda names: names.__setitem__(path, content))
            return MemoryFile(self, content, synced=synced)

    def rename(self, old: Path, new: Path) -> None:
        """Rename a file within a directory; replace a file that has the new name."""
        with self._lock:
            self._begin(DiskStep.RENAME)
            self._change(lambda names: names.__setitem__(new, names.pop(old)))

    def remove(self, path: Path) -> None:
        """Remove a file, if it exists."""
        with self._lock:
            if path in self._names:
                self._change(lambda names: names.__delitem__(path))

    def truncate(self, path: Path, size_bytes: int) -> None:
        """Shorten a file durably."""
        with self._lock:
            self.cut(self._existing(path), size_bytes)

    def sync_directory(self, path: Path) -> None:
        """Make the entries of all directories durable, including those of ``path``."""
        del path
        with self._lock:
            self._begin(DiskStep.SYNC_DIRECTORY)
            self._durable_names = dict(self._names)
            self._changes.clear()
            self.after(DiskStep.SYNC_DIRECTORY)

    def lock(self, path: Path) -> DirectoryLock:
        """Lock a directory against other servers that use this disk."""
        return _MemoryLock(path, self._locked)

    # --- Calls of files

    def write(self, content: Content, position: int, data: bytes, zero_bytes: int = 0) -> None:
        """Write into a file; write only a part if the disk becomes full.

        The zeros after the data are written if there is room for them.
        """
        with self._lock:
            try:
                self._begin(DiskStep.WRITE)
            except BaseException:
                content.put(position, data[: self.part_of(len(data))])
                raise
            room_bytes = self._room_bytes(content, position + len(data))
            content.put(position, data[: max(0, len(data) + min(0, room_bytes))])
            if room_bytes < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            end = position + len(data)
            if zero_bytes and self._room_bytes(content, end + zero_bytes) == 0:
                content.put(end, bytes(zero_bytes))

    def preallocate(self, content: Content, size_bytes: int) -> bool:
        """Extend a file to this length; return True, because this disk supports it."""
        with self._lock:
            self._begin(DiskStep.PREALLOCATE)
            if self._room_bytes(content, size_bytes) < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            content.put(size_bytes, b"")
        return True

    def cut(self, content: Content, size_bytes: int) -> None:
        """Shorten a file durably."""
        with self._lock:
            self._begin(DiskStep.TRUNCATE)
            if self._sync_error is not None:
                raise self._sync_error
            content.cut(size_bytes)
            self.after(DiskStep.TRUNCATE)

    def sync(self, content: Content) -> None:
        """Make a file durable; wait while syncs are blocked."""
        self._arrived.set()
        self._gate.wait()
        if self.sync_takes_s:
            time.sleep(self.sync_takes_s)
        with self._lock:
            self._begin(DiskStep.SYNC)
            if self._sync_error is not None:
                raise self._sync_error
            content.sync()
            self.after(DiskStep.SYNC)

    def _begin(self, step: DiskStep) -> None:
        if self._is_off:
            raise OSError(errno.EIO, "the power is off")
        self.before(step)

    def _room_bytes(self, content: Content, size_bytes: int) -> int:
        """Return the missing space for a file of this length, as a number below 0; 0 if it fits."""
        if self._capacity_bytes is None:
            return 0
        growth_bytes = max(0, size_bytes - content.size_bytes)
        return min(0, self._capacity_bytes - self.used_bytes - growth_bytes) if growth_bytes else 0

    def _existing(self, path: Path) -> Content:
        content = self._names.get(path)
        if content is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return content

    def _change(self, change: Callable[[_Names], object]) -> None:
        change(self._names)
        self._changes.append(change)


class MemoryFile(DiskFile):
    """A file that is open for writing."""

    def __init__(self, disk: MemoryDisk, content: Content, *, synced: bool) -> None:
        """Begin at the start of ``content``."""
        self._disk = disk
        self._content = content
        self._synced = synced
        self._position = 0

    def overwrites_in_place(self) -> bool:
        """Return True: a write into the file's size needs no more room."""
        return True

    def write(self, data: bytes, zero_bytes: int = 0) -> None:
        """Write all of ``data`` after the last write, and zeros after it."""
        position, self._position = self._position, self._position + len(data)
        self._disk.write(self._content, position, data, zero_bytes)
        if self._synced:
            self.sync()

    def preallocate(self, size_bytes: int) -> bool:
        """Extend the file to ``size_bytes``; the new part contains zeros."""
        return self._disk.preallocate(self._content, size_bytes)

    def truncate(self, size_bytes: int) -> None:
        """Shorten the file durably."""
        self._disk.cut(self._content, size_bytes)

    def sync(self) -> None:
        """Make all writes durable: they survive a crash."""
        self._disk.sync(self._content)

    def close(self) -> None:
        """Close the file without a sync."""


class _MemoryLock(DirectoryLock):
    def __init__(self, path: Path, locked: set[Path]) -> None:
        if path in locked:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))
        locked.add(path)
        self._path = path
        self._locked = locked

    def write_pid(self) -> None:
        """Do nothing: the lock has no file."""

    def release(self) -> None:
        """Unlock the directory."""
        self._locked.discard(self._path)
