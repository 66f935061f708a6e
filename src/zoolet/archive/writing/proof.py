"""Whether the files of a server continue an archive, where no equal txn in both proves it."""

from typing import TYPE_CHECKING

from zoolet.archive.errors import ArchiveError
from zoolet.archive.reading.archive_source import ArchiveSource
from zoolet.archive.store.archive import Archive
from zoolet.archive.writing.log_tail import LogTail
from zoolet.data.directory_reader import state_of
from zoolet.model.paths import CONFIG
from zoolet.storage.disk import Disk
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories, by_zxid
from zoolet.storage.recovery import AsOf
from zoolet.wire.txns import decode_txn

if TYPE_CHECKING:
    from zoolet.state_machine.tree import Tree


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


def _content(tree: "Tree") -> dict[str, object]:
    """Return the znodes; without those that each member of an ensemble sets itself."""
    return {path: (node.record, node.acl) for path, node in tree.znodes() if path != CONFIG}
