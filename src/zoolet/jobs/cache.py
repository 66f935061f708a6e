"""The groups that a worker keeps: loaded once, the least recently used dropped first."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from zoolet.jobs.naming import GroupKey


class Found(NamedTuple):
    """A group, and whether it was there already."""

    group: Any
    cached: bool


class GroupCache:
    """Loaded groups by key; several executors may use it at once.

    Invariant: at most ``max_groups`` are kept, and no group is loaded by two executors at a time.
    """

    def __init__(self, load: Callable[[GroupKey], Any], max_groups: int) -> None:
        self._load = load
        self._max_groups = max_groups
        self._groups: OrderedDict[GroupKey, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: dict[GroupKey, threading.Lock] = {}

    def __contains__(self, key: GroupKey) -> bool:
        with self._lock:
            return key in self._groups

    def keys(self) -> frozenset[GroupKey]:
        """Return the keys of the groups that are kept now."""
        with self._lock:
            return frozenset(self._groups)

    def get(self, key: GroupKey) -> Found:
        """Return a group, loaded where it is not there; what the loader raises goes on."""
        with self._lock:
            if key in self._groups:
                self._groups.move_to_end(key)
                return Found(self._groups[key], cached=True)
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:
            with self._lock:
                if key in self._groups:
                    self._groups.move_to_end(key)
                    return Found(self._groups[key], cached=True)
            try:
                group = self._load(key)
            finally:
                with self._lock:
                    self._loading.pop(key, None)
            with self._lock:
                self._groups[key] = group
                while len(self._groups) > self._max_groups:
                    self._groups.popitem(last=False)
            return Found(group, cached=False)
