"""The choice of the jobs that a worker takes next; jobs whose data is loaded are preferred.

This module contains a worker's view of the place unowned: the names of the jobs on each page at
the time when the worker listed the page last. A worker *holds* data that it has loaded or is about
to load. Invariants:

- Jobs are ordered by priority, the greatest first, and then by sequence number. If a worker ranks
  shards, the rank of the shard comes between the two.
- Jobs whose data the worker holds precede other jobs. But the worker passes over the first of all
  jobs only for a limited time, the round (`Affinity.round_s`), no matter how many jobs of held data
  wait.
- If no job of held data waits, the worker takes the first of all jobs when this job has waited for
  a round. A worker with room for more data waits only for half a round, so that workers with room
  load new data. A worker that holds no data does not wait.
- A worker does not wait if none of its last jobs had its data in the cache. Jobs that each need new
  data are therefore not slowed down.
- `take_oldest` chooses by age alone, within one shard. The ages are kept only while a queue needs
  them (`keep_ages`).

This module sends no requests to a server and reads no clock: callers pass the current time. It
imports `zoolet.jobs.records.job_names`.
"""

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple, final

from zoolet.jobs.records import job_names
from zoolet.jobs.records.job_names import Group, JobName

Page = tuple[int, str]
"""A page of waiting jobs: the number of its shard, and the name of the page in the shard."""

MISSES_IN_A_ROW: Final = 16
"""After this number of cache misses without a hit, a worker does not pass over any job."""

HEAP_SLACK: Final = 1000
"""Limit of outdated entries in the heaps: if there are more, the heaps are built again."""

_Key = tuple[int, int, int, str]


@final
class Candidate:
    """A job in the view.

    Attributes:
        job: the job's name.
        page: the page on which the job was listed.
        since: the time, in seconds, when the job was first seen.
        key: the sort key; the least key is first.
        is_offered: whether the job is in the view and may be chosen.
    """

    __slots__ = ("is_offered", "job", "key", "page", "since")

    def __init__(self, job: JobName, page: Page, since: float, key: _Key) -> None:
        self.job = job
        self.page = page
        self.since = since
        self.key = key
        self.is_offered = False


class Choice(NamedTuple):
    """The jobs to take.

    Attributes:
        jobs: the chosen jobs, which are removed from the view.
        again_at: the time to choose again if no event occurs before it; None if only an event can
            change the choice.
    """

    jobs: list[Candidate]
    again_at: float | None


@final
class Affinity:
    """The state of a worker's caches, which decides which jobs it prefers.

    Attributes:
        held: the groups that the worker has loaded or is about to load.
        has_room: whether the worker can load a group without dropping another group.
        round_s: the longest time, in seconds, for which the worker passes over a job, or leaves
            the job to other workers, because it does not hold the job's data. With 0, the worker
            takes jobs in their order, whatever data it holds.
    """

    __slots__ = ("has_room", "held", "round_s")

    def __init__(
        self, held: Collection[Group] = (), has_room: bool = True, round_s: float = 0.0
    ) -> None:
        self.held = held
        self.has_room = has_room
        self.round_s = round_s


