"""Functions that read a data directory and never change it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zoolet.model.txns import Txn
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.storage.disk import Disk, DiskFile
from zoolet.storage.errors import DamagedFileError, StorageError
from zoolet.storage.files import VERSION_DIRECTORY, DataDirectories, by_zxid
from zoolet.storage.recovery import ALL, AsOf, Recovery, hides_nothing, recover
from zoolet.storage.repeated_txns import RepeatedTxns
from zoolet.storage.snapshots import read_snapshot
from zoolet.storage.txn_log import read_records

_SESSION_BUCKET_MS = 2000


class _NoFile(DiskFile):
    """A file that discards all writes."""

    def __init__(self) -> None:
        pass

    def write(self, data: bytes, zero_bytes: int = 0) -> None:
        pass

    def truncate(self, size_bytes: int) -> None:
        pass

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


class FrozenDisk(Disk):
    """A disk that reads files and ignores all changes, so that recovery changes nothing."""

    def create(self, path: Path, *, synced: bool = False) -> DiskFile:
        """Return a file that discards all writes."""
        del path, synced
        return _NoFile()

    def remove(self, path: Path) -> None:
        """Do nothing."""

    def truncate(self, path: Path, size_bytes: int) -> None:
        """Do nothing."""

    def sync_directory(self, path: Path) -> None:
        """Do nothing."""


def directories_of(data_dir: Path, data_log_dir: Path | None = None) -> DataDirectories:
    """Return the directories of the snapshots and of the logs.

    Each argument may be a dataDir or dataLogDir, or the ``version-2`` in it. Raises StorageError if
    a directory does not exist.
    """
    directories = DataDirectories.of(
        _above(data_dir), None if data_log_dir is None else _above(data_log_dir)
    )
    for directory in dict.fromkeys(directories):
        if not directory.is_dir():
            raise StorageError(
                f"{directory} does not exist: name a dataDir that contains {VERSION_DIRECTORY}"
                " (and with --logs the dataLogDir, if it is another directory)."
            )
    return directories


def _above(directory: Path) -> Path:
    is_version = directory.name == VERSION_DIRECTORY and directory.is_dir()
    return directory.parent if is_version else directory


def state_of(directories: DataDirectories, as_of: AsOf = ALL) -> Recovery:
    """Return the state that a server would start with, or the state at ``as_of``.

    Raises StorageError if the state cannot be read.
    """
    return recover(FrozenDisk(), directories, _SESSION_BUCKET_MS, as_of)


def machine_of(source: Path, data_log_dir: Path | None = None) -> StateMachine:
    """Return the state in a data directory, or in a single snapshot file.

    A snapshot that Apache wrote while it applied txns may lack some ACLs, which only the logs
    contain. In a single snapshot file, such znodes get an ACL of the scheme ``unknown``.
    """
    if not source.is_file():
        return state_of(directories_of(source, data_log_dir)).machine
    snapshot = read_snapshot(source, source.read_bytes())
    zxids = by_zxid([source.name], "snapshot")
    return machine_with(snapshot.tree, snapshot.sessions, zxids[0][0] if zxids else 0)


def machine_with(tree: Tree, sessions: dict[int, int], zxid: int) -> StateMachine:
    """Return the state of a snapshot; ``sessions`` is session id to timeout in ms."""
    table = SessionTable(_SESSION_BUCKET_MS)
    for session_id, timeout_ms in sessions.items():
        table.open(session_id, timeout_ms, now_ms=0)
    return StateMachine(tree, table, zxid)


class LoggedTxn(NamedTuple):
    """A txn, the log that contains it, and its offset in bytes."""

    path: Path
    offset: int
    txn: Txn


def txns_in(directories: DataDirectories) -> Iterator[LoggedTxn]:
    """Yield every txn of every log once, in order; ends at an unfinished write of the newest log.

    Raises DamagedFileError at any other damage that may hide a txn, and StorageError at a txn that
    is out of order.
    """
    logs = by_zxid(Disk().list_names(directories.logs), "log")
    repeated = RepeatedTxns(Disk(), [(zxid, directories.logs / name) for zxid, name in logs])
    last_zxid = 0
    for number, (_, name) in enumerate(logs, 1):
        path = directories.logs / name
        next_zxid = logs[number][0] if number < len(logs) else None
        with Disk().open(path) as log:
            try:
                for offset, txn in read_records(path, log):
                    zxid = txn.header.zxid
                    if zxid <= last_zxid and repeated.includes(path, offset, txn, last_zxid):
                        continue
                    last_zxid = zxid
                    yield LoggedTxn(path, offset, txn)
            except DamagedFileError as error:
                if not hides_nothing(log, error.offset, last_zxid, next_zxid):
                    raise
