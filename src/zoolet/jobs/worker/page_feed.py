"""What a worker sees of unowned: which pages it lists and watches, and when.

What holds:

- Nothing is polled: a page is listed again only after its watch was called.
- After a long list the page is left alone for a while, so that a worker spends a small part of its
  time on lists, however long they are.
- A worker watches all shards of a queue that few workers are on, and of one that many are on only
  those that it ranks first, about as many as it takes so that each shard is watched by `WATCHERS`
  workers. Of a shard it lists no more pages than it needs jobs of.
- One that finds nothing in the shards that it watches looks once through all others.

Called by one thread; events may come from any. Imports the job system's queue and names.
"""

import functools
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from zoolet.jobs.records.transitions import Place
from zoolet.jobs.worker.selection import Page, WaitingJobs
from zoolet.jobs.znodes.edge import MissingError
from zoolet.jobs.znodes.layout import WORKERS, Layout, page_order

WATCHERS = 16
"""About how many workers watch a shard: one job may wake all of them."""
SHARDS_LEAST = 2
PART_HOLDS_S = 5.0
"""How long a worker goes by the number of workers that it counted."""
SHARDS_AT_ONCE = 64
LISTED_PAUSE_S = 20e-6
"""How long a page is not listed again, for each name on it: some twenty times what it costs."""
TRUST_PER_WORKER_S = 0.01
"""How much longer it is not, for each worker, while there are jobs in view that were listed on it.

Most changes of a page are jobs that others take, and who does not need more of them need not know.
So a job of greater priority may be seen so much later by one who has others to take; of many
workers, some other one sees it before.
"""


def rank_shards(worker: str, shards: Sequence[int]) -> list[int]:
    """Return shards in the order that a worker prefers them in, by rendezvous hashing.

    Each worker's order is its own, so that all shards are ranked first by some.
    """
    return sorted(
        shards,
        key=lambda shard: hashlib.blake2b(f"{worker}/{shard}".encode(), digest_size=8).digest(),
    )


class Feed:
    """Keeps a worker's view of what waits.

    Args:
        layout: of the queue.
        worker: what the ranking of shards follows from.
        wake: called when something changed, by any thread.
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
        self._has_searched = False

    @functools.cached_property
    def _ranked(self) -> list[int]:
        # Not before the first use: the layout has to know the queue's settings.
        return rank_shards(self._worker, self._layout.shards)

    @functools.cached_property
    def _ranks(self) -> dict[int, int]:
        return {shard: rank for rank, shard in enumerate(self._ranked)}

    def refresh(self) -> float | None:
        """List what was seen to change, as far as it takes to have jobs to choose from.

        Returns when to come again although nothing happens, because a list was put off.
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
        """Look once through the shards that are not watched, and list a page that has jobs.

        Says whether there was one; the next search is not made before there is a job again.
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

    def _set_part(self) -> None:
        """Say how many shards to watch, by how many workers there are."""
        now = time.monotonic()
        if now < self._part_until:
            return
        self._part_until = now + PART_HOLDS_S
        workers = self._layout.znodes.count_children(self._layout.znodes.path(WORKERS))
        self._trust_s = TRUST_PER_WORKER_S * workers
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
            known = set(self._pages.get(shard, ()))
            with self._lock:
                self._stale_pages.update((shard, page) for page in found if page not in known)
            self._pages[shard] = found
        return self._pages.get(shard, [])

    def _list_if_stale(self, page: Page) -> float | None:
        """List a page that changed; where it is too early for that, return when it is not."""
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
        """List a page; say whether it has jobs to choose from."""
        path = self._layout.page(Place.UNOWNED, *page)
        watch = (lambda _: self._on_page(page)) if watched else None
        try:
            children = self._layout.znodes.children(path, watch)
        except MissingError:
            children = []  # The page was removed; the shard's watch says so too.
        now = time.monotonic()
        self.waiting.list_page(page, children, now)
        self._not_before[page] = now + LISTED_PAUSE_S * len(children) + self._trust_s
        return self.waiting.has_candidates(page)

    def list_again(self, pages: Iterable[Page]) -> None:
        """List these pages again soon: jobs that were there are gone."""
        for page in pages:
            self._not_before.pop(page, None)

    def _on_shard(self, shard: int) -> None:
        with self._lock:
            self._stale_shards.add(shard)
        self._wake()

    def _on_page(self, page: Page) -> None:
        with self._lock:
            self._stale_pages.add(page)
        self._wake()
