"""`JobHistory`: what a queue's users search, and what the housekeeping writes.

The history is in the database of the queue's result store. Invariant: `record` returns only after
the database has stored the entries. This module imports `zoolet.jobs.queue`, `zoolet.jobs.results`
and other modules of its package.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from zoolet.jobs.history.database import HistoryDatabase
from zoolet.jobs.history.entries import HistoryEntry, HistoryFilter, HistoryPosition, entry_of
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.job import Job
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.results.store import ResultStore

PAGE: Final = 500
"""The entries that one query of an iteration reads."""


class JobHistory:
    """The history of a queue: the jobs that were removed from it.

    Args:
        queue: the queue.
        results: the reader of the queue's results, for example `Dispatcher.results`.
    """

    def __init__(self, queue: JobQueue, results: ResultReader) -> None:
        self._queue = queue
        self._results = results
        self._database: tuple[ResultStore, HistoryDatabase] | None = None

    def record(self, jobs: Sequence[Job]) -> None:
        """Write the attempts and times of ended jobs; a job that was recorded before is replaced.

        Raises:
            ResultStoreError: the database did not store them; none was stored.
            ResultRefusedError: this program's result store is not the queue's result store.
        """
        if jobs:
            database = self._on(self._results.queues_store())
            database.record([entry_of(job) for job in jobs])

    def page(
        self, wanted: HistoryFilter, *, limit: int = PAGE, after: HistoryPosition | None = None
    ) -> list[tuple[HistoryPosition, HistoryEntry]]:
        """Return up to ``limit`` jobs, those that ended last first, each with its position.

        ``after`` is the position of the last job of the page before; None: the first page.

        Raises:
            ResultStoreError: the database cannot be read.
        """
        return self._on(self._results.store_to_read()).search(wanted, limit, after)

    def search(self, wanted: HistoryFilter | None = None) -> Iterator[HistoryEntry]:
        """Yield all jobs that match, those that ended last first; see `page` for the errors."""
        after: HistoryPosition | None = None
        while found := self.page(wanted or HistoryFilter(), after=after):
            yield from (entry for _, entry in found)
            after = found[-1][0]

    def _on(self, store: ResultStore) -> HistoryDatabase:
        if self._database is None or self._database[0] is not store:
            self._database = store, HistoryDatabase(store, self._queue.layout.znodes.path())
        return self._database[1]
