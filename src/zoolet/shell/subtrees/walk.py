"""Walks over a subtree with bounded memory.

A walk reads many znodes in one multiRead request, about a megabyte, and keeps at most this amount
in memory for each level of the tree. A walk is not a snapshot: each request reads the current state
of the tree, and znodes that are deleted in the meantime are left out. Imports ``model`` and
``client``.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from kazoo.exceptions import (
    NoNodeError,
    ZookeeperError,
)
from kazoo.protocol.states import ZnodeStat

from zoolet.client.kazoo import multi_read
from zoolet.model import paths

_READ_BYTES = 1024 * 1024
_FIRST_READ = 32
_LONGEST_READ = 500
"""With data, a znode takes two operations of a multiRead; servers allow 1,000 operations."""


class Visited(NamedTuple):
    """A znode that a walk has read.

    Attributes:
        path: the path of the znode.
        children: the names of its children, sorted; empty if ``error`` is set.
        data: the data; None if it is null or the walk does not read data.
        stat: the Stat; None if the walk does not read data.
        error: the error of the read; None if it succeeded.
    """

    path: str
    children: list[str]
    data: bytes | None = None
    stat: ZnodeStat | None = None
    error: ZookeeperError | None = None


def walk(
    client: Any, root: str, *, with_data: bool = False, max_depth: int | None = None
) -> Iterator[Visited]:
    """Yield ``root`` and the znodes below it, each before its children, in order of name.

    Raises NoNodeError if ``root`` does not exist. Znodes ``max_depth`` levels below ``root``
    are yielded with their children's names, but the walk does not visit these children.
    """
    reader = _Reader(client, with_data=with_data)
    waiting = [root]
    while waiting:
        path = waiting.pop()
        visited = reader.visit(path, waiting)
        if isinstance(visited.error, NoNodeError):
            if path == root:
                raise visited.error
            continue
        yield visited
        if max_depth is None or depth_below(root, path) < max_depth:
            waiting += [paths.join(path, name) for name in reversed(visited.children)]


def depth_below(root: str, path: str) -> int:
    """Return the number of levels of ``path`` below ``root``; ``path`` must be in its subtree."""
    return 0 if path == root else path.count("/") - (0 if root == paths.ROOT else root.count("/"))


class _Reader:
    """Reads the next znode of a walk together with the znodes that follow it."""

    def __init__(self, client: Any, *, with_data: bool) -> None:
        self._client = client
        self._with_data = with_data
        self._read: dict[str, Visited] = {}
        self._count = _FIRST_READ

    def visit(self, path: str, waiting: Sequence[str]) -> Visited:
        """Return the znode at ``path``; ``waiting`` has the later paths, the next one last."""
        if path not in self._read:
            soon = waiting[max(len(waiting) - self._count + 1, 0) :]
            self._read_together([path, *(other for other in soon if other not in self._read)])
        return self._read.pop(path)

    def _read_together(self, together: list[str]) -> None:
        found = multi_read(self._client, together if self._with_data else (), together)
        data = found[: len(together)] if self._with_data else [(None, None)] * len(together)
        children = found[len(found) - len(together) :]
        size_bytes = 1
        for path, read, names in zip(together, data, children, strict=True):
            error = next((part for part in (read, names) if isinstance(part, Exception)), None)
            if error is not None:
                self._read[path] = Visited(path, [], error=error)
                continue
            self._read[path] = Visited(path, sorted(names), *read)
            size_bytes += len(read[0] or b"") + sum(map(len, names)) + len(path)
        fitting = _READ_BYTES * len(together) // size_bytes
        self._count = max(1, min(fitting, self._count * 2, _LONGEST_READ))
