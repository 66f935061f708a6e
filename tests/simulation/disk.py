"""A disk in memory that forgets what was not synced, tears writes, fails, fills up and rots.

What a crash leaves is decided by chance within what POSIX allows: of the writes to a file since its
last sync the first few, the last of them perhaps in part; of the changes to directories since their
last sync the first few.
"""

import random
from collections.abc import Callable
from pathlib import Path

from zoolet.storage.disk import DirectoryLock, Disk, DiskFile
from zoolet.storage.files import by_zxid


class CrashError(BaseException):
    """The machine stops here; nothing may catch it but the simulation."""


class Content:
    """The bytes of a file: as they are on disk, and what was done to them since."""

    def __init__(self) -> None:
        self.durable = b""
        self.pending: list[Callable[[bytes], bytes]] = []

    @property
    def current(self) -> bytes:
        content = self.durable
        for change in self.pending:
            content = change(content)
        return content

    def sync(self) -> None:
        self.durable = self.current
        self.pending.clear()


class SimulatedDisk(Disk):
    """Files by path; every fault comes from ``chance``.

    Attributes:
        faults: whether anything may fail now.
        rotten: the file of which a bit was flipped, and what it was before.
    """

    def __init__(self, chance: random.Random) -> None:
        self.faults = True
        self.rotten: tuple[Content, bytes] | None = None
        self._chance = chance
        self._names: dict[Path, Content] = {}
        self._durable_names: dict[Path, Content] = {}
        self._changes: list[Callable[[dict[Path, Content]], None]] = []

    # -- what storage calls ------------------------------------------------------------------------

    def make_directory(self, path: Path) -> None:
        """Directories need not be made."""

    def list_names(self, directory: Path) -> list[str]:
        return sorted(path.name for path in self._names if path.parent == directory)

    def read(self, path: Path) -> bytes:
        return self._names[path].current

    def create(self, path: Path) -> DiskFile:
        if path in self._names:
            raise FileExistsError(17, "File exists", str(path))
        self.may_fail(0.01)
        content = Content()
        self._change(lambda names: names.__setitem__(path, content))
        return SimulatedFile(self, content)

    def rename(self, old: Path, new: Path) -> None:
        self.may_fail(0.01)
        self._change(lambda names: names.__setitem__(new, names.pop(old)))

    def remove(self, path: Path) -> None:
        if path in self._names:
            self._change(lambda names: names.__delitem__(path))

    def truncate(self, path: Path, size_bytes: int) -> None:
        content = self._names[path]
        content.sync()
        content.durable = content.durable[:size_bytes]

    def sync_directory(self, path: Path) -> None:
        del path
        self.may_fail(0.01)
        self._durable_names = dict(self._names)
        self._changes.clear()
        self.may_fail(0.01)

    def lock(self, path: Path) -> DirectoryLock:
        raise NotImplementedError(f"{path}: one simulated server has no rival")

    # -- faults ------------------------------------------------------------------------------------

    def may_fail(self, probability: float, *errors: OSError) -> None:
        """Stop the machine here, or raise one of the errors, or go on."""
        if self.faults and self._chance.random() < probability:
            raise self._chance.choice([CrashError(), *errors])

    def part_of(self, size_bytes: int) -> int:
        """Return how many of so many bytes are written when a write does not end."""
        return self._chance.randrange(size_bytes + 1)

    def crash(self) -> None:
        """Lose what was not synced, but for what chance leaves of it."""
        kept = self._changes[: self._chance.randrange(len(self._changes) + 1)]
        names = dict(self._durable_names)
        for change in kept:
            try:
                change(names)
            except KeyError:
                break
        self._names, self._durable_names, self._changes = names, dict(names), []
        for content in names.values():
            del content.pending[self._chance.randrange(len(content.pending) + 1) :]
            content.sync()

    def rot(self) -> None:
        """Flip a bit of a file; not of the newest log.

        A flipped bit in the last record of all looks just like a write that was never finished, and
        no check could tell the two apart.
        """
        logs = by_zxid([path.name for path in self._names], "log")
        spared = logs[-1][1] if logs else ""
        filled = [
            content
            for path, content in sorted(self._names.items())
            if content.durable and path.name != spared
        ]
        if filled:
            content = self._chance.choice(filled)
            self.rotten = (content, content.durable)
            damaged = bytearray(content.durable)
            damaged[self._chance.randrange(len(damaged))] ^= 1 << self._chance.randrange(8)
            content.durable = bytes(damaged)

    def mend(self) -> None:
        """Put the flipped bit back."""
        if self.rotten is not None:
            content, before = self.rotten
            content.durable, self.rotten = before, None

    def _change(self, change: Callable[[dict[Path, Content]], None]) -> None:
        change(self._names)
        self._changes.append(change)


class SimulatedFile(DiskFile):
    """A file that is being written."""

    def __init__(self, disk: SimulatedDisk, content: Content) -> None:
        self._disk = disk
        self._content = content
        self._position = 0

    def write(self, data: bytes) -> None:
        position, self._position = self._position, self._position + len(data)
        disk, content = self._disk, self._content
        try:
            disk.may_fail(0.02, OSError(28, "No space left on device"))
        except (CrashError, OSError):
            cut = data[: disk.part_of(len(data))]
            content.pending.append(lambda before: overwritten(before, position, cut))
            raise
        content.pending.append(lambda before: overwritten(before, position, data))

    def preallocate(self, size_bytes: int) -> None:
        self._disk.may_fail(0.02, OSError(28, "No space left on device"))
        self._content.pending.append(lambda before: before.ljust(size_bytes, b"\0"))

    def sync(self) -> None:
        self._disk.may_fail(0.02, OSError(5, "Input/output error"))
        self._content.sync()
        self._disk.may_fail(0.02)

    def close(self) -> None:
        """Nothing is synced by that."""


def overwritten(content: bytes, position: int, data: bytes) -> bytes:
    """Return the content with ``data`` at ``position``."""
    content = content.ljust(position, b"\0")
    return content[:position] + data + content[position + len(data) :]
