"""Fills an empty data directory with the newest state of an archive.

Then the leader sends only the txns after this state, and the archive gets no gap.
"""

from pathlib import Path
from typing import Final

from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.log_records import LOG_FILE_HEADER
from zoolet.archive.store.archive import Archive
from zoolet.archive.store.catalog import Plan
from zoolet.archive.writing.status import log
from zoolet.model.learner import epoch_of
from zoolet.storage.disk import Disk, DiskFile
from zoolet.storage.epochs import EpochFiles
from zoolet.storage.files import UNFINISHED, DataDirectories, by_zxid, log_name, snapshot_name

_UNFINISHED_LOG: Final = UNFINISHED + "log"
_ARCHIVE_ID: Final = "archive-id"


def claim(archive: Archive, work_dir: Path) -> None:
    """Store the archive's id in a work directory; raises ArchiveError if it has another id."""
    path = work_dir / _ARCHIVE_ID
    try:
        stored = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        stored = ""
    if stored and stored != archive.identity.id:
        raise ArchiveError(
            f"the work directory {work_dir} belongs to the archive with the id {stored}, but"
            f" {archive.store.url} has the id {archive.identity.id}. Correct --to, or give this"
            " archive a work directory of its own: --work-dir"
        )
    if not stored:
        work_dir.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(UNFINISHED + _ARCHIVE_ID)
        unfinished.write_text(f"{archive.identity.id}\n", encoding="ascii")
        unfinished.replace(path)


def seed(archive: Archive, directories: DataDirectories) -> None:
    """Write the newest state of the archive, if the directories are empty and the archive is not.

    If objects are damaged, an older snapshot is used; if none can be used, the directories stay
    empty. Raises OSError.
    """
    disk = Disk()
    directories.prepare(disk)
    names = disk.list_names(directories.snapshots)
    if by_zxid(names, "snapshot") or by_zxid(disk.list_names(directories.logs), "log"):
        return
    catalog = archive.catalog()
    if not catalog.lines:
        return
    try:
        for plan in catalog.plans():
            try:
                zxid = _write(archive, directories, plan)
            except ArchiveError as error:
                log.warning("an older state of the archive is used: %s", error)
                _clear(disk, directories)
            else:
                log.info("the work directory has the state of the archive at zxid 0x%x", zxid)
                return
    except ArchiveError as error:
        log.warning("%s", error)
    log.warning("no state of the archive can be used: the leader sends all its data")


def _write(archive: Archive, directories: DataDirectories, plan: Plan) -> int:
    """Write the snapshot and the txns after it; return the zxid of the last txn.

    The snapshot gets its name before the log: after a kill in between, the directory has an older
    state, and the leader sends the txns after it.
    """
    disk, folder = Disk(), directories.snapshots
    zxid = plan.snapshot.zxid
    unfinished = folder / (UNFINISHED + snapshot_name(zxid))
    disk.remove(unfinished)
    file = disk.create(unfinished)
    try:
        for piece in archive.snapshot(plan.snapshot):
            file.write(piece)
        file.sync()
    finally:
        file.close()
    first, last = _write_log(archive, directories, plan)
    epochs = EpochFiles(disk, directories)
    epochs.store_accepted(epoch_of(last))
    epochs.store_current(epoch_of(last))
    disk.rename(unfinished, folder / snapshot_name(zxid))
    disk.sync_directory(folder)
    unnamed = directories.logs / _UNFINISHED_LOG
    if first:
        disk.rename(unnamed, directories.logs / log_name(first))
        disk.sync_directory(directories.logs)
    else:
        disk.remove(unnamed)
    return last


def _write_log(archive: Archive, directories: DataDirectories, plan: Plan) -> tuple[int, int]:
    """Write a log without its name; return its first zxid, 0 if it has none, and the last zxid."""
    disk = Disk()
    path = directories.logs / _UNFINISHED_LOG
    disk.remove(path)
    reached = plan.snapshot.zxid
    first = 0
    file: DiskFile = disk.create(path)
    try:
        file.write(LOG_FILE_HEADER)
        for segment in plan.segments:
            for txn in archive.txns(segment):
                if txn.zxid > reached:
                    file.write(txn.encoded)
                    reached = txn.zxid
                    first = first or txn.zxid
        file.sync()
    finally:
        file.close()
    return first, reached


def _clear(disk: Disk, directories: DataDirectories) -> None:
    for directory in dict.fromkeys(directories):
        for name in disk.list_names(directory):
            if (path := directory / name).is_file():
                disk.remove(path)
