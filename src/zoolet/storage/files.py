"""The directories and names of the files.

``DIR/version-2/log.ZXID`` begins with the txn ZXID. ``DIR/version-2/snapshot.ZXID`` contains at
least every txn up to ZXID; it is compressed if its name ends in .gz or .snappy. ZXID is
hexadecimal. Source: ``persistence.Util`` of Apache ZooKeeper.
"""

import time
from pathlib import Path
from typing import NamedTuple

from zoolet.console.os_errors import explain
from zoolet.process.pids import is_alive
from zoolet.storage.compression import Compression, compression_of
from zoolet.storage.disk import DirectoryLock, Disk
from zoolet.storage.errors import DirectoryError, StorageError

VERSION_DIRECTORY = "version-2"
LOCK_NAME = "zookeeper_server.pid"
"""The lock file in dataDir and dataLogDir; it is locked by the server and contains its pid."""

TORN = "torn."
"""The prefix of the name of a file with the torn tail of a log: ``torn.LOG.OFFSET``."""

REPLACING = "replacing."
"""The prefix of the name of a file that exists while files of the data directory are replaced."""

UNFINISHED = "unfinished."
"""The prefix of the name of a file that is being written. Apache ZooKeeper ignores such files: it
looks for names that begin with "snapshot"."""

_PROBE_NAME = f"{UNFINISHED}probe"

_PROBE_BYTES = 4096

_PID_TRIES = 20
_PID_PAUSE_S = 0.05


def replace_file(disk: Disk, path: Path, content: bytes) -> None:
    """Write a small file; it is on disk when the call returns. Raises OSError.

    After a crash, the file has the old content or the new one.
    """
    unfinished = path.with_name(UNFINISHED + path.name)
    disk.remove(unfinished)
    file = disk.create(unfinished)
    try:
        file.write(content)
        file.sync()
    finally:
        file.close()
    disk.rename(unfinished, path)
    disk.sync_directory(path.parent)


class DataDirectories(NamedTuple):
    """The two directories of a server; both may be the same directory."""

    snapshots: Path
    logs: Path

    @classmethod
    def of(cls, data_dir: Path, data_log_dir: Path | None = None) -> "DataDirectories":
        """Return the directories for ``dataDir`` and ``dataLogDir``.

        If both names lead to the same directory, for example through a link, the result has the
        same path twice.
        """
        snapshots, logs = (
            directory / VERSION_DIRECTORY for directory in (data_dir, data_log_dir or data_dir)
        )
        return cls(snapshots, snapshots if logs.resolve() == snapshots.resolve() else logs)

    def prepare(self, disk: Disk) -> None:
        """Create the directories that do not exist; raises DirectoryError if that fails."""
        for directory in dict.fromkeys(self):
            try:
                disk.make_directory(directory)
            except OSError as error:
                raise DirectoryError(
                    f"cannot make the directory {directory}. {explain(error)} Or set dataDir (and"
                    " dataLogDir) in zoo.cfg to a directory that the server's user can write."
                ) from error

    def check_exist(self, disk: Disk) -> None:
        """Raise DirectoryError if a directory does not exist, for example after a lost mount."""
        for directory in dict.fromkeys(self):
            try:
                disk.list_names(directory)
            except FileNotFoundError as error:
                raise DirectoryError(
                    f"the data directory {directory} does not exist, and datadir.autocreate is"
                    " false. Mount its file system, or create the directory."
                ) from error

    def lock(self, disk: Disk) -> list[DirectoryLock]:
        """Lock the directories against other servers, and write this process's pid to the files.

        Raises StorageError if another server holds a lock, and DirectoryError if this user cannot
        write there.
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
                    f" directory {directory}. Stop that server, or set another dataDir in zoo.cfg."
                ) from error
            raise DirectoryError(
                f"cannot write in the data directory {directory}. {explain(error)}"
                " Or set another dataDir in zoo.cfg."
            ) from error
        return list(locks.values())

    def check_writable(self, disk: Disk) -> None:
        """Write a file in each directory and remove it; raises DirectoryError if that fails.

        Without this check, the server would start and then end at the first change of a client. The
        caller must hold the locks, so that no other server writes the same file.
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
                raise DirectoryError(
                    f"cannot write in the directory {directory}. {explain(error)} The server must"
                    " be able to write its transaction log and its snapshots there."
                ) from error


def _already_running(lock_path: Path) -> str:
    """Return Apache ZooKeeper's message for a second server, with the pid in the lock file.

    A process writes its pid after it has locked the file. Until then, the file is empty or contains
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
    """Return the pid in the content of a lock file; None if there is none."""
    return int(content) if content.strip().isdigit() else None


def log_name(zxid: int) -> str:
    """Return the name of the log whose first txn is ``zxid``."""
    return f"log.{zxid:x}"


def snapshot_name(zxid: int, compression: Compression = Compression.NONE) -> str:
    """Return the name of the snapshot of the state after ``zxid``."""
    return f"snapshot.{zxid:x}{compression.suffix}"


def by_zxid(names: list[str], kind: str) -> list[tuple[int, str]]:
    """Return the zxid and name of each name of a kind, in order of zxid.

    ``kind`` is ``log`` or ``snapshot``; names that do not end in a zxid are ignored.
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
