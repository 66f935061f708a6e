"""A worker's view of "unowned": decides which pages the worker lists and watches, and when.

Invariants:

- Nothing is polled: a page is listed again only after its watch was called.
- After a list of many jobs, the page is not listed again for a while. A worker therefore spends
  only a small part of its time on lists, even if the lists are long. The page is listed earlier if
  other workers were faster, but only after these lost tries have taken as long as the list takes.
- If a queue has few workers, each worker watches all its shards. If it has many workers, each
  worker watches only the shards that it ranks first: as many as are necessary for each shard to be
  watched by about `WATCHERS` workers. In a shard, a worker lists only the first pages, until it
  has jobs to choose from.
- A worker that finds no job in the shards that it watches searches all other shards one time.
- If the oldest job is wanted, the shards that the worker watches take turns. In a shard, the worker
  then lists its oldest pages, whatever their priority, until it has jobs to choose from.

One thread calls this module; any thread may report events. This module imports `zoolet.jobs.queue`,
`zoolet.jobs.records` and other modules of its package.
"""

import functools
import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from zoolet.jobs.records.settings import SHARDS_MAX
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.worker.selection import Candidate, Page, WaitingJobs
from zoolet.jobs.znodes.edge import MissingError
from zoolet.jobs.znodes.layout import WORKERS, Layout, page_number, page_order

_CHANCE = random.Random()  # noqa: S311 -- not the shared one, which a task may have seeded

WATCHERS = 16
"""Approximate number of workers that watch a shard; one new job may wake all of them."""
SHARDS_LEAST = 2
PART_HOLDS_S = 5.0
"""Time, in seconds, after which a worker counts the workers of the queue again."""
SHARDS_AT_ONCE = 64
LISTED_PAUSE_S = 20e-6
"""Pause before a page is listed again, in seconds for each name on the page. Listing a name takes
about a twentieth of this time."""
LOST_TRY_NAMES = 200
LOST_JOB_NAMES = 5
"""The time that is lost with a try to take jobs that other workers have taken, and with each of
these jobs, as a number of names. Listing these names takes about the same time."""
TRUST_PER_WORKER_S = 0.01
"""Additional pause, in seconds for each worker of the queue, while jobs of the page are in view.

Most changes of a page are jobs that other workers take. A worker that already has jobs to choose
from does not need to know these changes. The price: such a worker sees a new job of greater
priority later by this time. If there are many workers, another worker usually sees it earlier.
"""


def rank_shards(worker: str, shards: Sequence[int]) -> list[int]:
    """Return the shards in a worker's order of preference, by rendezvous hashing.

    Each worker has a different order, so that the workers spread over all shards.
    """
    return sorted(
        shards,
        key=lambda shard: hashlib.blake2b(f"{worker}/{shard}".encode(), digest_size=8).digest(),
    )


