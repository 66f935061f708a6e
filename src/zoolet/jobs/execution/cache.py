"""The cache of the groups of data that one executor, or all threads of a worker, have loaded.

Invariants:

- One thread at a time loads a group; other threads that need the group wait for it.
- If a job has a source, the group is loaded from this source. A group that was loaded from another
  source, for example with other columns, is loaded again.
- The cache keeps at most ``limit_groups`` groups and ``limit_bytes`` bytes. It drops the least
  recently used groups first. A group that is larger than ``limit_bytes`` is not kept.
- All queues of a worker share these limits. But their groups are different groups, also those of
  the same name: the queue's tag (`zoolet.jobs.execution.work_names`) is in front of the dataset.

This module imports `zoolet.jobs.loaders`, `zoolet.jobs.records` and other modules of its package.
"""

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from zoolet.jobs.execution.user_loaders import UserLoaders
from zoolet.jobs.records.allow_lists import AllowLists
from zoolet.jobs.records.job_names import Group

_DEPTH = 50
_ALL = AllowLists()

Loader = Callable[[str, str], Any]
"""A function that returns the group for a dataset and a groupid."""

Source = Mapping[str, Any] | None
"""How the group of a job is loaded (`zoolet.jobs.records.job.Job.source`)."""


class Loaded(NamedTuple):
    """A loaded group.

    Attributes:
        group: the group.
        cache_hit: whether the group was in the cache already.
        dropped: the groups that the cache has dropped to make room for this group.
    """

    group: Any
    cache_hit: bool
    dropped: tuple[Group, ...] = ()


class GroupCache:
    """Loads groups, and keeps the groups that were used last.

    Args:
        loaders: the loader of each queue, by the tag of the queue. In a queue without a loader,
            only groups of jobs with a source can be loaded.
        limit_groups: the number of groups that the cache keeps, at least 1.
        limit_bytes: the limit, in bytes, of all groups in the cache, as `size_bytes_of` estimates
            them; None for no limit.
        allowed: the loaders that sources may name.
    """

    def __init__(
        self,
        loaders: Mapping[str, Loader],
        limit_groups: int,
        limit_bytes: int | None = None,
        allowed: AllowLists = _ALL,
    ) -> None:
        if limit_groups < 1:
            raise ValueError(f"a cache cannot have {limit_groups} groups; give at least 1")
        self._loaders = loaders
        self._named = UserLoaders(allowed)
        self._limit_groups = limit_groups
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._groups: OrderedDict[Group, Any] = OrderedDict()
        self._size_bytes: dict[Group, int] = {}
        self._sources: dict[Group, Source] = {}
        self._loading: set[Group] = set()

    def held(self) -> frozenset[Group]:
        """Return the names of the loaded groups."""
        with self._changed:
            return frozenset(self._groups)

    def can_load(self, source: Source, tag: str = "") -> bool:
        """Return whether there is a loader for the groups of jobs with this source."""
        return source is not None or tag in self._loaders

    def has(self, dataset: str, groupid: str, source: Source = None, tag: str = "") -> bool:
        """Return whether a group is loaded, from this source."""
        with self._changed:
            return self._has((tag + dataset, groupid), source)

    def _has(self, key: Group, source: Source) -> bool:
        return key in self._groups and self._sources[key] == source

    def get(self, dataset: str, groupid: str, source: Source = None, tag: str = "") -> Loaded:
        """Return a group, and load it first if it is not in the cache.

        ``source`` says how to load the group; None: with the loader of the queue with this tag. An
        exception of the loader is raised; the cache stays the same then.
        """
        key = (tag + dataset, groupid)
        with self._changed:
            # This wait ends when the loader ends, which runs in another thread (see `finally`).
            self._changed.wait_for(lambda: key not in self._loading)
            if self._has(key, source):
                self._groups.move_to_end(key)
                return Loaded(self._groups[key], cache_hit=True)
            self._loading.add(key)
        try:
            group = self._load(dataset, groupid, source, tag)
            size_bytes = 0 if self._limit_bytes is None else size_bytes_of(group)
            with self._changed:
                self._groups[key] = group
                self._groups.move_to_end(key)
                self._sources[key] = source
                self._size_bytes[key] = size_bytes
                return Loaded(group, cache_hit=False, dropped=tuple(self._drop()))
        finally:
            with self._changed:
                self._loading.discard(key)
                self._changed.notify_all()

    def _load(self, dataset: str, groupid: str, source: Source, tag: str) -> Any:
        if source is not None:
            from zoolet.jobs.loaders.loading import load_source  # noqa: PLC0415 -- rarely needed

            if isinstance(source.get("loader"), str):
                self._named.check(source["loader"])
            return load_source(dataset, groupid, source, self._named.find)
        if tag not in self._loaders:
            raise ValueError(f"there is no loader for the group {groupid} of {dataset}")
        return self._loaders[tag](dataset, groupid)

    def _drop(self) -> list[Group]:
        """Drop groups until both limits hold, and return their names."""
        dropped = []
        while len(self._groups) > self._limit_groups or (
            self._limit_bytes is not None and sum(self._size_bytes.values()) > self._limit_bytes
        ):
            key, _ = self._groups.popitem(last=False)
            del self._size_bytes[key], self._sources[key]
            dropped.append(key)
        return dropped


def size_bytes_of(value: object) -> int:
    """Return the approximate size of a group in bytes.

    If an object has the attribute ``size_bytes`` or ``nbytes`` (NumPy, Arrow) or pandas' method
    ``memory_usage``, its value is the size. The size of other objects includes the items of
    containers and the attributes; an object that occurs several times counts one time.
    """
    return _size_bytes_of(value, set(), _DEPTH)


def _size_bytes_of(value: object, counted: set[int], depth: int) -> int:
    if id(value) in counted or depth == 0:
        return 0
    counted.add(id(value))
    for name in ("size_bytes", "nbytes"):
        said = getattr(value, name, None)
        if isinstance(said, int):
            return said
    usage = getattr(value, "memory_usage", None)
    if callable(usage):
        said = usage(deep=True)
        return int(said.sum()) if hasattr(said, "sum") else int(said)
    parts: list[Any] = []
    if isinstance(value, Mapping):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = list(value)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        parts = list(vars(value).values())
    own = sys.getsizeof(value)
    return own + sum(_size_bytes_of(part, counted, depth - 1) for part in parts)
