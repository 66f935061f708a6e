"""Replacing files of a data directory by those that a leader's history needs.

A leader may make an observer forget txns that the leader does not have: with a snapshot, or by
cutting the log. The files that are not valid any more are moved to the folder ``replaced-N`` in the
directory in which they were, and never deleted. ``version-2/replaced-N`` has its files in a folder
``version-2``, so that the tools for data directories can read it.

Invariant: after a crash at any time, ``finish_replacement`` leaves the old state or the new one. A
*marker*, an empty file with the kind and the parameters in its name, is written before the first
file is moved and removed after the last one. While there is a marker, the new state is the valid
one. Each move can be repeated.
"""

from pathlib import Path
from typing import Final, NamedTuple

from zoolet.storage.disk import READ_BLOCK_BYTES, Disk
from zoolet.storage.epochs import EPOCH_FILES
from zoolet.storage.errors import DamagedFileError, StorageError
from zoolet.storage.files import (
    REPLACING,
    TORN,
    VERSION_DIRECTORY,
    DataDirectories,
    by_zxid,
    log_name,
)
from zoolet.storage.recovery import AsOf, Recovery, recover
from zoolet.storage.txn_log import LOG_HEADER_BYTES, end_of_data, read_records

RECEIVED: Final = "received"
"""The name of the folders, in both directories, with the files that come from the leader and are
not valid yet."""

_REPLACED: Final = "replaced-"
_DISCARD: Final = "discard"
_TRUNCATE: Final = "truncate"
_INSTALL: Final = "install"
_PUBLISH: Final = "publish"
_NO_SNAPSHOT: Final = -1


class CannotTruncateError(StorageError):
    """The files do not contain the state to which the log must be cut."""


class _Marker(NamedTuple):
    """What is being replaced; it is stored as the name of an empty file.

    Attributes:
        kind: one of the four kinds.
        number: the number of the folder ``replaced-N``.
        zxid: for a truncation, the last zxid that remains.
        snapshot_zxid: for a truncation, the newest snapshot that remains; -1 if there is none.
    """

    kind: str
    number: int
    zxid: int = 0
    snapshot_zxid: int = _NO_SNAPSHOT

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"{REPLACING}{self.kind}.{self.number}.{self.zxid:x}.{self.snapshot_zxid:x}"

    @classmethod
    def of(cls, name: str) -> "_Marker":
        """Return the marker with this name."""
        kind, number, zxid, snapshot_zxid = name.removeprefix(REPLACING).split(".")
        return cls(kind, int(number), int(zxid, 16), int(snapshot_zxid, 16))


def finish_replacement(disk: Disk, directories: DataDirectories) -> list[str]:
    """Finish a replacement that a crash interrupted, and remove files that were never complete.

    The server calls this before recovery. Returns notes for the log.
    """
    notes = []
    for name in disk.list_names(directories.snapshots):
        if name.startswith(REPLACING):
            _carry_out(disk, directories, _Marker.of(name))
            notes.append(f"finished the replacement of files that was interrupted ({name})")
    remove_received(disk, directories)
    return notes


def set_all_aside(disk: Disk, directories: DataDirectories) -> Path:
    """Move all data and the epochs away; return the folder with the snapshots."""
    return _begin(disk, directories, _DISCARD)


def install_received(disk: Disk, directories: DataDirectories) -> Path:
    """Replace all data by the received files, which are complete and on disk.

    Returns the folder with the old snapshots.
    """
    return _begin(disk, directories, _INSTALL)


