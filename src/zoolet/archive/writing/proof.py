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


def common_zxid(archive: Archive, directories: DataDirectories) -> int | None:
    """Return the zxid of the last txn that the archive and the logs have in common.

    Returns None if only a session or the creation of a znode is the same in the newest states.
    Raises ArchiveError if nothing is: then the archive is not one of this server. Raises OSError,
    and MovedError if files are replaced.
    """
    if (zxid := _last_equal_zxid(archive, directories)) is not None:
        return zxid
    reason = "no txn, no session and no znode of the server is in the archive"
    try:
        # Not the newest state: if objects at the end were lost, it cannot be read.
        end = archive.catalog().end
        as_of = ALL if end is None else AsOf(zxid=end.zxid)
        archived = ArchiveSource(archive).state_at(as_of).machine
        if has_common_history(archived, state_of(directories).machine):
            return None
    except ArchiveError as error:
        reason = f"the newest state of the archive cannot be read: {error}"
    except StorageError as error:
        raise MovedError from error
    raise ArchiveError(
        f"the archive {archive.store.url} is not known to be one of this server: {reason}."
        f" {OTHER_HISTORY_ADVICE}"
    )


def _last_equal_zxid(archive: Archive, directories: DataDirectories) -> int | None:
    """Return the last zxid whose records are equal in a timeline and in the logs; None if none.

    If a txn is equal, all txns before it are.
    """
    tail = LogTail(directories)
    first = next((txn.zxid for txn in tail.between(0, _LARGEST_ZXID)), None)
    if first is None:
        return None
    for line in reversed(archive.catalog().lines):
        segments = [each for each in line.segments if each.last_zxid >= first]
        if all(_last_equal_in(archive, tail, each) is None for each in segments[:_MOST_SEGMENTS]):
            continue
        for segment in reversed(segments):
            if (zxid := _last_equal_in(archive, tail, segment)) is not None:
                return zxid
    return None


def _last_equal_in(archive: Archive, tail: LogTail, segment: SegmentName) -> int | None:
    between = tail.between(segment.after_zxid, segment.last_zxid)
    records = {each.zxid: each.encoded for each in between}
    if not records:
        return None
    try:
        equal = [
            each.zxid for each in archive.txns(segment) if records.get(each.zxid) == each.encoded
        ]
    except ArchiveError:
        return None  # the object is damaged: another one may prove it
    return max(equal, default=None)


def _content(tree: "Tree") -> dict[str, object]:
    """Return the znodes; without those that each member of an ensemble sets itself."""
    return {path: (node.record, node.acl) for path, node in tree.znodes() if path != CONFIG}
