"""Whether the files of a server and an archive have the same state or a common history.

Two servers may have other txns with the same zxids. Their histories must never be in one archive.
"""

from typing import TYPE_CHECKING, Final

from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.names import SegmentName
from zoolet.archive.reading.archive_source import ArchiveSource
from zoolet.archive.store.archive import Archive
from zoolet.archive.writing.log_tail import LogTail, MovedError
from zoolet.data.directory_reader import state_of
from zoolet.model.paths import CONFIG
from zoolet.storage.common_history import has_common_history
from zoolet.storage.disk import Disk
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories, by_zxid
from zoolet.storage.recovery import ALL, AsOf
from zoolet.wire.txns import decode_txn

if TYPE_CHECKING:
    from zoolet.state_machine.tree import Tree

OTHER_HISTORY_ADVICE: Final = (
    "Nothing of it was archived. If the server or the ensemble was created again, archive it into"
    " a new folder or prefix. Otherwise correct --to, --from, --config or --from-dir."
)
"""What a user can do whose archive has another history than the server."""

_LARGEST_ZXID: Final = (1 << 63) - 1
_MOST_SEGMENTS: Final = 3
"""The most segments of a timeline that are compared: the others may be damaged."""


def has_equal_state(archive: Archive, directories: DataDirectories, zxid: int) -> bool | None:
    """Return whether the archive and the files have the same state at ``zxid``; None if unknown.

    If the files do not have this state any more, the state of the archive and the txns in the logs
    must give a later state of the files. Raises OSError.
    """
    try:
        machine = ArchiveSource(archive).state_at(AsOf(zxid=zxid)).machine
    except ArchiveError:
        return None
    if machine.zxid != zxid:
        return None
    names = by_zxid(Disk().list_names(directories.snapshots), "snapshot")
    for at in (zxid, *(each for each, _ in names if each > zxid)):
        try:
            found = state_of(directories, AsOf(zxid=at)).machine
        except StorageError:
            continue
        if found.zxid != at:
            continue
        for txn in LogTail(directories).between(zxid, at):
            machine.apply(decode_txn(txn.payload))
        return machine.zxid == at and _content(machine.tree) == _content(found.tree)
    return None


def check_common_history(archive: Archive, directories: DataDirectories) -> None:
    """Raise ArchiveError if nothing shows that the archive is one of this server.

    It is, if a txn in the logs is equal to an archived one, or if the newest states have a session
    or the creation of a znode in common. Raises OSError, and MovedError if files are replaced.
    """
    if _has_equal_txn(archive, directories):
        return
    reason = "no txn, no session and no znode of the server is in the archive"
    try:
        # Not the newest state: if objects at the end were lost, it cannot be read.
        end = archive.catalog().end
        as_of = ALL if end is None else AsOf(zxid=end.zxid)
        archived = ArchiveSource(archive).state_at(as_of).machine
        if has_common_history(archived, state_of(directories).machine):
            return
    except ArchiveError as error:
        reason = f"the newest state of the archive cannot be read: {error}"
    except StorageError as error:
        raise MovedError from error
    raise ArchiveError(
        f"the archive {archive.store.url} is not known to be one of this server: {reason}."
        f" {OTHER_HISTORY_ADVICE}"
    )


def _has_equal_txn(archive: Archive, directories: DataDirectories) -> bool:
    """Return whether the oldest txns that a timeline and the logs have are equal."""
    tail = LogTail(directories)
    first = next((txn.zxid for txn in tail.between(0, _LARGEST_ZXID)), None)
    if first is None:
        return False
    for line in reversed(archive.catalog().lines):
        for segment in [each for each in line.segments if each.last_zxid >= first][:_MOST_SEGMENTS]:
            if _is_equal(archive, tail, segment):
                return True
    return False


def _is_equal(archive: Archive, tail: LogTail, segment: SegmentName) -> bool:
    records = {
        each.zxid: each.encoded for each in tail.between(segment.after_zxid, segment.last_zxid)
    }
    try:
        return any(records.get(each.zxid) == each.encoded for each in archive.txns(segment))
    except ArchiveError:
        return False  # the object is damaged: another one may prove it


def _content(tree: "Tree") -> dict[str, object]:
    """Return the znodes; without those that each member of an ensemble sets itself."""
    return {path: (node.record, node.acl) for path, node in tree.znodes() if path != CONFIG}