def truncate(
    disk: Disk, directories: DataDirectories, zxid: int, session_bucket_ms: int
) -> Recovery:
    """Remove all txns after ``zxid``, also from snapshots; return the state after ``zxid``.

    The caller must have ended the log (``TxnLog.roll``). Raises CannotTruncateError if the files do
    not contain this state; then nothing is changed.
    """
    try:
        as_of = AsOf(zxid=zxid, snapshot_zxid=_exact_snapshot_zxid(disk, directories, zxid))
        recovery = recover(disk, directories, session_bucket_ms, as_of)
        kept = recovery.snapshot_zxid
        snapshot_zxid = _NO_SNAPSHOT if kept is None else kept
        _find_cuts(disk, directories, zxid, snapshot_zxid)
    except StorageError as error:
        raise CannotTruncateError(str(error)) from error
    if recovery.machine.zxid != zxid:
        raise CannotTruncateError(
            f"{directories.snapshots} does not contain the state of zxid 0x{zxid:x}; the nearest"
            f" one before it is 0x{recovery.machine.zxid:x}"
        )
    _begin(disk, directories, _TRUNCATE, zxid=zxid, snapshot_zxid=snapshot_zxid)
    return recovery


def _exact_snapshot_zxid(disk: Disk, directories: DataDirectories, zxid: int) -> int:
    """Return the zxid of the newest snapshot that surely has no txn after ``zxid``.

    A snapshot of Apache ZooKeeper, or of a leader, may contain txns after its own zxid, and its
    znodes do not show all of them. But it has none after the next snapshot, which was begun later.
    The snapshot of zxid 0 is that of a new database.
    """
    names = by_zxid(disk.list_names(directories.snapshots), "snapshot")
    before = sorted({0} | {snapshot_zxid for snapshot_zxid, _ in names if snapshot_zxid <= zxid})
    return before[-2] if len(before) > 1 else 0


def remove_received(disk: Disk, directories: DataDirectories) -> None:
    """Remove the received files that are not valid."""
    for directory in dict.fromkeys(directories):
        for name in _names_in(disk, directory / RECEIVED):
            disk.remove(directory / RECEIVED / name)


# --- Steps


def _begin(
    disk: Disk,
    directories: DataDirectories,
    kind: str,
    zxid: int = 0,
    snapshot_zxid: int = _NO_SNAPSHOT,
) -> Path:
    """Write the marker, move the files, and remove the marker; return the folder."""
    number = 1
    while any(_names_in(disk, _folder(directory, number)) for directory in directories):
        number += 1
    for directory in dict.fromkeys(directories):
        disk.make_directory(_folder(directory, number))
        disk.sync_directory(_folder(directory, number).parent)
        disk.sync_directory(directory)
    marker = _Marker(kind, number, zxid, snapshot_zxid)
    disk.create(directories.snapshots / marker.name).close()
    disk.sync_directory(directories.snapshots)
    _carry_out(disk, directories, marker)
    return _folder(directories.snapshots, number).parent


def _carry_out(disk: Disk, directories: DataDirectories, marker: _Marker) -> None:
    """Move the files that are not moved yet, and remove the marker."""
    if marker.kind == _TRUNCATE:
        _cut(disk, directories, marker)
    elif marker.kind == _PUBLISH:
        _publish(disk, directories)
    else:
        _set_aside(disk, directories, marker)
    path = directories.snapshots / marker.name
    if marker.kind == _INSTALL:
        # From here on, the directory has new files, which must not be set aside.
        next_marker = marker._replace(kind=_PUBLISH)
        disk.rename(path, directories.snapshots / next_marker.name)
        disk.sync_directory(directories.snapshots)
        _carry_out(disk, directories, next_marker)
        return
    disk.remove(path)
    disk.sync_directory(directories.snapshots)


def _set_aside(disk: Disk, directories: DataDirectories, marker: _Marker) -> None:
    for directory in dict.fromkeys(directories):
        names = _data_names(disk.list_names(directory))
        if marker.kind == _DISCARD:
            names += [name for name in EPOCH_FILES if name in disk.list_names(directory)]
        _move(disk, names, directory, _folder(directory, marker.number))


def _publish(disk: Disk, directories: DataDirectories) -> None:
    """Move the received files to their places."""
    for directory in dict.fromkeys(directories):
        received = directory / RECEIVED
        _move(disk, _data_names(_names_in(disk, received)), received, directory)


