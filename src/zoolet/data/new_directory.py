"""Functions that create a new data directory, and that read and write exports."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from zoolet.exports.lines import (
    ExportedZnode,
    ExportError,
    ExportHeader,
    read_export,
    write_export,
)
from zoolet.model import paths
from zoolet.model.owner_kinds import OwnerKind
from zoolet.state_machine.tree import Tree
from zoolet.storage.disk import Disk
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories
from zoolet.storage.snapshots import Image, write_snapshot


def write_data_directory(data_dir: Path, zxid: int, tree: Tree, sessions: dict[int, int]) -> Path:
    """Write a state as the only snapshot of a new data directory; return the snapshot's path.

    Raises StorageError if the directory is not empty or cannot be written.
    """
    directories, disk = DataDirectories.of(data_dir), Disk()
    if data_dir.exists() and any(data_dir.iterdir()):
        raise StorageError(f"{data_dir} is not empty: name an empty or a new directory.")
    directories.prepare(disk)
    try:
        return write_snapshot(disk, directories.snapshots, Image(zxid, tree, sessions))
    except OSError as error:
        raise StorageError(f"cannot write {directories.snapshots}: {error}.") from error


def znodes_of(tree: Tree) -> Iterator[ExportedZnode]:
    """Yield every znode, parents before children; containers and TTL znodes keep their owner."""
    for path, node in tree.znodes():
        owner = tree.perishable.get(path, node.stat.ephemeral_owner)
        stat = node.stat._replace(ephemeral_owner=owner)
        yield ExportedZnode(path, node.data, node.acl, stat, node.created)


def export_tree(
    zxid: int,
    tree: Tree,
    output: IO[str],
    track: Callable[[Iterable[ExportedZnode]], Iterable[ExportedZnode]],
) -> None:
    """Write a tree in the format of exports (``exports/lines.py``)."""
    header = ExportHeader(zxid, paths.ROOT)
    output.writelines(f"{line}\n" for line in write_export(header, track(znodes_of(tree))))


def import_tree(lines: Iterable[str], name: str) -> tuple[int, Tree]:
    """Return the zxid and the tree in an export; raises StorageError with the number of the line.

    An export contains no sessions, so ephemerals become persistent znodes.
    """
    tree = Tree()
    try:
        header, znodes = read_export(lines)
        for znode in znodes:
            _add(tree, znode)
    except ExportError as error:
        raise StorageError(f"{name}:{error}. Create an export with: zoolet data export.") from error
    if "/" not in tree.records:
        raise StorageError(
            f"{name}: the export has no root: it is incomplete, or an export of a subtree."
        )
    tree.count_all_children()
    return header.zxid, tree


def _add(tree: Tree, znode: ExportedZnode) -> None:
    stat = znode.stat
    if stat.ephemeral_owner and OwnerKind.of(stat.ephemeral_owner) is OwnerKind.SESSION:
        stat = stat._replace(ephemeral_owner=0)
    tree.add(znode.path, znode.data, znode.acl, stat, znode.created)
