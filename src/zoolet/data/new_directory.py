"""Functions that create a new data directory, and that read and write exports."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from zoolet.console.os_errors import explain
from zoolet.exports.lines import (
    ExportedZnode,
    ExportError,
    ExportHeader,
    read_export,
    write_export,
)
from zoolet.model import paths
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.stat import STAT_BYTES, Stat
from zoolet.state_machine.lifetimes import owner_of
from zoolet.state_machine.tree import Tree
from zoolet.storage.disk import Disk
from zoolet.storage.errors import StorageError
from zoolet.storage.files import UNFINISHED, DataDirectories
from zoolet.storage.snapshots import Image, write_snapshot


def write_data_directory(data_dir: Path, zxid: int, tree: Tree, sessions: dict[int, int]) -> Path:
    """Write a state as the only snapshot of a new data directory; return the snapshot's path.

    The files get their names at the end, at once. So a server never starts from a part of them.
    Raises StorageError if the directory is not empty or cannot be written.
    """
    directory, disk = DataDirectories.of(data_dir).snapshots, Disk()
    unfinished = data_dir / f"{UNFINISHED}{os.getpid()}"
    try:
        if data_dir.exists() and not all(map(_is_unfinished, data_dir.iterdir())):
            raise StorageError(f"{data_dir} is not empty: name an empty or a new directory.")
        unfinished.mkdir(parents=True)
        try:
            path = write_snapshot(disk, unfinished, Image(zxid, tree, sessions))
            disk.rename(unfinished, directory)  # fails if another command was faster
        except BaseException:
            shutil.rmtree(unfinished)
            raise
        disk.sync_directory(data_dir)
        for left in filter(_is_unfinished, list(data_dir.iterdir())):
            shutil.rmtree(left)  # of a command that was killed
    except OSError as error:
        raise StorageError(
            f"cannot write {data_dir}: {explain(error)} The directory has no data."
        ) from error
    return directory / path.name


def _is_unfinished(path: Path) -> bool:
    return path.name.startswith(UNFINISHED)


def subtree_of(tree: Tree, root: str) -> Tree:
    """Return a tree with a subtree, its ancestors, its quotas, and ZooKeeper's own znodes.

    The znodes keep their Stats and sequence counters; only the counts of children change.
    """
    part = Tree()
    quota = f"{paths.QUOTA}{root}"
    for path, record in tree.all_records().items():  # parents before children
        if path in paths.SYSTEM_PATHS or _is_on_way(path, root) or _is_on_way(path, quota):
            acl = part.acl_table.find_or_add(tree.acl_of(path))
            stat = Stat.unpack(record, len(record) - STAT_BYTES)
            owner = owner_of(tree, path, stat)
            part.put(path, record, acl, tree.created_under(path), owner)
    part.count_all_children()
    return part


def _is_on_way(path: str, root: str) -> bool:
    """Return whether a path is in the subtree ``root``, or an ancestor of it."""
    return path == root or path.startswith(f"{root}/") or root.startswith(f"{path}/")


def znodes_of(tree: Tree) -> Iterator[ExportedZnode]:
    """Yield every znode, parents before children; containers and TTL znodes keep their owner."""
    for path, node in tree.znodes():
        owner = owner_of(tree, path, node.stat)
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
            _check_place(tree, znode.path, name)
            _add(tree, znode)
    except ExportError as error:
        raise StorageError(f"{name}:{error}. Create an export with: zoolet data export.") from error
    if "/" not in tree.records:
        raise StorageError(
            f"{name}: the export has no root: it is incomplete, or an export of a subtree."
        )
    tree.count_all_children()
    return header.zxid, tree


def _check_place(tree: Tree, path: str, name: str) -> None:
    if path in tree.records:
        raise StorageError(f"{name}: the znode {path} is there twice: remove one of the lines.")
    if path != paths.ROOT and paths.parent_of(path) not in tree.records:
        raise StorageError(
            f"{name}: the znode {path} is before its parent, or the parent is missing: put parents"
            " before their children."
        )


def _add(tree: Tree, znode: ExportedZnode) -> None:
    stat = znode.stat
    if stat.ephemeral_owner and OwnerKind.of(stat.ephemeral_owner) is OwnerKind.SESSION:
        stat = stat._replace(ephemeral_owner=0)
    tree.add(znode.path, znode.data, znode.acl, stat, znode.created)