class Feed:
    """Keeps a worker's view of the waiting jobs up to date.

    Args:
        layout: the layout of the queue.
        worker: a text that differs for each worker; the ranking of shards depends on it.
        wake: called when a watched shard or page has changed, by any thread.

    Attributes:
        waiting: the jobs that the worker knows.
        worker_count: the number of workers of the queue when the worker counted them last.
    """

    def __init__(self, layout: Layout, worker: str, wake: Callable[[], None]) -> None:
        self._layout = layout
        self._worker = worker
        self._wake = wake
        self.waiting = WaitingJobs(lambda shard: self._ranks[shard])
        self._watched = 0
        self._part_until = 0.0
        self._trust_s = TRUST_PER_WORKER_S
        self._pages: dict[int, list[str]] = {}
        self._lock = threading.Lock()
        self._stale_shards: set[int] = set()
        self._stale_pages: set[Page] = set()
        self._not_before: dict[Page, float] = {}
        self._lost_names: Counter[Page] = Counter()
        """The time that was lost on each page since its last list (`LOST_TRY_NAMES`)."""
        self._has_searched = False
        self._turn = _CHANCE.randrange(SHARDS_MAX)
        """The shard whose turn it is, as a position in the ranking, past its end too."""
        self.worker_count = 1

    @functools.cached_property
    def _ranked(self) -> list[int]:
        # Computed at the first use: before, the layout does not know the queue's settings.
        return rank_shards(self._worker, self._layout.shards)

    @functools.cached_property
    def _ranks(self) -> dict[int, int]:
        return {shard: rank for rank, shard in enumerate(self._ranked)}

    def refresh(self) -> float | None:
        """List changed pages of each watched shard until there are jobs to choose from.

        Returns the time, of the monotonic clock, to call this method again even if no event occurs,
        because a list was postponed; None if no list was postponed.
        """
        self._set_part()
        again_at: float | None = None
        for shard in self._ranked[: self._watched]:
            for page in self._pages_of(shard):
                put_off = self._list_if_stale((shard, page))
                if put_off is not None:
                    again_at = put_off if again_at is None else min(again_at, put_off)
                if self.waiting.has_candidates((shard, page)):
                    self._has_searched = False
                    break
        return again_at

    def search(self) -> bool:
        """Search the shards that are not watched, and list the first page that has jobs.

        Returns whether such a page was found. If not, the next calls do nothing until there is a
        job again in a watched shard.
        """
        others = self._ranked[self._watched :]
        if self._has_searched or not others:
            return False
        layout = self._layout
        for start in range(0, len(others), SHARDS_AT_ONCE):
            some = others[start : start + SHARDS_AT_ONCE]
            listed = layout.znodes.children_of_all([layout.shard(Place.UNOWNED, s) for s in some])
            pages = [
                (shard, page)
                for shard, names in zip(some, listed, strict=True)
                for page in sorted(names, key=page_order)
            ]
            stats = layout.znodes.get_all([layout.page(Place.UNOWNED, *page) for page in pages])
            for page, stat in zip(pages, stats, strict=True):
                if stat is not None and stat.children and self._list(page, watched=False):
                    return True
        self._has_searched = True
        return False

    def take_oldest(self, count: int, allows: Callable[[str], bool]) -> list[Candidate]:
        """Return up to ``count`` of the oldest jobs, and remove them from the view.

        Call `refresh` before, and `WaitingJobs.keep_ages` before that. The shards take turns.
        """
        found: list[Candidate] = []
        without = 0
        while len(found) < count and without < self._watched:
            shard = self._ranked[self._turn % self._watched]
            self._turn += 1
            oldest = self._take_oldest_of(shard, allows)
            if oldest is None:
                without += 1
            else:
                without = 0
                found.append(oldest)
        return found

    def _take_oldest_of(self, shard: int, allows: Callable[[str], bool]) -> Candidate | None:
        for page in sorted(self._pages_of(shard), key=page_number):
            self._list_if_stale((shard, page))
            # A job may be refused, because its dataset is paused. Then the next page is listed.
            if self.waiting.has_candidates((shard, page)):
                oldest = self.waiting.take_oldest(shard, allows)
                if oldest is not None:
                    return oldest
        return None

    def _set_part(self) -> None:
        """Set the number of shards to watch, from the number of workers of the queue."""
        now = time.monotonic()
        if now < self._part_until:
            return
        self._part_until = now + PART_HOLDS_S
        workers = self._layout.znodes.count_children(self._layout.znodes.path(WORKERS))
        self._trust_s = TRUST_PER_WORKER_S * workers
        self.worker_count = workers
        part = -(-WATCHERS * len(self._ranked) // max(1, workers))
        wanted = min(len(self._ranked), max(SHARDS_LEAST, part))
        for shard in self._ranked[wanted : self._watched]:
            for page in self._pages.pop(shard, ()):
                self.waiting.drop_page((shard, page))
        with self._lock:
            self._stale_shards.update(self._ranked[self._watched : wanted])
        self._watched = wanted

    def _pages_of(self, shard: int) -> list[str]:
        with self._lock:
            is_stale = shard in self._stale_shards
            self._stale_shards.discard(shard)
        if is_stale:
            watch = lambda _: self._on_shard(shard)  # noqa: E731
            found = self._layout.pages(Place.UNOWNED, shard, watch)
            for page in self._pages.get(shard, ()):
                if page not in found:
                    self.waiting.drop_page((shard, page))
                    self._not_before.pop((shard, page), None)
                    self._lost_names.pop((shard, page), None)
            known = set(self._pages.get(shard, ()))
            with self._lock:
                self._stale_pages.update((shard, page) for page in found if page not in known)
            self._pages[shard] = found
        return self._pages.get(shard, [])

    def _list_if_stale(self, page: Page) -> float | None:
        """List a page if it has changed; if it is too early, return the time when to list it."""
        not_before = self._not_before.get(page, 0.0)
        if not self.waiting.has_candidates(page):
            not_before -= self._trust_s
        with self._lock:
            if page not in self._stale_pages:
                return None
            if time.monotonic() < not_before:
                return not_before
            self._stale_pages.discard(page)
        self._list(page, watched=True)
        return None

    def _list(self, page: Page, *, watched: bool) -> bool:
        """List a page, and return whether it has jobs to choose from."""
        path = self._layout.page(Place.UNOWNED, *page)
        watch = (lambda _: self._on_page(page)) if watched else None
        try:
            children = self._layout.znodes.children(path, watch)
        except MissingError:
            children = []  # The page was removed; the watch of the shard reports that, too.
        now = time.monotonic()
        self.waiting.list_page(page, children, now)
        self._lost_names.pop(page, None)
        self._not_before[page] = now + LISTED_PAUSE_S * len(children) + self._trust_s
        return self.waiting.has_candidates(page)

    def lost(self, gone: Sequence[Candidate]) -> None:
        """Record that a try to take these jobs was in vain, because other workers took them.

        After several such tries, the page is listed again without a pause.
        """
        for page, count in Counter(candidate.page for candidate in gone).items():
            self._lost_names[page] += LOST_TRY_NAMES + LOST_JOB_NAMES * count
            if self._lost_names[page] >= self.waiting.size_of(page):
                self._not_before.pop(page, None)

    def _on_shard(self, shard: int) -> None:
        with self._lock:
            self._stale_shards.add(shard)
        self._wake()

    def _on_page(self, page: Page) -> None:
        with self._lock:
            self._stale_pages.add(page)
        self._wake()
