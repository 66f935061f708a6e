"""Which jobs a worker takes next: of data that it holds, and else the first of all.

Owns the view of unowned that a worker has, page by page as it was last listed. What holds:

- The greater priority goes first, then the lower sequence; a worker that ranks shards takes, of the
  same priority, from the shard that ranks first.
- A job whose data the worker holds goes before others. But the first of all is passed over for no
  longer than one bounded round, however many jobs of held data there are.
- Where no job of held data waits, the first of all is taken when it has waited for that round; a
  worker that has room for more data waits half of it, so that new data comes to where room is. A
  worker that holds nothing waits for nothing.
- A worker none of whose last jobs found their data waits for nothing either, so that a stream of
  jobs on ever new data is not slowed down.

Talks to no server, and knows no clock: who calls says what time it is. Imports the job system's
names.
"""

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from zoolet.jobs.records import job_names
from zoolet.jobs.records.job_names import Group, JobName

Page = tuple[int, str]
"""A page of what waits: a shard, and the name of the page in it."""

MISSES_IN_A_ROW = 16
"""After N jobs in a row whose data was not loaded, a worker passes over none."""

HEAP_SLACK = 1000
"""The heaps are cleared when they have this number of jobs more than there are."""

_Key = tuple[int, int, int, str]


@dataclass(slots=True)
class Candidate:
    """A job in the view.

    Attributes:
        job: its name.
        page: where it was listed.
        since: since when it is seen.
        key: how it ranks.
        is_offered: whether it may be chosen.
    """

    job: JobName
    page: Page
    since: float
    key: _Key
    is_offered: bool = False


class Choice(NamedTuple):
    """What to take.

    Attributes:
        jobs: out of the view now.
        again_at: when to ask again, if nothing happens before; None where only an event helps.
    """

    jobs: list[Candidate]
    again_at: float | None


@dataclass(frozen=True, slots=True)
class Affinity:
    """What a worker goes by when it chooses.

    Attributes:
        held: the groups that it holds, or is about to load.
        has_room: whether it can load a group without dropping one.
        round_s: how long a job may be passed over, or left to others, for the data's sake; 0 is no
            affinity at all.
    """

    held: Collection[Group] = ()
    has_room: bool = True
    round_s: float = 0.0


class WaitingJobs:
    """The jobs that wait, as one worker sees them.

    Args:
        rank: returns how a shard ranks for this worker, the least first.
    """

    def __init__(self, rank: Callable[[int], int] = lambda _: 0) -> None:
        self._rank = rank
        self._pages: dict[Page, dict[str, None]] = {}
        self._seen: dict[str, Candidate] = {}
        self._order: list[_Key] = []
        self._by_group: dict[Group, list[_Key]] = {}
        self._paused: list[str] = []
        self._stranger_at = 0.0
        self._hits: deque[bool] = deque([True], maxlen=MISSES_IN_A_ROW)

    def __len__(self) -> int:
        return len(self._seen)

    # --- What is seen

    def list_page(self, page: Page, children: Iterable[str], now: float) -> None:
        """Make these what waits on a page."""
        children = dict.fromkeys(children)
        before = self._pages.get(page, {})
        for name in before.keys() - children.keys():
            self._seen.pop(name, None)
        for name in children:
            if name in self._seen:
                continue
            job = job_names.parse(name)
            if job is not None:
                key = (-job.priority, self._rank(page[0]), job.sequence, name)
                self._seen[name] = Candidate(job, page, now, key)
                self._offer(name)
        self._pages[page] = children
        most = 2 * len(self._seen) + HEAP_SLACK
        if len(self._order) > most or len(self._by_group) > most:
            self._rebuild()

    def drop_page(self, page: Page) -> None:
        """Forget a page."""
        self.list_page(page, (), 0.0)
        del self._pages[page]

    def put_back(self, candidate: Candidate) -> None:
        """Offer a job again that was chosen and not taken."""
        self._seen[candidate.job.name] = candidate
        self._offer(candidate.job.name)

    def has_candidates(self, page: Page) -> bool:
        """Say whether a job of this page may be offered."""
        return any(
            seen.is_offered
            for name in self._pages.get(page, ())
            if (seen := self._seen.get(name)) is not None
        )

    @property
    def paused_count(self) -> int:
        """How many jobs were not allowed, since `unpause`."""
        return len(self._paused)

    def has_offers(self) -> bool:
        """Say whether any job may be chosen."""
        return self._head(self._order, lambda _: True) is not None

    def unpause(self) -> None:
        """Offer what was not allowed; what is still not allowed will be found so again."""
        paused, self._paused = self._paused, []
        for name in paused:
            self._offer(name)

    # --- Choosing

    def note(self, *, cache_hit: bool) -> None:
        """Remember whether a job found its data."""
        self._hits.append(cache_hit)

    def choose(
        self,
        count: int,
        now: float,
        affinity: Affinity,
        allows: Callable[[str], bool] = lambda _: True,
    ) -> Choice:
        """Return up to ``count`` jobs to take; they are out of the view then.

        ``allows`` says of a dataset whether its jobs may be taken.
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
            del self._seen[taken.job.name]
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
        """Return the job to take now, or None and when to ask again; ``first`` is the first."""
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
        """Return the first job of a heap that is there still; it stays in the heap."""
        while heap:
            seen = self._seen.get(heap[0][-1])
            if seen is None or not seen.is_offered or seen.key != heap[0]:
                heapq.heappop(heap)
            elif not allows(seen.job.dataset):
                heapq.heappop(heap)
                seen.is_offered = False
                self._paused.append(seen.job.name)
            else:
                return seen
        return None

    def _offer(self, name: str) -> None:
        seen = self._seen.get(name)
        if seen is not None:
            seen.is_offered = True
            heapq.heappush(self._order, seen.key)
            if seen.job.has_data:
                heapq.heappush(self._by_group.setdefault(seen.job.group, []), seen.key)

    def _rebuild(self) -> None:
        """Drop from the heaps what is not in the view any more."""
        self._order, self._by_group = [], {}
        for name, seen in self._seen.items():
            if seen.is_offered:
                self._offer(name)
