"""The number of data bytes and of znodes in each subtree."""

from collections.abc import Iterator
from typing import NamedTuple

from zoolet.state_machine.tree import Tree
from zoolet.state_machine.znode import data_length
from zoolet.storage.errors import StorageError


class Size(NamedTuple):
    """The size of a subtree.

    Attributes:
        path: the path of the subtree's root.
        size_bytes: the size of the data of all its znodes, without names, ACLs and Stats.
        znodes: the number of its znodes.
    """

    path: str
    size_bytes: int
    znodes: int


def sizes(tree: Tree, root: str, depth: int) -> Iterator[Size]:
    """Yield the size of each subtree down to ``depth`` levels below ``root``, and of root last.

    Raises StorageError if ``root`` does not exist.
    """
    if root not in tree.records:
        raise StorageError(f"the znode {root!r} does not exist in these files.")
    open_sizes: list[Size] = []  # from the root down to the current znode of the walk
    for path, level in _walk(tree, root):
        while len(open_sizes) > level:
            yield _close_last(open_sizes)
        if level <= depth:
            open_sizes.append(Size(path, 0, 0))
        # A znode below the last level counts for its ancestor at the last level.
        _count(open_sizes, data_length(tree.records[path]), 1)
    while open_sizes:
        yield _close_last(open_sizes)


def _walk(tree: Tree, root: str) -> Iterator[tuple[str, int]]:
    """Yield the paths of a subtree, parents before children, each with its level below root."""
    waiting = [(root, 0)]
    while waiting:
        path, level = waiting.pop()
        yield path, level
        waiting += ((child, level + 1) for child in reversed(list(tree.children_of(path))))


def _close_last(open_sizes: list[Size]) -> Size:
    """Remove and return the last size, and add it to the size of its parent."""
    closed = open_sizes.pop()
    if open_sizes:
        _count(open_sizes, closed.size_bytes, closed.znodes)
    return closed


def _count(open_sizes: list[Size], size_bytes: int, znodes: int) -> None:
    last = open_sizes[-1]
    open_sizes[-1] = Size(last.path, last.size_bytes + size_bytes, last.znodes + znodes)
