"""Recovery: the newest snapshot that is whole, and the txns after it.

Nothing is guessed: what cannot be read refuses the start, with file, offset and what to do, but for
the torn tail of the newest log, whose writer died before it could acknowledge it. That tail is kept
in a file of its own before it is cut off.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zoolet.model.codes import OpCode
from zoolet.model.txns import Txn
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.storage.disk import READ_BLOCK_BYTES, Disk, ReadableFile
from zoolet.storage.errors import DamagedFileError, StorageError
from zoolet.storage.files import TORN, DataDirectories, by_zxid
from zoolet.storage.open_acls import OpenAcls
from zoolet.storage.placement import check_logs_have_snapshot, check_placement
from zoolet.storage.snapshots import Snapshot, read_snapshot
from zoolet.storage.txn_log import end_of_data, is_torn, read_records

_EPOCH_BITS = 32


class AsOf(NamedTuple):
    """Up to where txns count: a zxid, a time in ms since the epoch, or both; None is any."""

    zxid: int | None = None
    time_ms: int | None = None

    def includes(self, txn: Txn) -> bool:
        """Say whether a txn counts."""
        return (self.zxid is None or txn.header.zxid <= self.zxid) and (
            self.time_ms is None or txn.header.time_ms <= self.time_ms
        )

    def may_begin_with(self, zxid: int, tree: Tree) -> bool:
        """Say whether a snapshot shows nothing that does not count.

        One of Apache's may hold txns behind its zxid; they have left their traces in Stats.
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


class Recovery(NamedTuple):
    """What recovery found.

    Attributes:
        machine: the state after the last txn.
        txns_replayed: how many txns the logs held after the snapshot.
        snapshot_zxid: the snapshot's zxid; None where there was none.
        notes: what was out of the ordinary, for the operator to read.
    """

    machine: StateMachine
    txns_replayed: int
    snapshot_zxid: int | None
    notes: list[str]


