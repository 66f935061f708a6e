"""The databases with the histories of queues: each is searched in one of a few threads.

Invariants: a search never blocks the event loop; it ends within `WAIT_S`, also if the database
does not answer; the number of threads and of waiting searches is bounded.
"""

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from zoolet.jobs import (
    HistoryEntry,
    HistoryFilter,
    HistoryPosition,
    HistoryStore,
    ResultStoreError,
)

SEARCH_S: Final = 10.0
"""The time limit of a search, in seconds."""

WAIT_S: Final = 15.0
"""The time limit of a search with its wait for a thread, in seconds."""

THREADS: Final = 4
"""The number of searches at the same time."""

MOST_WAITING: Final = 16
"""Most searches that run or wait for a thread."""

Page = list[tuple[HistoryPosition, HistoryEntry]]


class NoHistoryError(Exception):
    """The page has no URL for the result store of a queue; the message says what to do."""


class Histories:
    """The databases of the result stores that the page knows; ``urls`` has their URLs by name."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = dict(urls)
        self._lock = threading.Lock()
        self._stores: dict[str, HistoryStore] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._num_searches = 0

    async def page(
        self,
        store: str,
        root: str,
        wanted: HistoryFilter,
        *,
        limit: int,
        after: HistoryPosition | None,
    ) -> Page:
        """Return a part of the history of a queue, those that ended last first.

        Args:
            store: the name of the queue's result store.
            root: the whole path of the queue.
            wanted: which jobs are wanted.
            limit: the most jobs.
            after: the position of the last job of the part before; None: the first part.

        Raises:
            NoHistoryError: the page has no URL for this store.
            ResultStoreError: the database cannot be read, or does not answer in time.
        """
        if store not in self._urls:
            raise NoHistoryError(
                f"the queue's result store is {store}, and zoolet web has no URL for this name:"
                f" start it with --results {store}=URL"
            )
        if self._num_searches >= MOST_WAITING:
            raise ResultStoreError(
                f"{MOST_WAITING} searches of histories run: try again in a moment"
            )
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, "zoolet-history")
        url = self._urls[store]

        def work() -> Page:
            found = self._store(url)
            return found.page(root, wanted, limit=limit, after=after, timeout_s=SEARCH_S)

        self._num_searches += 1
        search = asyncio.get_running_loop().run_in_executor(self._pool, work)
        search.add_done_callback(self._note_end)
        try:
            return await asyncio.wait_for(asyncio.shield(search), WAIT_S)
        except TimeoutError:
            raise ResultStoreError(
                f"the database of the result store {store} did not answer within {WAIT_S:g} s."
                " Check whether it answers other clients"
            ) from None

    def _note_end(self, search: "asyncio.Future[Page]") -> None:
        self._num_searches -= 1
        if not search.cancelled():
            search.exception()  # nobody may wait for it any more

    def _store(self, url: str) -> HistoryStore:
        with self._lock:
            found = self._stores.get(url)
            if found is None:
                found = self._stores[url] = HistoryStore(url)
            return found

    def close(self) -> None:
        """Close the connections to the databases; searches that run end by their time limit."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        for store in self._stores.values():
            store.close()
