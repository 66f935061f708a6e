"""Where the files are and what they are called.

``DIR/version-2/log.ZXID`` begins with the txn ZXID, ``DIR/version-2/snapshot.ZXID`` holds at least
every txn up to ZXID, compressed if it ends in .gz or .snappy; ZXID is hexadecimal. Source:
``persistence.Util`` of the original.
"""

from pathlib import Path
from typing import NamedTuple

from zoolet.storage.compression import Compression, compression_of
from zoolet.storage.disk import DirectoryLock, Disk
from zoolet.storage.errors import StorageError

VERSION_DIRECTORY = "version-2"
LOCK_NAME = "zookeeper_server.pid"
"""In dataDir and dataLogDir: held by the server that uses them, and holding its pid."""


class DataDirectories(NamedTuple):
    """The two directories of a server; they may be one."""

    snapshots: Path
    logs: Path

    @classmethod
    def of(cls, data_dir: Path, data_log_dir: Path | None = None) -> "DataDirectories":
        """Return those that ``dataDir`` and ``dataLogDir`` name.

        If both names lead to one directory, through a link for example, they are the same here.
        """
        snapshots, logs = (
            directory / VERSION_DIRECTORY for directory in (data_dir, data_log_dir or data_dir)
        )
        return cls(snapshots, snapshots if logs.resolve() == snapshots.resolve() else logs)

    def prepare(self, disk: Disk) -> None:
        """Make what is missing; raises StorageError where that cannot be."""
        for directory in dict.fromkeys(self):
            try:
                disk.make_directory(directory)
            except OSError as error:
                raise StorageError(
                    f"cannot make the directory {directory}: {error.strerror}. Set dataDir (and"
                    " dataLogDir) in zoo.cfg to where this user may write."
                ) from error

    def lock(self, disk: Disk) -> list[DirectoryLock]:
        """Keep other servers out; raises StorageError where one is in or this user may not."""
        locks: dict[Path, DirectoryLock] = {}
        try:
            for directory in (versioned.parent for versioned in self):
                if directory not in locks:
                    locks[directory] = disk.lock(directory / LOCK_NAME)
        except OSError as error:
            for lock in locks.values():
                lock.release()
            if isinstance(error, BlockingIOError):
                raise StorageError(
                    f"another server has the data directory {directory}: stop it first, or set"
                    " another dataDir in zoo.cfg."
                ) from error
            raise StorageError(
                f"cannot write in the data directory {directory}: {error.strerror}. Give this user"
                " the right to, or set another dataDir in zoo.cfg."
            ) from error
        return list(locks.values())


def log_name(zxid: int) -> str:
    """Return the name of the log that begins with the txn ``zxid``."""
    return f"log.{zxid:x}"


def snapshot_name(zxid: int, compression: Compression = Compression.NONE) -> str:
    """Return the name of the snapshot of the state after ``zxid``."""
    return f"snapshot.{zxid:x}{compression.suffix}"


def by_zxid(names: list[str], kind: str) -> list[tuple[int, str]]:
    """Return the zxid and name of each of ``names`` that is of a kind, in order of zxid.

    ``kind`` is ``log`` or ``snapshot``; names that end in no zxid are none of ours.
    """
    found = []
    for name in names:
        compression = compression_of(name) if kind == "snapshot" else Compression.NONE
        prefix, _, zxid = name.removesuffix(compression.suffix).partition(".")
        if prefix == kind:
            try:
                found.append((int(zxid, 16), name))
            except ValueError:
                continue
    return sorted(found)
