"""The groups of data that a worker has loaded, the most recently used of them.

What holds: a group is loaded by one executor at a time, and the others that want it wait for that
one; at most ``max_groups`` are kept. Imports nothing.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

Group = tuple[str, str]
"""What identifies a group of data: dataset and groupid."""


class GroupCache:
    """Loaded groups by ``dataset:groupid``, least recently used ones dropped first.

    Args:
        loader: called with dataset and groupid; returns the group.
        max_groups: how many groups are kept, at least 1.
    """

    def __init__(self, loader: Callable[[str, str], Any], max_groups: int) -> None:
        if max_groups < 1:
            raise ValueError(f"a cache of {max_groups} groups holds nothing; give at least 1")
        self._loader = loader
        self._max_groups = max_groups
        self._changed = threading.Condition()
        self._groups: OrderedDict[Group, Any] = OrderedDict()
        self._loading: set[Group] = set()

    def held(self) -> frozenset[Group]:
        """Return which groups are loaded."""
        with self._changed:
            return frozenset(self._groups)

    def get(self, dataset: str, groupid: str) -> tuple[Any, bool]:
        """Return a group, loaded if need be, and whether someone had loaded it already.

        Whatever the loader raises is raised, and nothing is kept then.
        """
        key = (dataset, groupid)
        with self._changed:
            self._changed.wait_for(lambda: key not in self._loading)
            if key in self._groups:
                self._groups.move_to_end(key)
                return self._groups[key], True
            self._loading.add(key)
        try:
            group = self._loader(dataset, groupid)
            with self._changed:
                self._groups[key] = group
                while len(self._groups) > self._max_groups:
                    self._groups.popitem(last=False)
            return group, False
        finally:
            with self._changed:
                self._loading.discard(key)
                self._changed.notify_all()
