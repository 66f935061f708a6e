"""Watches: who wants to hear of the next change to a path.

A watch is one-shot and belongs to a connection, not to a session: it goes when the connection does.
Watchers are told apart by identity alone; this module asks nothing of them.
"""

from collections.abc import Collection
from typing import Generic, TypeVar

W = TypeVar("W")


class WatchTable(Generic[W]):
    """The watches of one kind (on data, or on children).

    Both indexes hold the same pairs; neither keeps an empty entry.
    """

    def __init__(self) -> None:
        self._by_path: dict[str, dict[W, None]] = {}
        self._by_watcher: dict[W, dict[str, None]] = {}

    def __len__(self) -> int:
        """Count the pairs of path and watcher."""
        return sum(map(len, self._by_watcher.values()))

    def add(self, path: str, watcher: W) -> None:
        """Watch ``path`` once; a second watch of the same watcher on it is the same watch."""
        self._by_path.setdefault(path, {})[watcher] = None
        self._by_watcher.setdefault(watcher, {})[path] = None

    def trigger(self, path: str) -> Collection[W]:
        """Take out and return who watches ``path``, in the order in which they began."""
        watchers = self._by_path.pop(path, None)
        if watchers is None:
            return ()
        for watcher in watchers:
            watched = self._by_watcher[watcher]
            del watched[path]
            if not watched:
                del self._by_watcher[watcher]
        return watchers

    def forget(self, watcher: W) -> None:
        """Take out every watch of a watcher that is gone."""
        for path in self._by_watcher.pop(watcher, ()):
            watchers = self._by_path[path]
            del watchers[watcher]
            if not watchers:
                del self._by_path[path]
