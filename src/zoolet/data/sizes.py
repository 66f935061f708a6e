"""How many bytes and znodes each subtree has."""

from collections.abc import Iterator
from typing import NamedTuple

from zoolet.state_machine.tree import Tree
from zoolet.state_machine.znode import data_length
from zoolet.storage.errors import StorageError


class Size(NamedTuple):
    """The size of a subtree.

    Attributes:
        path: its uppermost znode.
        size_bytes: of the data of all its znodes; names, ACLs and Stats do not count.
        znodes: how many there are.
    """

    path: str
    size_bytes: int
    znodes: int


def sizes(tree: Tree, root: str, depth: int) -> Iterator[Size]:
    """Yield the size of each subtree down to ``depth`` levels below ``root``, that of root last.

    Raises StorageError if there is no such znode.
    """
    if root not in tree.records:
        raise StorageError(f"there is no znode {root!r} in these files.")
    open_sizes: list[Size] = []  # from the root down to where the walk is
    for path, level in _walk(tree, root):
        while len(open_sizes) > level:
            yield _close_last(open_sizes)
        if level <= depth:
            open_sizes.append(Size(path, 0, 0))
        # A znode that is too deep to be shown counts for the last one that is shown.
        _count(open_sizes, data_length(tree.records[path]), 1)
    while open_sizes:
        yield _close_last(open_sizes)


def _walk(tree: Tree, root: str) -> Iterator[tuple[str, int]]:
    """Yield the paths of a subtree, each behind its parent, and how many levels down it is."""
    waiting = [(root, 0)]
    while waiting:
        path, level = waiting.pop()
        yield path, level
        waiting += ((child, level + 1) for child in reversed(list(tree.children_of(path))))


def _close_last(open_sizes: list[Size]) -> Size:
    """Take the last size off, and add it to the one above."""
    closed = open_sizes.pop()
    if open_sizes:
        _count(open_sizes, closed.size_bytes, closed.znodes)
    return closed


def _count(open_sizes: list[Size], size_bytes: int, znodes: int) -> None:
    last = open_sizes[-1]
    open_sizes[-1] = Size(last.path, last.size_bytes + size_bytes, last.znodes + znodes)
