"""The jobs that wait for a limit, in the view of the housekeeping: the keys and their jobs.

The znode ``waiting`` of a limit has a child for each key that has waiting jobs, and below it the
entries of the jobs. Invariant: a key is listed again only if its watch was called, and the list of
a key with many jobs is not repeated at once. This module imports `zoolet.jobs.records`,
`zoolet.jobs.znodes` and other modules of its package.
"""

import logging
import time
from collections import deque
from collections.abc import Callable

from zoolet.jobs.housekeeping.key_order import KeyOrder
from zoolet.jobs.records.limits import ALL, NO_KEY
from zoolet.jobs.znodes.edge import MissingError
from zoolet.jobs.znodes.layout import Layout, parse_names
from zoolet.jobs.znodes.limit_znodes import waiting_path

log = logging.getLogger(__name__)

LISTED_PAUSE_S = 20e-6
"""Pause before a key is listed again, in seconds for each of its jobs."""


class _Key:
    """The waiting jobs of a key.

    Attributes:
        order: the jobs that `WaitingKeys.take` has not returned.
        failed: the names of jobs that could not be moved since the last change of the key.
        is_stale: whether the key must be listed.
        not_before: the earliest time of the next list if ``order`` has jobs.
    """

    def __init__(self, order: KeyOrder) -> None:
        self.order = order
        self.failed: set[str] = set()
        self.is_stale = True
        self.not_before = 0.0


class WaitingKeys:
    """The waiting jobs of a limit.

    Args:
        layout: the layout of the queue.
        limit: the name of the limit.
        wake: called by any thread when there may be other jobs.
        percent: returns the queue's setting ``oldest_share_percent``.
    """

    def __init__(
        self,
        layout: Layout,
        limit: str,
        wake: Callable[[], None],
        percent: Callable[[], int] = lambda: 0,
    ) -> None:
        self._layout = layout
        self._percent = percent
        self._path = waiting_path(layout, limit)
        self._wake = wake
        self._is_stale = True
        self._keys: dict[str, _Key] = {}
        self._turns: deque[str] = deque()
        """The keys in the order of their turns."""

    def refresh(self) -> bool:
        """List the keys if they have changed; return whether there are any keys."""
        if self._is_stale:
            # A change after this line sets the flag again.
            self._is_stale = False
            try:
                found = self._layout.znodes.children(self._path, self._stir)
            except MissingError:
                self._is_stale = self._layout.znodes.exists(self._path, self._stir)
                found = []
            for key in set(self._keys) - set(found):
                self._forget(key)
            for key in sorted(set(found) - set(self._keys)):
                self._keys[key] = _Key(KeyOrder(self._layout.shard_of, self._percent))
                self._turns.append(key)
        return bool(self._keys)

    @property
    def keys(self) -> list[str]:
        """The keys that have waiting jobs, in the order of their turns."""
        return list(self._turns)

    def take(self, count: int, room_of: Callable[[str], int]) -> dict[str, str]:
        """Return up to ``count`` jobs, as paths of their entries by name; the keys take turns.

        ``room_of`` returns how many jobs of a key may be returned.
        """
        found: dict[str, str] = {}
        taken: dict[str, int] = {}
        without = 0
        while len(found) < count and without < len(self._turns):
            key = self._turns[0]
            self._turns.rotate(-1)
            count_of_key = taken.get(key, 0)
            has_room = count_of_key < room_of(key)
            name = self._next_of(key, is_first=not count_of_key) if has_room else None
            if name is None:
                without += 1
                continue
            without = 0
            taken[key] = count_of_key + 1
            found[name] = f"{self._path}/{key}/{name}"
        return found

    def note_failed(self, path: str) -> None:
        """Note that a job could not be moved; it is returned again after a change of its key."""
        key, name = path.split("/")[-2:]
        if key in self._keys:
            self._keys[key].failed.add(name)

    def _next_of(self, key: str, *, is_first: bool) -> str | None:
        """Return the first job of a key, None if it has none; a key without jobs is deleted.

        ``is_first`` is whether this call of `take` has returned no job of the key. If it has, the
        key is not listed, because it still has these jobs. Its watch is called when they are moved.
        """
        jobs = self._keys[key]
        if not is_first:
            return jobs.order.pop()
        if jobs.is_stale and (not jobs.order or time.monotonic() >= jobs.not_before):
            self._list(key, jobs)
        if jobs.order:
            return jobs.order.pop()
        # The key is deleted at once, because workers let no new job pass a key that exists. If it
        # has jobs, the server refuses this.
        if self._layout.znodes.delete(f"{self._path}/{key}"):
            self._is_stale = True
            return None
        self._list(key, jobs)
        if jobs.failed and not jobs.order:
            # For example, the worker cannot read the jobs.
            log.warning("%d jobs below %s/%s cannot be moved", len(jobs.failed), self._path, key)
        return jobs.order.pop()

    def _list(self, key: str, jobs: _Key) -> None:
        jobs.is_stale = False

        def stir(_: object) -> None:
            jobs.is_stale = True
            jobs.failed.clear()
            self._wake()

        path = f"{self._path}/{key}"
        try:
            children = self._layout.znodes.children(path, stir)
        except MissingError:
            children = []
        names = parse_names(children)
        listed = {name.name for name in names}
        jobs.order.replace([name for name in names if name.name not in jobs.failed])
        jobs.not_before = time.monotonic() + LISTED_PAUSE_S * len(children)
        if len(names) < len(children):
            for child in set(children) - listed:
                self._layout.znodes.delete_tree(f"{path}/{child}")

    def _forget(self, key: str) -> None:
        del self._keys[key]
        self._turns.remove(key)

    def _stir(self, _: object) -> None:
        self._is_stale = True
        self._wake()


def group_of_key(key: str, *, per_key: bool) -> str:
    """Return the group of the jobs of a key of `WaitingKeys` (`Limit.group_of`)."""
    return key if per_key and key != NO_KEY else ALL
