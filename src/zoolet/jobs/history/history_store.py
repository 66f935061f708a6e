"""`HistoryStore`: the histories of queues in one database, for programs that only search them.

Unlike `JobHistory`, it asks no server of ZooKeeper which store a queue has. So a program with an
event loop can call it in a thread. Invariant: while `MOST_LATE` calls wait for a database after
their time limit, no further call is made, so the threads stay bounded. This module imports
`zoolet.jobs.errors`, `zoolet.jobs.results` and other modules of its package.
"""

import threading
from collections import OrderedDict
from typing import Final

from zoolet.jobs.errors import ResultStoreError
from zoolet.jobs.history.database import HistoryDatabase
from zoolet.jobs.history.entries import HistoryEntry, HistoryFilter, HistoryPosition
from zoolet.jobs.results.store import ResultStore

MOST_LATE: Final = 4
"""The most calls that wait for the database after their time limit."""
_MOST_QUEUES: Final = 100


class HistoryStore:
    """The histories of queues in the database at an SQLAlchemy URL. Threads may share it.

    Raises:
        ResultRefusedError: the URL is invalid, or SQLAlchemy or the driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self._store = ResultStore(url)
        self._lock = threading.Lock()
        self._databases: OrderedDict[str, HistoryDatabase] = OrderedDict()

    def page(
        self,
        root: str,
        wanted: HistoryFilter,
        *,
        limit: int,
        after: HistoryPosition | None = None,
        timeout_s: float,
    ) -> list[tuple[HistoryPosition, HistoryEntry]]:
        """Return up to ``limit`` jobs, those that ended last first, each with its position.

        Args:
            root: the whole path of the queue's root, also the part in the chroot of a client.
            wanted: which jobs are wanted.
            limit: the most jobs.
            after: the position of the last job of the page before; None: the first page.
            timeout_s: the time limit, in seconds.

        Raises:
            ResultStoreError: the database cannot be read, or does not answer in time.
        """
        if self._store.num_late >= MOST_LATE:
            raise ResultStoreError(
                f"{self._store.place} does not answer: {self._store.num_late} searches still wait"
                " for it. Check whether the database answers other clients"
            )
        return self._database(root).search(wanted, limit, after, timeout_s)

    def _database(self, root: str) -> HistoryDatabase:
        with self._lock:
            found = self._databases.get(root)
            if found is None:
                found = self._databases[root] = HistoryDatabase(self._store, root)
            self._databases.move_to_end(root)
            while len(self._databases) > _MOST_QUEUES:
                self._databases.popitem(last=False)
            return found

    def close(self) -> None:
        """Close the connections to the database."""
        self._store.close()