def recover(
    disk: Disk, directories: DataDirectories, session_bucket_ms: int, as_of: AsOf = ALL
) -> Recovery:
    """Read the data directory; raises StorageError where it cannot be trusted.

    ``as_of`` asks for a state before the last; the disk should then be one that changes nothing. An
    empty directory gives the tree of a server that has never run. The sessions' timeouts have not
    begun: see ``SessionTable.restart_clocks``.
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
        reason = open_acls.reason_unusable()
        if reason is None or path is None:
            break
        damaged.append(DamagedFileError(path, 0, reason))
    if as_of == ALL:
        _check_damaged(damaged, directories, machine.zxid)
        notes += _missing_logs(disk, directories, snapshot_zxid or 0)
    passed_over = [f"passing over a snapshot that cannot be read: {error}" for error in damaged]
    return Recovery(machine, replayed, snapshot_zxid, passed_over + list(dict.fromkeys(notes)))


def _snapshots(
    disk: Disk, directories: DataDirectories, damaged: list[DamagedFileError], as_of: AsOf
) -> Iterator[tuple[int | None, Path | None, Snapshot]]:
    """Yield what recovery may begin with: each snapshot that can be read, the newest first.

    Behind them comes the tree of a server that has never run, if the logs are complete.
    """
    directory = directories.snapshots
    for zxid, name in reversed(by_zxid(disk.list_names(directory), "snapshot")):
        if as_of.zxid is not None and zxid > as_of.zxid:
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
        newest = f" The newest one: {damaged[0]}" if damaged else ""
        raise StorageError(
            f"{directory} holds no snapshot that can be read, and the logs in {directories.logs}"
            f" begin only at zxid 0x{logs[0][0]:x}: the txns before it are missing. Put a snapshot"
            f" of this server back, or set an empty dataDir to begin with no data.{newest}"
        )
    yield None, None, Snapshot(Tree.fresh(), {}, {})


def _check_damaged(
    damaged: list[DamagedFileError], directories: DataDirectories, zxid: int
) -> None:
    """Raise StorageError where a damaged snapshot was ahead of all that can be read instead."""
    errors = {error.path.name: error for error in damaged}
    for snapshot_zxid, name in by_zxid(list(errors), "snapshot"):
        if snapshot_zxid > zxid:
            raise StorageError(
                f"{errors[name]} The logs in {directories.logs} end at zxid 0x{zxid:x}:"
                f" 0x{snapshot_zxid - zxid:x} txns are lost at most."
                f" {_ways_on(directories.logs, zxid)}"
            )


def _missing_logs(disk: Disk, directories: DataDirectories, snapshot_zxid: int) -> list[str]:
    """Return a note if a server has run here, and there is no log.

    That is so after a restore from a snapshot alone, and if somebody removed the dataLogDir.
    """
    if snapshot_zxid == 0 or by_zxid(disk.list_names(directories.logs), "log"):
        return []
    note = (
        f"{directories.logs} holds no transaction log. The server begins with the snapshot of zxid"
        f" 0x{snapshot_zxid:x}. If there were logs, stop the server and put them back: changes"
        " after the snapshot are only in them"
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
    """Apply the txns after ``machine.zxid``; returns how many there were."""
    logs = by_zxid(disk.list_names(directory), "log")
    # As in Apache: a log that begins with the next txn makes those before it unnecessary.
    before = [zxid for zxid, _ in logs if zxid <= machine.zxid + 1]
    start_zxid = before[-1] if before else 0
    wanted = [(zxid, name) for zxid, name in logs if zxid >= start_zxid]
    replayed = 0
    for position, (_, name) in enumerate(wanted):
        path = directory / name
        is_newest = position == len(wanted) - 1
        offset = last_zxid = 0
        with disk.open(path) as log:
            try:
                for offset, txn in read_records(path, log):
                    _check_order(path, offset, txn, last_zxid, machine.zxid)
                    last_zxid = txn.header.zxid
                    if not as_of.includes(txn):
                        return replayed
                    if last_zxid > machine.zxid:
                        _check_gap(path, offset, last_zxid, machine.zxid)
                        machine.apply(txn)
                        if open_acls.are_open:
                            open_acls.settle(txn.body)
                        replayed += 1
                    if machine.zxid == as_of.zxid:
                        return replayed
            except DamagedFileError as error:
                if not (is_newest and is_torn(log, error.offset)):
                    raise DamagedFileError(
                        path,
                        error.offset,
                        error.reason,
                        f"What is behind it is lost at most: {log.size_bytes - error.offset} bytes"
                        f" of this file and {len(wanted) - position - 1} newer logs."
                        f" {_ways_on(directory, machine.zxid)}",
                    ) from error
                notes.append(_cut_torn_tail(disk, path, log, error))
        if is_newest:
            _end_log(disk, path, offset, is_empty=not last_zxid)
    return replayed


def _end_log(disk: Disk, path: Path, last_offset: int, *, is_empty: bool) -> None:
    """Do what the process that wrote the newest log has not done, if it died."""
    if is_empty:
        # Its first write never finished. The next log may have the same name: make room.
        disk.remove(path)
        disk.sync_directory(path.parent)
        return
    with disk.open(path) as log:
        end, size_bytes = end_of_data(log, last_offset), log.size_bytes
    if end < size_bytes:
        disk.truncate(path, end)


def _ways_on(directory: Path, zxid: int) -> str:
    """Return what can be done about a log that cannot be read to its end."""
    return (
        "Put back a whole copy; or, to go on knowingly without what cannot be read: zoolet data"
        f" restore {directory.parent} --as-of 0x{zxid:x} --to NEWDIR, and make NEWDIR the dataDir."
        " Nothing was changed."
    )


def _check_order(path: Path, offset: int, txn: Txn, last_zxid: int, applied_zxid: int) -> None:
    """A zxid may stand twice only where Apache ZooKeeper refused what it could not even read."""
    zxid, op_code = txn.header.zxid, txn.header.type
    if zxid < last_zxid or (zxid == last_zxid and op_code != OpCode.ERROR):
        raise StorageError(
            f"{path}: at byte {offset}: the txn 0x{zxid:x} stands behind the txn 0x{last_zxid:x}."
            f" {_ways_on(path.parent, applied_zxid)}"
        )


def _check_gap(path: Path, offset: int, zxid: int, last_zxid: int) -> None:
    """Within an epoch (the upper half of the zxid) each zxid is one more than the last."""
    if zxid >> _EPOCH_BITS == last_zxid >> _EPOCH_BITS and zxid != last_zxid + 1:
        raise StorageError(
            f"{path}: at byte {offset}: the txn 0x{zxid:x} comes after 0x{last_zxid:x}: those"
            f" between them are missing. {_ways_on(path.parent, last_zxid)}"
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
        f"{path}: cut off a write that was never finished, nor acknowledged, at byte"
        f" {error.offset} ({error.reason}); its {end - error.offset} bytes are kept in {kept.name}"
    )
