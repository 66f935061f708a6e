"""The data of a stopped server: the state, and the parts of the files that a copy needs.

Invariant: this module changes no file. A copy of a log does not have the zeros after the last
record, nor an unfinished write at the end of the newest log: a starting server would remove them.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from zoolet.data.directory_reader import state_of
from zoolet.ensemble.errors import EnsembleError
from zoolet.model.owner_kinds import OwnerKind
from zoolet.process.pids import is_alive
from zoolet.state_machine.machine import StateMachine
from zoolet.storage.compression import CompressionError
from zoolet.storage.disk import Disk, ReadableFile
from zoolet.storage.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH
from zoolet.storage.errors import DamagedFileError, StorageError
from zoolet.storage.files import LOCK_NAME, DataDirectories, by_zxid, pid_in
from zoolet.storage.placement import check_logs_have_snapshot
from zoolet.storage.retention import checked_size
from zoolet.storage.txn_log import end_of_data, is_torn, read_records

_LARGEST_EPOCH: Final = (1 << 31) - 1

_RECORD_BYTES_WITHOUT_TXN: Final = 13


class NoDataError(EnsembleError):
    """A directory has neither snapshots nor logs."""


class FilePart(NamedTuple):
    """The first ``size_bytes`` bytes of a file."""

    path: Path
    size_bytes: int


class StoppedData(NamedTuple):
    """The data of a stopped server.

    Attributes:
        directories: the directories of the snapshots and logs.
        machine: the state with which a server would start.
        snapshots: the snapshots to copy.
        logs: the logs to copy, without their padding.
        largest_bytes: the size of the largest txn, or of the largest data of a znode.
        damaged: the snapshots that cannot be read, and are not copied.
        notes: what the user must know about the data.
    """

    directories: DataDirectories
    machine: StateMachine
    snapshots: tuple[FilePart, ...]
    logs: tuple[FilePart, ...]
    largest_bytes: int
    damaged: tuple[Path, ...]
    notes: tuple[str, ...]

    @property
    def has_ttl(self) -> bool:
        """Whether there are TTL znodes."""
        owners = self.machine.tree.perishable.values()
        return any(OwnerKind.of(owner) is OwnerKind.TTL for owner in owners)

    @property
    def size_bytes(self) -> int:
        """The size of a copy with one more snapshot."""
        last_bytes = self.snapshots[-1].size_bytes
        return last_bytes + sum(part.size_bytes for part in self.snapshots + self.logs)


def read_stopped_data(disk: Disk, directories: DataDirectories) -> StoppedData:
    """Read the data of a stopped server.

    Raises StorageError if a server would not start, and NoDataError if there are no data.
    """
    if not by_zxid(disk.list_names(directories.snapshots), "snapshot"):
        check_logs_have_snapshot(disk, directories)
        raise NoDataError(f"{directories.snapshots} has no data: there is no snapshot.")
    recovery = state_of(directories)
    damaged: list[Path] = []
    snapshots = list(_snapshots(disk, directories.snapshots, damaged))
    if not snapshots:
        raise StorageError(
            f"{directories.snapshots} has no undamaged snapshot: start a server there and stop it,"
            " so that it writes one."
        )
    notes = [f"{path} is damaged, and is not copied" for path in damaged]
    logs: list[FilePart] = []
    records = recovery.machine.tree.records
    largest_bytes = max((len(records[path]) for path in records), default=0)
    names = by_zxid(disk.list_names(directories.logs), "log")
    if not names and recovery.machine.zxid:
        notes.append(
            f"{directories.logs} holds no transaction log. If there were logs, restore them and"
            " repeat the command: only the logs contain the changes after the last snapshot"
        )
    needed_zxid = (recovery.snapshot_zxid or 0) + 1
    # As in recovery: the last log that begins at or before this zxid, and the newer logs.
    first_needed = max((zxid for zxid, _ in names if zxid <= needed_zxid), default=0)
    for zxid, name in names:
        path = directories.logs / name
        with disk.open(path) as log:
            if zxid < first_needed:
                logs.append(FilePart(path, end_of_data(log, 0)))
                continue
            end, size_bytes = _end_of_records(path, log, notes)
        if end:
            logs.append(FilePart(path, end))
            largest_bytes = max(largest_bytes, size_bytes)
    return StoppedData(
        directories,
        recovery.machine,
        tuple(snapshots),
        tuple(logs),
        largest_bytes,
        tuple(damaged),
        tuple(notes),
    )


def _snapshots(disk: Disk, directory: Path, damaged: list[Path]) -> Iterator[FilePart]:
    """Yield the undamaged snapshots; add the others to ``damaged``."""
    for _, name in by_zxid(disk.list_names(directory), "snapshot"):
        path = directory / name
        try:
            size_bytes = checked_size(disk, path)
        except CompressionError:
            size_bytes = None
        if size_bytes is None:
            damaged.append(path)
        else:
            yield FilePart(path, size_bytes)


def _end_of_records(path: Path, log: ReadableFile, notes: list[str]) -> tuple[int, int]:
    """Return the end of the last record, and the size of the largest txn; 0 if there is none.

    The log is one of those that recovery has read to their end, so any damage is its torn tail.
    """
    last, largest_bytes, end = 0, 0, 0
    try:
        for offset, _ in read_records(path, log):
            if last:
                largest_bytes = max(largest_bytes, offset - last - _RECORD_BYTES_WITHOUT_TXN)
            last = offset
        end = end_of_data(log, last)
    except DamagedFileError as error:
        if not is_torn(log, error.offset):
            raise
        end = error.offset
        notes.append(
            f"{path}: an unfinished write at byte {end} is not copied; it was never acknowledged"
        )
    if not last:
        return 0, 0
    return end, max(largest_bytes, end - last - _RECORD_BYTES_WITHOUT_TXN)


def read_epoch(directories: DataDirectories, name: str) -> int | None:
    """Return the number in a file ``acceptedEpoch`` or ``currentEpoch``; None if it is missing.

    Raises EnsembleError if the file has no number.
    """
    path = directories.snapshots / name
    try:
        epoch = int(path.read_text(encoding="ascii").split("\n", 1)[0])
    except FileNotFoundError:
        return None
    except ValueError:
        epoch = _LARGEST_EPOCH + 1
    # A member that has never had data writes -1.
    if not -1 <= epoch <= _LARGEST_EPOCH:
        raise EnsembleError(f"{path} does not contain a number of an epoch: restore the file.")
    return epoch


def check_stopped(directories: Iterable[Path]) -> None:
    """Raise EnsembleError if a server seems to run on a directory.

    Apache ZooKeeper does not lock its directories, but its script writes the pid into the same
    file as zoolet.
    """
    for directory in dict.fromkeys(directories):
        path = directory / LOCK_NAME
        try:
            pid = pid_in(path.read_bytes())
        except OSError:
            continue
        if pid is not None and is_alive(pid):
            raise EnsembleError(
                f"process {pid} seems to be a server on {directory}: stop it first. If it is not a"
                f" server, remove {path}."
            )


@contextmanager
def locked(disk: Disk, directories: DataDirectories) -> Iterator[None]:
    """Lock directories that a command changes; raises an error if a server runs there."""
    check_stopped(directory.parent for directory in directories)
    locks = directories.lock(disk)
    try:
        yield
    finally:
        for lock in locks:
            lock.release()


def listing_of(directories: DataDirectories) -> dict[Path, tuple[int, int]]:
    """Return the size and the time of the last change of each snapshot, log and epoch file.

    If two listings differ, a server has written meanwhile.
    """
    found = {}
    for directory in dict.fromkeys(directories):
        for path in sorted(directory.iterdir()):
            if path.name.startswith(("snapshot.", "log.", ACCEPTED_EPOCH, CURRENT_EPOCH)):
                status = path.stat()
                found[path] = (status.st_size, status.st_mtime_ns)
    return found


def check_unchanged(directories: DataDirectories, before: dict[Path, tuple[int, int]]) -> None:
    """Raise EnsembleError if the files have changed since ``before``, a listing of them."""
    if listing_of(directories) != before:
        raise EnsembleError(
            f"the files in {directories.snapshots} have changed meanwhile: stop the server on this"
            " directory, and repeat the command."
        )
