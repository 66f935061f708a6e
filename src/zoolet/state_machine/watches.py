"""Watches: the connections that receive an event when a path changes.

A watch belongs to a connection, not to a session: it is deleted when the connection is closed. A
standard watch triggers once. A persistent watch stays. A persistent recursive watch stays and also
triggers for all paths below its path. Watchers are compared by identity; this module calls none of
their methods. Source of the rules: Apache ZooKeeper's ``WatchManager``.
"""

from collections.abc import Collection, Iterator
from typing import Final, final

from mypy_extensions import mypyc_attr

from zoolet.model import paths
from zoolet.model.codes import WatchMode
from zoolet.state_machine.identities import NOBODY, Identities
from zoolet.state_machine.path_set import PathSet
from zoolet.state_machine.tables import shrunk

_FORGOTTEN_AT_ONCE: Final = 200

# Plain ints: arithmetic on enum flags costs more than everything else here.
_NO_MODE: Final = 0
_STANDARD: Final = WatchMode.STANDARD.value
_RECURSIVE: Final = WatchMode.PERSISTENT_RECURSIVE.value


@mypyc_attr(allow_interpreted_subclasses=True)
class Watcher:
    """The owner of watches; it gets no event of a znode that its identities cannot read.

    Attributes:
        identities: the identities that the connection has proven.
        num_watches: the number of paths that it watches, added over all tables.
    """

    def __init__(self, identities: Identities = NOBODY) -> None:
        self.identities = identities
        self.num_watches: int = 0


_NOBODY: Final[list[Watcher]] = []


@final
class WatchTable:
    """The watches of one kind (on data, or on children).

    Both indexes contain the same pairs of path and watcher. Neither contains an empty entry or a
    pair without a mode.

    Attributes:
        by_path: path to its watchers and the modes of their watches.
        by_watcher: watcher to the paths that it watches.
    """

    def __init__(self) -> None:
        self.by_path: dict[str, dict[Watcher, int]] = {}
        self.by_watcher: dict[Watcher, dict[str, None]] = {}
        self._recursive = PathSet()
        # The last result of _recursive_at and its path; "" is not a path, so it means no result.
        self._told: list[Watcher] = []
        self._told_at = ""

    def __len__(self) -> int:
        """Count the pairs of path and watcher."""
        return sum(map(len, self.by_watcher.values()))

    def add(self, path: str, watcher: Watcher, mode: WatchMode = WatchMode.STANDARD) -> None:
        """Add a watch on ``path``; do nothing if the watcher has a watch of this mode on it."""
        watchers = self.by_path.setdefault(path, {})
        before = watchers.get(watcher, _NO_MODE)
        if not before & mode.value:
            watcher.num_watches += before == _NO_MODE
            watchers[watcher] = before | mode.value
            self.by_watcher.setdefault(watcher, {})[path] = None
            if mode is WatchMode.PERSISTENT_RECURSIVE:
                self._recursive.add(path)
                self._told_at = ""

    def shrink(self) -> None:
        """Reduce the tables to the memory that their entries need."""
        self.by_path = shrunk(self.by_path)
        self.by_watcher = shrunk(self.by_watcher)

    def holds(self, path: str, watcher: Watcher, mode: WatchMode | None = None) -> bool:
        """Return whether the watcher watches ``path`` in this mode; None means any mode."""
        modes = self.by_path.get(path, {}).get(watcher, _NO_MODE)
        return bool(modes if mode is None else modes & mode.value)

    def trigger(self, path: str) -> Collection[Watcher]:
        """Return the watchers of a changed ``path``, in the order in which they began to watch it.

        The standard watches on the path are removed. The caller must not change the result. For
        successive paths with the same parent, the result is the same object if possible.
        """
        above = _NOBODY
        if self._recursive.size and path != paths.ROOT:
            above = self._recursive_at(paths.parent_of(path))
        watchers = self.by_path.get(path)
        if watchers is None:
            return above
        staying: dict[Watcher, int] = {}
        for watcher, modes in watchers.items():
            if modes == _STANDARD:
                self._unlink(path, watcher)
            else:
                staying[watcher] = modes & ~_STANDARD
        if staying:
            self.by_path[path] = staying
        else:
            del self.by_path[path]
        # The table no longer has this object, so it can be the result.
        for watcher in above:
            watchers[watcher] = _NO_MODE
        return watchers

    def _recursive_at(self, path: str) -> list[Watcher]:
        """Return the watchers with a recursive watch on ``path`` or above it."""
        if path != self._told_at:
            told: dict[Watcher, None] = {}
            for above in self._recursive.above(path):
                for watcher, modes in self.by_path.get(above, {}).items():
                    if modes & _RECURSIVE:
                        told[watcher] = None
            self._told = list(told)
            self._told_at = path
        return self._told

    def remove(self, path: str, watcher: Watcher, mode: WatchMode | None = None) -> bool:
        """Remove the watch of this mode (None: of all modes); return whether there was one."""
        return self._take_out(path, watcher, ~0 if mode is None else mode.value)

    def _take_out(self, path: str, watcher: Watcher, modes: int) -> bool:
        watchers = self.by_path.get(path, {})
        before = watchers.get(watcher, _NO_MODE)
        after = before & ~modes
        if after == before:
            return False
        if (before & ~after) & _RECURSIVE:
            self._recursive.remove(path)
            self._told, self._told_at = [], ""
        if after:
            watchers[watcher] = after
            return True
        del watchers[watcher]
        if not watchers:
            del self.by_path[path]
        self._unlink(path, watcher)
        return True

    def _unlink(self, path: str, watcher: Watcher) -> None:
        """Remove a pair from ``by_watcher``, and from the count of the watcher."""
        watcher.num_watches -= 1
        watched = self.by_watcher[watcher]
        if len(watched) == 1:
            del self.by_watcher[watcher]
        else:
            del watched[path]

    def forget(self, watcher: Watcher) -> Iterator[int]:
        """Remove all watches of a closed connection.

        The work is done in steps: each step yields its estimated cost in microseconds.
        """
        for number, path in enumerate(tuple(self.by_watcher.get(watcher, ())), 1):
            self.remove(path, watcher)
            if number % _FORGOTTEN_AT_ONCE == 0:
                yield _FORGOTTEN_AT_ONCE
