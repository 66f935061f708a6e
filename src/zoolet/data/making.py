"""Making a new data directory: of a state in the past, or of an export."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from zoolet.core.tree import Tree
from zoolet.data.showing import Shown, read_acl, read_data, read_stat, show_znodes
from zoolet.model.owners import OwnerKind
from zoolet.storage.disk import Disk
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories
from zoolet.storage.snapshots import Image, write_snapshot

_FORMAT = 1
_FORMAT_KEY = "zoolet_export"


def write_data_directory(data_dir: Path, zxid: int, tree: Tree, sessions: dict[int, int]) -> Path:
    """Write a state as the only snapshot of a new data directory; returns its path.

    Raises StorageError where the directory has files already, or cannot be written.
    """
    directories, disk = DataDirectories.of(data_dir), Disk()
    if data_dir.exists() and any(data_dir.iterdir()):
        raise StorageError(f"{data_dir} is not empty: name a directory that is, or is not there.")
    directories.prepare(disk)
    try:
        return write_snapshot(disk, directories.snapshots, Image(zxid, tree, sessions))
    except OSError as error:
        raise StorageError(f"cannot write {directories.snapshots}: {error}.") from error


def export_tree(
    zxid: int, tree: Tree, output: IO[str], track: Callable[[Iterable[Shown]], Iterable[Shown]]
) -> None:
    """Write a tree as JSON lines: first the format and the zxid, then a znode a line."""
    output.write(json.dumps({_FORMAT_KEY: _FORMAT, "zxid": f"0x{zxid:x}"}) + "\n")
    for shown in track(show_znodes(tree)):
        output.write(json.dumps(shown, ensure_ascii=False) + "\n")


def import_tree(lines: Iterable[str], name: str) -> tuple[int, Tree]:
    """Return the zxid and tree that an export holds; raises StorageError, with the line's number.

    Ephemerals stay without their sessions, which an export does not hold: they become plain znodes.
    """
    tree, zxid = Tree(), 0
    for number, line in enumerate(lines, 1):
        try:
            shown = json.loads(line)
            if number == 1:
                zxid = _zxid_of(shown)
            else:
                _add(tree, shown)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(
                f"{name}:{number}: this is no line of an export: {error!r}. Make one with: zoolet"
                " data export."
            ) from error
    if "/" not in tree.records:
        raise StorageError(f"{name}: the export has no root; it is cut short or empty.")
    tree.count_all_children()
    return zxid, tree


def _zxid_of(first: Shown) -> int:
    """Return the zxid that an export's first line names."""
    if first.get(_FORMAT_KEY) != _FORMAT:
        raise ValueError(f"no export of format {_FORMAT}")
    return int(str(first["zxid"]), 16)


def _add(tree: Tree, shown: Shown) -> None:
    path, stat = str(shown["path"]), read_stat(shown["stat"])
    if stat.ephemeral_owner and OwnerKind.of(stat.ephemeral_owner) is OwnerKind.SESSION:
        stat = stat._replace(ephemeral_owner=0)
    created = shown["created"]
    if not isinstance(created, int):
        raise TypeError("created must be a number")
    acl = read_acl(shown["acl"])
    tree.add(path, read_data(shown), acl, stat, created)
