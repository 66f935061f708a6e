"""Recovery: the newest undamaged snapshot, and the txns after it.

If a file that is needed cannot be read, the server does not start; the message has the file, the
offset and what the user can do. The only exception is a torn tail of the newest log: an unfinished
write, whose txns were never acknowledged. The tail is saved in a separate file before it is cut
off. Recovery passes over damage that hides no txn: the torn tail of an older log, if the next log
has the next txn (``may_pass_over``), and a snapshot whose txns are in an older snapshot and the
logs. It also passes over txns that the logs contain again (``RepeatedTxns``).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zoolet.model.learner import epoch_of
from zoolet.model.txns import Txn
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.storage.disk import READ_BLOCK_BYTES, Disk, ReadableFile
from zoolet.storage.errors import DamagedFileError, StorageError, ways_on
from zoolet.storage.files import TORN, DataDirectories, by_zxid
from zoolet.storage.later_changes import has_later_changes
from zoolet.storage.open_acls import OpenAcls
from zoolet.storage.placement import check_logs_have_snapshot, check_placement
from zoolet.storage.repeated_txns import RepeatedTxns
from zoolet.storage.snapshots import Snapshot, read_snapshot
from zoolet.storage.txn_log import end_of_data, is_torn, may_pass_over, read_records


class AsOf(NamedTuple):
    """The last txn that counts, by zxid, by time in ms since the epoch, or both; None: no limit.

    ``snapshot_zxid`` is the newest snapshot from which recovery may start; None: no limit.
    """

    zxid: int | None = None
    time_ms: int | None = None
    snapshot_zxid: int | None = None

    @property
    def is_limit(self) -> bool:
        """Whether some txns may not count."""
        return self.zxid is not None or self.time_ms is not None

    def includes(self, txn: Txn) -> bool:
        """Return whether a txn counts."""
        return (self.zxid is None or txn.header.zxid <= self.zxid) and (
            self.time_ms is None or txn.header.time_ms <= self.time_ms
        )

    def may_begin_with(self, zxid: int, tree: Tree) -> bool:
        """Return whether recovery may start from a snapshot: whether all its txns count.

        A snapshot of Apache ZooKeeper may contain txns after its zxid. The Stats show such txns.
        """
        if self == ALL:
            return True
        stats = [node.stat for _, node in tree.znodes()]
        last_zxid = max([zxid, *(max(stat.mzxid, stat.pzxid) for stat in stats)])
        last_time_ms = max((stat.mtime for stat in stats), default=0)
        return (self.zxid is None or last_zxid <= self.zxid) and (
            self.time_ms is None or last_time_ms <= self.time_ms
        )


ALL = AsOf()

PASSED_OVER = "ignoring a snapshot that cannot be read"
"""The beginning of a note about a damaged snapshot."""


class Recovery(NamedTuple):
    """The result of recovery.

    Attributes:
        machine: the state after the last txn.
        txns_replayed: the number of txns in the logs after the snapshot.
        snapshot_zxid: the zxid of the snapshot; None if there was no snapshot.
        notes: warnings for the operator.
    """

    machine: StateMachine
    txns_replayed: int
    snapshot_zxid: int | None
    notes: list[str]


def recover(
    disk: Disk, directories: DataDirectories, session_bucket_ms: int, as_of: AsOf = ALL
) -> Recovery:
    """Read the data directory; raises StorageError if files are damaged or missing.

    ``as_of`` selects an earlier state; then ``disk`` should be one that changes nothing. An empty
    directory results in the tree of a new database. The timeouts of the sessions are not running
    yet: see ``SessionTable.restart_clocks``.
    """
    check_placement(disk, directories)
    if as_of == ALL:
        check_logs_have_snapshot(disk, directories)
    notes: list[str] = []
    damaged: list[DamagedFileError] = []
    for snapshot_zxid, path, snapshot in _snapshots(disk, directories, damaged, as_of):
        sessions = SessionTable(session_bucket_ms)
        for session_id, timeout_ms in snapshot.sessions.items():
            sessions.open(session_id, timeout_ms, now_ms=0)
        machine = StateMachine(snapshot.tree, sessions, snapshot_zxid or 0)
        open_acls = OpenAcls(machine.tree, snapshot.open_acls)
        replayed = _replay(disk, directories.logs, machine, open_acls, notes, as_of)
        if path is None:
            break
        if as_of.is_limit and has_later_changes(disk, directories, snapshot_zxid or 0, machine):
            continue
        reason = open_acls.reason_unusable()
        if reason is None:
            break
        damaged.append(DamagedFileError(path, 0, reason))
    if as_of == ALL:
        _check_damaged(damaged, directories, machine.zxid)
        notes += _missing_logs(disk, directories, snapshot_zxid or 0)
    passed_over = [f"{PASSED_OVER}: {error}" for error in damaged]
    return Recovery(machine, replayed, snapshot_zxid, passed_over + list(dict.fromkeys(notes)))


def _snapshots(
    disk: Disk, directories: DataDirectories, damaged: list[DamagedFileError], as_of: AsOf
) -> Iterator[tuple[int | None, Path | None, Snapshot]]:
    """Yield the states from which recovery may start: each readable snapshot, the newest first.

    After them, yields the tree of a new database, if the logs are complete.
    """
    directory = directories.snapshots
    for zxid, name in reversed(by_zxid(disk.list_names(directory), "snapshot")):
        if any(limit is not None and zxid > limit for limit in (as_of.zxid, as_of.snapshot_zxid)):
            continue
        path = directory / name
        try:
            snapshot = read_snapshot(path, disk.read(path))
        except DamagedFileError as error:
            damaged.append(error)
            continue
        if as_of.may_begin_with(zxid, snapshot.tree):
            yield zxid, path, snapshot
    logs = by_zxid(disk.list_names(directories.logs), "log")
    if logs and logs[0][0] > 1:
        newest = f" The newest snapshot: {damaged[0]}" if damaged else ""
        if as_of.is_limit:
            raise StorageError(
                f"{directory} holds no snapshot from before this moment that can be used, and the"
                f" logs in {directories.logs} begin only at zxid 0x{logs[0][0]:x}: restore a later"
                f" moment, or use an older copy of the files.{newest}"
            )
        raise StorageError(
            f"{directory} holds no snapshot that can be read, and the logs in {directories.logs}"
            f" begin only at zxid 0x{logs[0][0]:x}: the txns before it are missing. Restore a"
            " snapshot of this server from a backup, or set dataDir to an empty directory to start"
            f" without data.{newest}"
        )
    yield None, None, Snapshot(Tree.fresh(), {}, {})


def _check_damaged(
    damaged: list[DamagedFileError], directories: DataDirectories, zxid: int
) -> None:
    """Raise StorageError if a damaged snapshot is newer than the recovered state."""
    errors = {error.path.name: error for error in damaged}
    for snapshot_zxid, name in by_zxid(list(errors), "snapshot"):
        if snapshot_zxid > zxid:
            raise StorageError(
                f"{errors[name]} The logs in {directories.logs} end at zxid 0x{zxid:x}:"
                f" at most 0x{snapshot_zxid - zxid:x} txns are lost."
                f" {ways_on(directories.logs, zxid)}"
            )


def _missing_logs(disk: Disk, directories: DataDirectories, snapshot_zxid: int) -> list[str]:
    """Return a note if a server has run here, but there is no log.

    This happens after a restore from a snapshot only, and if somebody removed the dataLogDir.
    """
    if snapshot_zxid == 0 or by_zxid(disk.list_names(directories.logs), "log"):
        return []
    note = (
        f"{directories.logs} holds no transaction log. The server starts from the snapshot of zxid"
        f" 0x{snapshot_zxid:x}. If there were logs, stop the server and restore them: only the logs"
        " contain the changes after the snapshot"
    )
    return [note]


def _replay(
    disk: Disk,
    directory: Path,
    machine: StateMachine,
    open_acls: OpenAcls,
    notes: list[str],
    as_of: AsOf,
) -> int:
    """Apply the txns after ``machine.zxid``; return the number of applied txns."""
    logs = by_zxid(disk.list_names(directory), "log")
    # As in Apache: if a log begins with the next txn, the logs before it are not needed.
    before = [zxid for zxid, _ in logs if zxid <= machine.zxid + 1]
    start_zxid = before[-1] if before else 0
    wanted = [(zxid, name) for zxid, name in logs if zxid >= start_zxid]
    repeated = RepeatedTxns(disk, [(zxid, directory / name) for zxid, name in logs])
    replayed = last_zxid = 0
    has_limit = as_of.is_limit
    for position, (_, name) in enumerate(wanted):
        path = directory / name
        is_newest = position == len(wanted) - 1
        offset = 0
        with disk.open(path) as log:
            try:
                for offset, txn in read_records(path, log):
                    zxid = txn.header.zxid
                    if zxid <= last_zxid and repeated.includes(
                        path, offset, txn, last_zxid, machine.zxid
                    ):
                        continue
                    last_zxid = zxid
                    if has_limit and not as_of.includes(txn):
                        return replayed
                    if zxid > machine.zxid:
                        _check_gap(path, offset, zxid, machine.zxid)
                        machine.apply(txn)
                        if open_acls.are_open:
                            open_acls.settle(txn.body)
                        replayed += 1
                    if has_limit and machine.zxid == as_of.zxid:
                        return replayed
            except DamagedFileError as error:
                notes.append(
                    _torn_tail(disk, path, log, error, machine.zxid, wanted[position + 1 :])
                )
        if is_newest:
            _end_log(disk, path, offset, is_empty=not offset)
    notes += repeated.notes()
    return replayed


def _torn_tail(
    disk: Disk,
    path: Path,
    log: ReadableFile,
    error: DamagedFileError,
    zxid: int,
    newer: list[tuple[int, str]],
) -> str:
    """Cut off the torn tail of the newest log, or pass over that of an older one; return a note.

    ``zxid`` is the zxid before the damage, ``newer`` are the newer logs with their zxids. Raises
    DamagedFileError if txns may be lost.
    """
    if not hides_nothing(log, error.offset, zxid, newer[0][0] if newer else None):
        raise DamagedFileError(
            path,
            error.offset,
            error.reason,
            f"At most the data after this byte is lost: {log.size_bytes - error.offset}"
            f" bytes of this file and {len(newer)} newer logs. {ways_on(path.parent, zxid)}",
        ) from error
    if newer:
        return f"passing over an unfinished write: {error}"
    return _cut_torn_tail(disk, path, log, error)


def hides_nothing(log: ReadableFile, offset: int, last_zxid: int, next_zxid: int | None) -> bool:
    """Return whether the damage at ``offset`` is an unfinished write that hides no txn.

    ``last_zxid`` is the zxid before the damage, ``next_zxid`` the zxid of the next log; None if the
    damaged log is the newest one.
    """
    if next_zxid is None:
        return is_torn(log, offset)
    return may_pass_over(log, offset, last_zxid, next_zxid)


def _end_log(disk: Disk, path: Path, last_offset: int, *, is_empty: bool) -> None:
    """Finish the newest log, if the process that wrote it did not do so."""
    if is_empty:
        # The first write was not finished. Remove the file: the next log may have the same name.
        disk.remove(path)
        disk.sync_directory(path.parent)
        return
    with disk.open(path) as log:
        end, size_bytes = end_of_data(log, last_offset), log.size_bytes
    if end < size_bytes:
        disk.truncate(path, end)


def _check_gap(path: Path, offset: int, zxid: int, last_zxid: int) -> None:
    """Check that no zxid is missing within an epoch, which is the upper half of the zxid."""
    if zxid != last_zxid + 1 and epoch_of(zxid) == epoch_of(last_zxid):
        raise StorageError(
            f"{path}: at byte {offset}: the txn 0x{zxid:x} comes after 0x{last_zxid:x}: the txns"
            f" between them are missing. {ways_on(path.parent, last_zxid)}"
        )


def _cut_torn_tail(disk: Disk, path: Path, log: ReadableFile, error: DamagedFileError) -> str:
    end = end_of_data(log, error.offset)
    kept = path.with_name(f"{TORN}{path.name}.{error.offset}")
    disk.remove(kept)
    file = disk.create(kept)
    try:
        for begin in range(error.offset, end, READ_BLOCK_BYTES):
            file.write(log.read_at(begin, min(READ_BLOCK_BYTES, end - begin)))
        file.sync()
    finally:
        file.close()
    disk.sync_directory(path.parent)
    disk.truncate(path, error.offset)
    return (
        f"{path}: cut off an unfinished write, which was never acknowledged, at byte"
        f" {error.offset} ({error.reason}); its {end - error.offset} bytes are kept in {kept.name}"
    )
