"""Where the files are and what they are called.

``DIR/version-2/log.ZXID`` begins with the txn ZXID, ``DIR/version-2/snapshot.ZXID`` holds at least
every txn up to ZXID, compressed if it ends in .gz or .snappy; ZXID is hexadecimal. Source:
``persistence.Util`` of Apache ZooKeeper.
"""

import os
import time
from pathlib import Path
from typing import NamedTuple

from zoolet.model.oserrors import explain
from zoolet.storage.compression import Compression, compression_of
from zoolet.storage.disk import DirectoryLock, Disk
from zoolet.storage.errors import StorageError

VERSION_DIRECTORY = "version-2"
LOCK_NAME = "zookeeper_server.pid"
"""In dataDir and dataLogDir: held by the server that uses them, and holding its pid."""

TORN = "torn."
"""How the name of a file begins that holds the torn tail of a log: ``torn.LOG.OFFSET``."""

_PROBE_NAME = "unfinished.probe"

_PROBE_BYTES = 4096

_PID_TRIES = 20
_PID_PAUSE_S = 0.05


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
                    f"cannot make the directory {directory}. {explain(error)} Or set dataDir (and"
                    " dataLogDir) in zoo.cfg to where this user may write."
                ) from error

    def check_exist(self, disk: Disk) -> None:
        """Raise StorageError if one is missing, for example because of a lost mount."""
        for directory in dict.fromkeys(self):
            try:
                disk.list_names(directory)
            except FileNotFoundError as error:
                raise StorageError(
                    f"the data directory {directory} is missing, and datadir.autocreate is false."
                    " Mount it, or create it yourself."
                ) from error

    def lock(self, disk: Disk) -> list[DirectoryLock]:
        """Keep other servers out, and leave the pid of this process in the files that do so.

        Raises StorageError if another server has a directory, or if this user may not write there.
        """
        locks: dict[Path, DirectoryLock] = {}
        try:
            for directory in (versioned.parent for versioned in self):
                if directory not in locks:
                    locks[directory] = disk.lock(directory / LOCK_NAME)
                    locks[directory].write_pid()
        except OSError as error:
            for lock in locks.values():
                lock.release()
            if isinstance(error, BlockingIOError):
                raise StorageError(
                    f"{_already_running(directory / LOCK_NAME)}: another server has the data"
                    f" directory {directory}. Stop it first, or set another dataDir in zoo.cfg."
                ) from error
            raise StorageError(
                f"cannot write in the data directory {directory}. {explain(error)}"
                " Or set another dataDir in zoo.cfg."
            ) from error
        return list(locks.values())

    def check_writable(self, disk: Disk) -> None:
        """Write a file in each and remove it; raises StorageError if that fails.

        Otherwise the server would start, and would end at the first change of its first client.
        The caller holds the locks: no other server does the same.
        """
        for directory in dict.fromkeys(self):
            probe = directory / _PROBE_NAME
            try:
                disk.remove(probe)
                file = disk.create(probe)
                try:
                    file.write(bytes(_PROBE_BYTES))
                finally:
                    file.close()
                    disk.remove(probe)
            except OSError as error:
                raise StorageError(
                    f"cannot write in the directory {directory}. {explain(error)} The server needs"
                    " it for its transaction log and its snapshots."
                ) from error


def _already_running(lock_path: Path) -> str:
    """Return Apache ZooKeeper's words for it, with the pid that the lock's file holds.

    A process writes its pid after it has locked the file: until then, the file is empty or holds
    the pid of a server that was killed.
    """
    for left in range(_PID_TRIES, 0, -1):
        try:
            pid = pid_in(lock_path.read_bytes())
        except OSError:
            break
        if pid is not None and is_alive(pid):
            return f"already running as process {pid}"
        if left > 1:
            time.sleep(_PID_PAUSE_S)
    return "already running"


def pid_in(content: bytes) -> int | None:
    """Return the pid in a lock's file; None if there is none."""
    return int(content) if content.strip().isdigit() else None


def is_alive(pid: int) -> bool:
    """Whether a process of this machine, or of this container, has the number ``pid``."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


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
