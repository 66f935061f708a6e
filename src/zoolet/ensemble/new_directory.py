"""A new directory that is complete, or that does not exist.

The directory is written under a temporary name beside its final name. It gets its final name when
everything in it is on disk.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from zoolet.ensemble.errors import EnsembleError
from zoolet.storage.disk import READ_BLOCK_BYTES, Disk

_UNFINISHED = ".unfinished-"


class NewDirectory:
    """A directory that is being written.

    Attributes:
        path: the final, absolute path.
        unfinished: the path under which the directory is written.
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        """Create the directory under its temporary name.

        Raises EnsembleError if the final name is in use by anything but an empty directory.
        """
        self._disk = disk
        self.path = path.absolute()
        check_is_new(self.path)
        name = f"{self.path.name}{_UNFINISHED}{secrets.token_hex(4)}"
        self.unfinished = self.path.with_name(name)
        disk.make_directory(self.unfinished)

    def write(
        self, path: Path, content: str, owner_of: Path, *, mode_of: Path | None = None
    ) -> None:
        """Write a new file, with the owner and the mode of other files."""
        file = self._disk.create(path)
        try:
            take_owner(path, owner_of)
            if mode_of is not None:
                path.chmod(mode_of.stat().st_mode & 0o777)
            file.write(content.encode())
            file.sync()
        finally:
            file.close()

    def make(self, path: Path) -> None:
        """Create a directory in the directory, if it does not exist."""
        self._disk.make_directory(path)

    def copy(self, source: Path, size_bytes: int, path: Path) -> None:
        """Copy the first ``size_bytes`` bytes of a file into the directory."""
        file = self._disk.create(path)
        try:
            take_rights(path, source)
            with self._disk.open(source) as opened:
                for begin in range(0, size_bytes, READ_BLOCK_BYTES):
                    file.write(opened.read_at(begin, min(READ_BLOCK_BYTES, size_bytes - begin)))
            file.sync()
        finally:
            file.close()

    def sync(self) -> None:
        """Return when the entries of all directories in it are on disk."""
        for parent, _, _ in os.walk(self.unfinished, topdown=False):
            self._disk.sync_directory(Path(parent))
        self._disk.sync_directory(self.unfinished.parent)

    def rename(self) -> None:
        """Give the directory its final name; raises EnsembleError if that fails."""
        try:
            self._disk.rename(self.unfinished, self.path)
        except OSError as error:
            raise EnsembleError(
                f"{self.unfinished} cannot be renamed to {self.path}: {error.strerror}. Name"
                " another new directory."
            ) from error

    def sync_name(self) -> None:
        """Return when the final name is on disk."""
        self._disk.sync_directory(self.path.parent)

    def abandon(self) -> None:
        """Remove what was written, as far as possible."""
        shutil.rmtree(self.unfinished, ignore_errors=True)


@contextlib.contextmanager
def new_directory(disk: Disk, path: Path) -> Iterator[NewDirectory]:
    """Yield a new directory, and remove it after an error; the caller publishes it."""
    directory = NewDirectory(disk, path)
    try:
        yield directory
    except BaseException:
        directory.abandon()
        raise


def check_is_new(path: Path) -> None:
    """Raise EnsembleError unless ``path`` does not exist or is an empty directory."""
    if os.path.lexists(path) and (path.is_symlink() or not path.is_dir() or any(path.iterdir())):
        raise EnsembleError(f"{path} exists already: name a new directory.")


def leftovers_of(path: Path) -> list[Path]:
    """Return the directories that interrupted commands have left beside ``path``."""
    path = path.absolute()
    if not path.parent.is_dir():
        return []
    return sorted(
        found for found in path.parent.iterdir() if found.name.startswith(path.name + _UNFINISHED)
    )


def check_space(path: Path, needed_bytes: int) -> None:
    """Raise EnsembleError if the disk of a new directory has too little free space."""
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    free_bytes = shutil.disk_usage(parent).free
    if free_bytes < needed_bytes:
        raise EnsembleError(
            f"{path} needs {_megabytes(needed_bytes)}, but {parent} has only"
            f" {_megabytes(free_bytes)} free: free space there, or name another directory."
        )


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1_000_000:,.1f} MB"


def take_rights(path: Path, like: Path) -> None:
    """Give a file or directory the mode and, as far as possible, the owner of another one."""
    take_owner(path, like)
    path.chmod(like.stat().st_mode & 0o7777)


def take_owner(path: Path, like: Path) -> None:
    """Give a file or directory the owner of another one, as far as this user may do so."""
    status = like.stat()
    with contextlib.suppress(PermissionError):
        os.chown(path, status.st_uid, status.st_gid)
