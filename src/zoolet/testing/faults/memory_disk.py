"""A disk in memory: it knows what was not synced; it fails, fills up and stalls as it is told.

Owns files and directory entries as they are and as a crash would leave them. What a crash leaves is
within what POSIX allows: of the writes to a file since its last sync the first few, of the changes
to directories since their last sync the first few; how many, chance says, or none. May be used from
several threads. Must not import the server.
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
    """What a disk is asked to do and may fail at."""

    CREATE = auto()
    WRITE = auto()
    PREALLOCATE = auto()
    TRUNCATE = auto()
    SYNC = auto()
    RENAME = auto()
    SYNC_DIRECTORY = auto()


class Content:
    """The bytes of a file: as they are on disk, and what was written since.

    Attributes:
        durable: what a crash cannot take.
        pending: what was written since the last sync, each with its position; empty bytes only
            extend the file to it.
        size_bytes: with what is pending.
    """

    __slots__ = ("durable", "pending", "size_bytes")

    def __init__(self) -> None:
        self.durable = bytearray()
        self.pending: list[tuple[int, bytes]] = []
        self.size_bytes = 0

    @property
    def current(self) -> bytes:
        """What a reader sees."""
        content = bytearray(self.durable)
        self._apply(content)
        return bytes(content)

    def put(self, position: int, data: bytes) -> None:
        """Write without syncing."""
        self.pending.append((position, data))
        self.size_bytes = max(self.size_bytes, position + len(data))

    def sync(self) -> None:
        """Make what is pending durable."""
        self._apply(self.durable)
        self.pending.clear()

    def cut(self, size_bytes: int) -> None:
        """Sync, and keep the first bytes, up to this number."""
        self.sync()
        del self.durable[size_bytes:]
        self.size_bytes = len(self.durable)

    def forget_pending(self, kept: int) -> None:
        """Lose what is pending but for the first ``kept`` writes."""
        del self.pending[kept:]
        self.sync()
        self.size_bytes = len(self.durable)

    def _apply(self, content: bytearray) -> None:
        for position, data in self.pending:
            content.extend(bytes(max(0, position - len(content))))
            content[position : position + len(data)] = data


class MemoryDisk(Disk):
    """Files by path, for a server that leaves nothing behind.

    A test holds its syncs up, lets them fail, fills it, or takes the power away; a subclass fails
    by what ``before`` and ``after`` raise.

    Attributes:
        sync_takes_s: how long each sync of a file takes, in real time.
    """

    def __init__(self, note: Callable[[str], None] = lambda _: None) -> None:
        """Be empty, and sound; ``note`` is told what a test does to it."""
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

    # -- what a test does to it --------------------------------------------------------------------

    def hold_syncs(self) -> None:
        """Let no sync of a file return until ``release_syncs``."""
        self._note("hold the syncs")
        self._arrived.clear()
        self._gate.clear()

    def wait_for_sync(self, timeout_s: float = _WAIT_S) -> None:
        """Return when a sync is being held; raises TimeoutError where none comes."""
        if not self._arrived.wait(timeout_s):
            raise TimeoutError(f"no sync came within {timeout_s:g} s: was anything written?")

    def release_syncs(self) -> None:
        """Let syncs return again."""
        self._gate.set()

    def fail_syncs(self, error: OSError | None = None) -> None:
        """Let every sync of a file fail from now on, as a disk does that breaks."""
        self._sync_error = error or OSError(errno.EIO, os.strerror(errno.EIO))
        self._note(f"fail the syncs: {self._sync_error}")

    def fill(self) -> None:
        """Be full: nothing grows any more."""
        self._note("fill the disk")
        with self._lock:
            self._capacity_bytes = self.used_bytes

    def mend(self) -> None:
        """Be sound: have room, and sync at once and without fail."""
        self._capacity_bytes = self._sync_error = None
        self.sync_takes_s = 0.0
        self.release_syncs()

    def cut_power(self) -> None:
        """Let everything fail from now on, also the syncs that are held."""
        self._is_off = True
        self.release_syncs()

    def restore_power(self) -> None:
        """Work again, after ``cut_power``."""
        self._is_off = False

    def erase(self) -> None:
        """Be empty, and sound."""
        with self._lock:
            self._names, self._durable_names, self._changes = {}, {}, []
        self.mend()

    def lose_unsynced(self, chance: random.Random | None = None) -> None:
        """Lose what was not synced, but for what ``chance`` leaves of it; None leaves nothing."""

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
        """How long all files are together."""
        return sum(content.size_bytes for content in self._names.values())

    # -- what a subclass says ----------------------------------------------------------------------

    def before(self, step: DiskStep) -> None:
        """Raise, and a step is not done; of a write, ``part_of`` it is."""

    def after(self, step: DiskStep) -> None:
        """Raise, and a step is done that seems to have failed."""

    def part_of(self, size_bytes: int) -> int:
        """Return how many bytes of a write are written if it fails."""
        del size_bytes
        return 0

    # -- what storage calls ------------------------------------------------------------------------

    def make_directory(self, path: Path) -> None:
        """Directories need not be made."""

    def list_names(self, directory: Path) -> list[str]:
        """Return the names in a directory, sorted."""
        with self._lock:
            return sorted(path.name for path in self._names if path.parent == directory)

    def read(self, path: Path) -> bytes:
        """Return all of a file."""
        with self._lock:
            return self._existing(path).current

    def open(self, path: Path) -> ReadableFile:
        """Open a file to read pieces of it."""
        return BytesFile(self.read(path))

    def create(self, path: Path, *, synced: bool = False) -> DiskFile:
        """Create a file that must not exist; ``synced``: each write is on disk when it returns."""
        with self._lock:
            if path in self._names:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            self._begin(DiskStep.CREATE)
            content = Content()
            self._change(lambda names: names.__setitem__(path, content))
            return MemoryFile(self, content, synced=synced)

    def rename(self, old: Path, new: Path) -> None:
        """Move a file within a directory; one that has the new name is replaced."""
        with self._lock:
            self._begin(DiskStep.RENAME)
            self._change(lambda names: names.__setitem__(new, names.pop(old)))

    def remove(self, path: Path) -> None:
        """Remove a file where it exists."""
        with self._lock:
            if path in self._names:
                self._change(lambda names: names.__delitem__(path))

    def truncate(self, path: Path, size_bytes: int) -> None:
        """Cut a file short, durably."""
        with self._lock:
            self.cut(self._existing(path), size_bytes)

    def sync_directory(self, path: Path) -> None:
        """Make all directories' entries durable, those of ``path`` among them."""
        del path
        with self._lock:
            self._begin(DiskStep.SYNC_DIRECTORY)
            self._durable_names = dict(self._names)
            self._changes.clear()
            self.after(DiskStep.SYNC_DIRECTORY)

    def lock(self, path: Path) -> DirectoryLock:
        """Keep a second server on this disk out of a directory."""
        return _MemoryLock(path, self._locked)

    # -- what its files call -----------------------------------------------------------------------

    def write(self, content: Content, position: int, data: bytes) -> None:
        """Write into a file, as far as there is room."""
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

    def preallocate(self, content: Content, size_bytes: int) -> None:
        """Give a file this length."""
        with self._lock:
            self._begin(DiskStep.PREALLOCATE)
            if self._room_bytes(content, size_bytes) < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            content.put(size_bytes, b"")

    def cut(self, content: Content, size_bytes: int) -> None:
        """Cut a file short, durably."""
        with self._lock:
            self._begin(DiskStep.TRUNCATE)
            if self._sync_error is not None:
                raise self._sync_error
            content.cut(size_bytes)
            self.after(DiskStep.TRUNCATE)

    def sync(self, content: Content) -> None:
        """Make a file durable; waits while syncs are held."""
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

    # ----------------------------------------------------------------------------------------------

    def _begin(self, step: DiskStep) -> None:
        if self._is_off:
            raise OSError(errno.EIO, "the power is off")
        self.before(step)

    def _room_bytes(self, content: Content, size_bytes: int) -> int:
        """Return how much room is left if a file has this length; below 0 it is too little."""
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
    """A file that is being written."""

    def __init__(self, disk: MemoryDisk, content: Content, *, synced: bool) -> None:
        """Begin at the start of ``content``."""
        self._disk = disk
        self._content = content
        self._synced = synced
        self._position = 0

    def write(self, data: bytes) -> None:
        """Write all of ``data`` where the last write ended."""
        position, self._position = self._position, self._position + len(data)
        self._disk.write(self._content, position, data)
        if self._synced:
            self.sync()

    def preallocate(self, size_bytes: int) -> None:
        """Make the file ``size_bytes`` long, the new part zero."""
        self._disk.preallocate(self._content, size_bytes)

    def truncate(self, size_bytes: int) -> None:
        """Cut the file short, durably."""
        self._disk.cut(self._content, size_bytes)

    def sync(self) -> None:
        """Return when what was written would survive a crash."""
        self._disk.sync(self._content)

    def close(self) -> None:
        """Nothing is synced by that."""


class _MemoryLock(DirectoryLock):
    def __init__(self, path: Path, locked: set[Path]) -> None:
        if path in locked:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))
        locked.add(path)
        self._path = path
        self._locked = locked

    def write_pid(self) -> None:
        """There is no file to write it to."""

    def release(self) -> None:
        """Let others in."""
        self._locked.discard(self._path)