@final
class WaitingJobs:
    """The waiting jobs in one worker's view.

    Args:
        rank: returns the rank of a shard for this worker; the least rank is first.
    """

    def __init__(self, rank: Callable[[int], int] = lambda _: 0) -> None:
        self._rank = rank
        self._pages: dict[Page, set[str]] = {}
        self._offered: dict[Page, int] = {}
        """The number of jobs of each page that may be chosen."""
        self._seen: dict[str, Candidate] = {}
        self._order: list[_Key] = []
        self._by_group: dict[Group, list[_Key]] = {}
        self._by_age: dict[int, list[tuple[int, str]]] | None = None
        """The sequences and names of the jobs of each shard; None: the ages are not kept."""
        self._ages = 0
        """The number of entries in `_by_age`."""
        self._paused: list[str] = []
        self._stranger_at = 0.0
        self._hits: deque[bool] = deque([True], maxlen=MISSES_IN_A_ROW)

    def __len__(self) -> int:
        return len(self._seen)

    # --- The view

    def list_page(self, page: Page, children: Iterable[str], now: float) -> None:
        """Replace the names of the jobs that wait on a page."""
        listed = set(children)
        for name in self._pages.get(page, set()) - listed:
            self._withdraw(name)
        # A page may have many names, most of which are known already.
        for name in listed - self._seen.keys():
            job = job_names.parse(name)
            if job is not None:
                key = (-job.priority, self._rank(page[0]), job.sequence, name)
                seen = Candidate(job, page, now, key)
                self._seen[name] = seen
                self._offer(seen)
        self._pages[page] = listed
        most = 2 * len(self._seen) + HEAP_SLACK
        if len(self._order) > most or len(self._by_group) > most or self._ages > most:
            self._rebuild()

    def drop_page(self, page: Page) -> None:
        """Remove a page and its jobs from the view."""
        self.list_page(page, (), 0.0)
        del self._pages[page]

    def put_back(self, candidate: Candidate) -> None:
        """Offer a job again that was chosen but not taken."""
        self._withdraw(candidate.job.name)
        self._seen[candidate.job.name] = candidate
        self._offer(candidate)

    def set_aside(self, candidate: Candidate) -> None:
        """Do not offer a job that was chosen as long as it is listed: it requires other tags."""
        self._withdraw(candidate.job.name)
        self._seen[candidate.job.name] = candidate

    def has_candidates(self, page: Page) -> bool:
        """Return whether any job of this page may be chosen."""
        return self._offered.get(page, 0) > 0

    @property
    def offered_count(self) -> int:
        """The number of jobs that may be chosen."""
        return sum(self._offered.values())

    def size_of(self, page: Page) -> int:
        """Return the number of names on a page when it was listed last."""
        return len(self._pages.get(page, ()))

    @property
    def paused_count(self) -> int:
        """The number of paused jobs that `choose` has refused since the last call of `unpause`."""
        return len(self._paused)

    def has_offers(self) -> bool:
        """Return whether any job may be chosen."""
        return self._head(self._order, lambda _: True) is not None

    def unpause(self) -> None:
        """Offer all refused jobs again; `choose` refuses them again if they are still paused."""
        paused, self._paused = self._paused, []
        for name in paused:
            seen = self._seen.get(name)
            if seen is not None:
                self._offer(seen)

    def keep_ages(self, *, wanted: bool) -> None:
        """Keep the ages of jobs from now on, for `take_oldest`, or do not keep them any more."""
        if wanted != (self._by_age is not None):
            self._by_age = {} if wanted else None
            self._rebuild()

    # --- Choosing

    def take_oldest(
        self, shard: int, allows: Callable[[str], bool] = lambda _: True
    ) -> Candidate | None:
        """Return the oldest job in view of a shard, and remove it from the view; None: no job.

        Within a shard, a lower sequence is older. The ages must be kept (`keep_ages`).
        """
        heap: list[tuple[int, str]] = [] if self._by_age is None else self._by_age.get(shard, [])
        while heap:
            seen = self._seen.get(heap[0][1])
            heapq.heappop(heap)
            self._ages -= 1
            if seen is None or not seen.is_offered:
                continue
            if allows(seen.job.dataset):
                self._withdraw(seen.job.name)
                return seen
            self._refuse(seen)
            self._paused.append(seen.job.name)
        return None

    def note(self, *, cache_hit: bool) -> None:
        """Record whether a job's data was in the cache."""
        self._hits.append(cache_hit)

    def choose(
        self,
        count: int,
        now: float,
        affinity: Affinity,
        allows: Callable[[str], bool] = lambda _: True,
    ) -> Choice:
        """Return up to ``count`` jobs to take, and remove them from the view.

        ``allows`` returns whether jobs of a dataset may be taken.
        """
        held = set(affinity.held)
        chosen: list[Candidate] = []
        again_at: float | None = None
        while len(chosen) < count and (first := self._head(self._order, allows)) is not None:
            taken, due = self._next(first, now, affinity, held, allows)
            if taken is None:
                again_at = due
                break
            if taken.job.group not in held and taken.job.has_data:
                self._stranger_at = now
                held.add(taken.job.group)
            self._withdraw(taken.job.name)
            chosen.append(taken)
        return Choice(chosen, again_at)

    def _next(
        self,
        first: Candidate,
        now: float,
        affinity: Affinity,
        held: set[Group],
        allows: Callable[[str], bool],
    ) -> tuple[Candidate | None, float]:
        """Return the job to take now, or None and the time to choose again.

        ``first`` is the first job of all.
        """
        round_s = affinity.round_s
        needs_no_wait = first.job.group in held or not first.job.has_data
        if not held or needs_no_wait or not round_s or not any(self._hits):
            return first, now
        local = self._first_held(held, allows)
        if local is not None:
            due = max(first.since, self._stranger_at) + round_s
            return (first if now >= due else local), now
        due = first.since + (round_s / 2 if affinity.has_room else round_s)
        return (first, now) if now >= due else (None, due)

    def _first_held(self, held: set[Group], allows: Callable[[str], bool]) -> Candidate | None:
        heads = [
            head
            for group in held
            if group in self._by_group and (head := self._head(self._by_group[group], allows))
        ]
        return min(heads, key=lambda seen: seen.key, default=None)

    def _head(self, heap: list[_Key], allows: Callable[[str], bool]) -> Candidate | None:
        """Return the first job of a heap that may be chosen; the job stays in the heap."""
        while heap:
            seen = self._seen.get(heap[0][-1])
            if seen is None or not seen.is_offered or seen.key != heap[0]:
                heapq.heappop(heap)
            elif not allows(seen.job.dataset):
                heapq.heappop(heap)
                self._refuse(seen)
                self._paused.append(seen.job.name)
            else:
                return seen
        return None

    def _offer(self, seen: Candidate) -> None:
        if not seen.is_offered:
            seen.is_offered = True
            self._offered[seen.page] = self._offered.get(seen.page, 0) + 1
        self._push(seen)

    def _refuse(self, seen: Candidate) -> None:
        if seen.is_offered:
            seen.is_offered = False
            left = self._offered[seen.page] - 1
            if left:
                self._offered[seen.page] = left
            else:
                del self._offered[seen.page]

    def _withdraw(self, name: str) -> None:
        """Remove a job from the view; its entries in the heaps are removed later."""
        seen = self._seen.pop(name, None)
        if seen is not None:
            self._refuse(seen)

    def _push(self, seen: Candidate) -> None:
        heapq.heappush(self._order, seen.key)
        if seen.job.has_data:
            heapq.heappush(self._by_group.setdefault(seen.job.group, []), seen.key)
        if self._by_age is not None:
            ages = self._by_age.setdefault(seen.page[0], [])
            heapq.heappush(ages, (seen.job.sequence, seen.job.name))
            self._ages += 1

    def _rebuild(self) -> None:
        """Remove jobs from the heaps that are not in the view any more."""
        self._order, self._by_group = [], {}
        self._by_age, self._ages = None if self._by_age is None else {}, 0
        for seen in self._seen.values():
            if seen.is_offered:
                self._push(seen)