def _cut(disk: Disk, directories: DataDirectories, marker: _Marker) -> None:
    """Move what comes after the marker's zxid: snapshots, whole logs, the end of a log."""
    snapshots, logs = directories
    names = by_zxid(disk.list_names(snapshots), "snapshot")
    newer = [name for zxid, name in names if zxid > marker.snapshot_zxid]
    _move(disk, newer, snapshots, _folder(snapshots, marker.number))
    # The newest log first, so that its end has the name of a log. Another log has an end only if
    # logs contain txns again.
    for cut in reversed(_find_cuts(disk, directories, marker.zxid, marker.snapshot_zxid)):
        _copy_end(disk, cut, _folder(logs, marker.number))
        disk.truncate(cut.path, cut.offset)
    newer = [name for zxid, name in by_zxid(disk.list_names(logs), "log") if zxid > marker.zxid]
    _move(disk, newer, logs, _folder(logs, marker.number))


class _Cut(NamedTuple):
    """The log that has to be cut, at which byte, and the name for the part after it."""

    path: Path
    offset: int
    name_of_end: str


def _find_cuts(
    disk: Disk, directories: DataDirectories, zxid: int, snapshot_zxid: int
) -> list[_Cut]:
    """Return the logs that contain txns up to ``zxid`` and bytes after them, oldest first.

    Only the logs count that recovery reads after the snapshot of ``snapshot_zxid``.
    """
    logs = by_zxid(disk.list_names(directories.logs), "log")
    begun = [(first_zxid, name) for first_zxid, name in logs if first_zxid <= zxid]
    needed = [first_zxid for first_zxid, _ in begun if first_zxid <= snapshot_zxid + 1]
    found = (
        _find_cut(disk, directories.logs / name, zxid, is_newest=name == begun[-1][1])
        for _, name in begun[max(0, len(needed) - 1) :]
    )
    return [cut for cut in found if cut is not None]


def _find_cut(disk: Disk, path: Path, zxid: int, *, is_newest: bool) -> _Cut | None:
    """Return where the part of a log after ``zxid`` begins; None if there is no such part."""
    with disk.open(path) as log:
        try:
            for offset, txn in read_records(path, log):
                if txn.header.zxid > zxid:
                    name = log_name(txn.header.zxid) if is_newest else _torn_name(path, offset)
                    return _Cut(path, offset, name)
        except DamagedFileError as error:
            return _Cut(path, error.offset, _torn_name(path, error.offset)) if is_newest else None
    return None


def _torn_name(path: Path, offset: int) -> str:
    return f"{TORN}{path.name}.{offset}"


def _copy_end(disk: Disk, cut: _Cut, folder: Path) -> None:
    """Write the part of the log after the cut to a file in the folder, with the log's header."""
    copy = folder / cut.name_of_end
    disk.remove(copy)
    file = disk.create(copy)
    try:
        with disk.open(cut.path) as log:
            end = end_of_data(log, cut.offset)
            file.write(log.read_at(0, LOG_HEADER_BYTES))
            for begin in range(cut.offset, end, READ_BLOCK_BYTES):
                file.write(log.read_at(begin, min(READ_BLOCK_BYTES, end - begin)))
        file.sync()
    finally:
        file.close()
    disk.sync_directory(folder)


def _data_names(names: list[str]) -> list[str]:
    """Return the names of snapshots, logs, and torn tails of logs."""
    data = [name for kind in ("snapshot", "log") for _, name in by_zxid(names, kind)]
    return data + [name for name in names if name.startswith(TORN)]


def _move(disk: Disk, names: list[str], source: Path, target: Path) -> None:
    for name in names:
        disk.rename(source / name, target / name)
    if names:
        disk.sync_directory(target)
        disk.sync_directory(source)


def _folder(directory: Path, number: int) -> Path:
    return directory / f"{_REPLACED}{number}" / VERSION_DIRECTORY


def _names_in(disk: Disk, folder: Path) -> list[str]:
    """Return the names in a folder, which may not exist."""
    try:
        return disk.list_names(folder)
    except FileNotFoundError:
        return []
