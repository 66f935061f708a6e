"""The entries of an index by time (`zoolet.jobs.znodes.deferred_index`) whose time has come.

The entries of a span of time have one parent, a bucket. Invariants:

- Nothing is polled: a bucket is listed when it begins, and again only after its watch was called.
- An entry that `take` has returned is returned again only if it exists when its bucket is listed
  again, or after `begin`.

This module imports `zoolet.jobs.records` and `zoolet.jobs.znodes`.
"""

from collections import deque
from collections.abc import Callable

from zoolet.jobs.records.job_names import parse
from zoolet.jobs.znodes.deferred_index import (
    BUCKET_MS,
    DueEntry,
    bucket_of,
    bucket_path,
    bucket_start_ms,
    is_bucket,
    parse_entry,
)
from zoolet.jobs.znodes.edge import MissingError
from zoolet.jobs.znodes.layout import Layout

AHEAD_MS = 2000
"""The time, in ms, before the start of a bucket at which its entries are read. A bucket contains
the entries of a span of time."""


class DueBuckets:
    """The buckets below a znode.

    Args:
        layout: the layout of the queue.
        parent: the name of the znode, `DUE` or `EXPIRIES`.
        wake: called by any thread when there may be other entries.
    """

    def __init__(self, layout: Layout, parent: str, wake: Callable[[], None]) -> None:
        self._layout = layout
        self._znodes = layout.znodes
        self._parent = parent
        self._wake = wake
        self._stale: set[str] = set()
        """Changed parts: names of buckets, and the parent. Watches in other threads add them."""
        self._buckets: set[str] = set()
        self._listed: dict[str, set[DueEntry]] = {}
        """The entries of buckets that have begun, without the collected entries."""
        self._due: deque[DueEntry] = deque()
        """Collected entries: their time has come, and `take` has not returned them."""
        self._collected: set[DueEntry] = set()

    def begin(self) -> None:
        """Clear the state in memory."""
        self._buckets.clear()
        self._listed.clear()
        self._due.clear()
        self._collected.clear()
        self._stale = {self._parent}

    @property
    def has_collected(self) -> bool:
        """Whether `take` has more entries that are known to be due."""
        return bool(self._due)

    def list_begun(self, now_ms: int) -> None:
        """List new and changed buckets that have begun or will begin within `AHEAD_MS`."""
        path = self._znodes.path(self._parent)
        if self._parent in self._stale:
            self._stale.discard(self._parent)
            try:
                names = self._znodes.children(path, self._stir(self._parent))
            except MissingError:
                self._znodes.ensure(path)
                names = self._znodes.children(path, self._stir(self._parent))
            self._buckets = set(filter(is_bucket, names))
        last = bucket_of(now_ms + AHEAD_MS)
        for bucket in sorted(self._buckets):
            if bucket > last:
                break
            if bucket in self._stale or bucket not in self._listed:
                self._stale.discard(bucket)
                self._list(bucket)

    def take(self, count: int, now_ms: int) -> list[DueEntry]:
        """Return up to ``count`` entries that are due, in the order in which workers take jobs."""
        if not self._due:
            self._collect(now_ms)
        some = [self._due.popleft() for _ in range(min(count, len(self._due)))]
        self._collected.difference_update(some)
        return some

    def next_in_s(self, now_ms: int) -> float | None:
        """Return the time, in seconds, until an entry is due or a bucket begins or ends."""
        times = [entry.not_before_ms for entries in self._listed.values() for entry in entries]
        times += [
            bucket_start_ms(bucket) - AHEAD_MS
            for bucket in self._buckets
            if bucket not in self._listed
        ]
        times += [
            bucket_start_ms(bucket) + BUCKET_MS
            for bucket, entries in self._listed.items()
            if not entries
        ]
        return max(0.0, (min(times) - now_ms) / 1000) if times else None

    def _path(self, bucket: str) -> str:
        return bucket_path(self._layout, bucket, self._parent)

    def _stir(self, what: str) -> Callable[[object], None]:
        def stir(_: object) -> None:
            self._stale.add(what)
            self._wake()

        return stir

    def _list(self, bucket: str) -> None:
        try:
            children = self._znodes.children(self._path(bucket), self._stir(bucket))
        except MissingError:
            self._forget(bucket)
            return
        entries = {entry for entry in map(parse_entry, children) if entry is not None}
        self._listed[bucket] = entries - self._collected

    def _forget(self, bucket: str) -> None:
        self._buckets.discard(bucket)
        self._listed.pop(bucket, None)

    def _collect(self, now_ms: int) -> None:
        """Collect the entries that are due, and delete empty buckets whose time has passed."""
        found: list[DueEntry] = []
        for bucket, entries in list(self._listed.items()):
            due = {entry for entry in entries if entry.not_before_ms <= now_ms}
            found += due
            entries.difference_update(due)
            has_passed = bucket_start_ms(bucket) + BUCKET_MS <= now_ms
            if not due and not entries and has_passed:
                # If a submitter has added an entry, the znode is not deleted, and its watch was
                # called.
                if self._znodes.delete(self._path(bucket)):
                    self._forget(bucket)
                elif self._znodes.exists(self._path(bucket)):
                    self._stale.add(bucket)
                else:
                    self._forget(bucket)
        found.sort(key=lambda entry: _order(entry.name))
        self._due.extend(found)
        self._collected.update(found)


def _order(name: str) -> tuple[int, int, str]:
    parsed = parse(name)
    return parsed.order if parsed is not None else (0, 0, name)
