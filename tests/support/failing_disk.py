"""This machine's disk, which fails at one operation that a test chooses."""

from pathlib import Path

from zoolet.storage.disk import Disk, DiskFile

NEVER = 1 << 30


class CrashError(BaseException):
    """The machine stops."""


class StoppedAt(Disk):
    """A disk that fails at one operation: with an error, or with a crash after which all fail."""

    def __init__(self, at: int, *, is_crash: bool) -> None:
        self.left = at
        self._is_crash = is_crash

    def step(self) -> None:
        self.left -= 1
        if self.left == 0 or (self.left < 0 and self._is_crash):
            if self._is_crash:
                raise CrashError
            raise OSError(28, "No space left on device")

    def create(self, path: Path, *, synced: bool = False) -> DiskFile:
        del synced
        self.step()
        return _File(self, path)

    def make_directory(self, path: Path) -> None:
        self.step()
        super().make_directory(path)

    def rename(self, old: Path, new: Path) -> None:
        self.step()
        super().rename(old, new)

    def remove(self, path: Path) -> None:
        self.step()
        super().remove(path)

    def sync_directory(self, path: Path) -> None:
        del path
        self.step()


class _File(DiskFile):
    def __init__(self, disk: StoppedAt, path: Path) -> None:
        super().__init__(path)
        self._disk = disk

    def write(self, data: bytes, zero_bytes: int = 0) -> None:
        self._disk.step()
        super().write(data, zero_bytes)

    def sync(self) -> None:
        self._disk.step()
