"""The order of the waiting jobs of a key: by priority, then by age, with a share of the oldest.

Jobs of different shards have independent sequences. So if the oldest job is wanted, the shards take
turns. This module imports `zoolet.jobs.queue` and `zoolet.jobs.records`.
"""

from collections import deque
from collections.abc import Callable, Sequence

from zoolet.jobs.queue.oldest_share import OldestShare
from zoolet.jobs.records.job_names import JobName


class KeyOrder:
    """The waiting jobs of a key, in the order in which they are released.

    Args:
        shard_of: returns the number of the shard of a dataset and groupid.
        percent: returns the queue's setting ``oldest_share_percent``.
        share: counts the oldest jobs; None: a new share.
    """

    def __init__(
        self,
        shard_of: Callable[[str, str], int],
        percent: Callable[[], int],
        share: OldestShare | None = None,
    ) -> None:
        self._shard_of = shard_of
        self._percent = percent
        self._share = share or OldestShare()
        self._names: dict[str, JobName] = {}
        """The jobs that `pop` has not returned."""
        self._by_priority: deque[str] = deque()
        self._by_age: dict[int, deque[str]] | None = None
        """The jobs of each shard, the oldest first; the shard whose turn it is comes first. None:
        not made yet. Both orders also have jobs that `pop` has returned from the other order."""

    def __len__(self) -> int:
        return len(self._names)

    def replace(self, names: Sequence[JobName]) -> None:
        """Replace the jobs; ``names`` are in the order in which workers take jobs."""
        turns = {} if self._by_age is None else self._by_age
        self._names = {name.name: name for name in names}
        self._by_priority = deque(self._names)
        self._by_age = None
        if turns:
            self._make_ages(list(turns))

    def pop(self) -> str | None:
        """Return the job that is released next, and remove it; None if there is none."""
        percent = self._percent()
        if not self._names:
            return None
        is_oldest = percent > 0 and self._share.due(1, percent) == 1
        name = self._oldest() if is_oldest else self._first(self._by_priority)
        if percent:
            self._share.note(1, int(is_oldest), percent)
        if name is not None:
            del self._names[name]
        return name

    def _oldest(self) -> str | None:
        if self._by_age is None:
            self._make_ages([])
        ages = self._by_age or {}
        for shard in list(ages):
            names = ages.pop(shard)
            name = self._first(names)
            if name is not None:
                ages[shard] = names
                return name
        return None

    def _make_ages(self, turns: Sequence[int]) -> None:
        """Sort the jobs by age; the shards of ``turns`` come first, in this order."""
        found: dict[int, list[JobName]] = {shard: [] for shard in turns}
        for name in self._names.values():
            found.setdefault(self._shard_of(name.dataset, name.groupid), []).append(name)
        self._by_age = {
            shard: deque(one.name for one in sorted(names, key=lambda one: one.sequence))
            for shard, names in found.items()
        }

    def _first(self, names: deque[str]) -> str | None:
        while names:
            name = names.popleft()
            if name in self._names:
                return name
        return None
