"""The retention of finished jobs, and their history in a database that is down now and then.

Invariant: each job that was removed from the queue is in the history, as it ended.
"""

import sqlite3
import time
from collections.abc import Iterator
from typing import Any

from tests.soak.features.base import AGAIN_S, STORE, Feature, Found
from zoolet.jobs import Dispatcher, HistoryEntry, JobHistory

KEEP_MS = 60_000


class HistoryOfRemoved(Feature):
    """See the docstring of the module; the other features make the jobs."""

    pause_s = (3.0, 12.0)

    def options(self, kind: str) -> list[str]:
        del kind
        return [
            word
            for name, url in self.stage.stores.items()
            for word in ("--result-store-url", f"{name}={url}")
        ]

    def settings(self) -> dict[str, Any]:
        return {
            "result_store": STORE,
            "keep_done_ms": KEEP_MS,
            "keep_failed_ms": KEEP_MS,
        }

    def use(self, dispatcher: Dispatcher) -> None:
        """Let the database be down: another program locks it."""
        del dispatcher
        database = sqlite3.connect(self.stage.home / "features.db", timeout=0.2)
        try:
            database.execute("BEGIN EXCLUSIVE")
            self.stage.stopping.wait(self.chance.uniform(1, 8))
            self.count("times that the database was down")
        except sqlite3.OperationalError:
            self.count("times that the database was busy")
        finally:
            database.close()

    def settle(self, dispatcher: Dispatcher) -> None:
        self._entries: dict[str, HistoryEntry] = {}
        self.persist(lambda: dispatcher.queue.configure(keep_done_ms=0, keep_failed_ms=0))
        while any(left := self.persist(dispatcher.queue.counts).values()):
            try:
                self.check_time()
            except AssertionError:
                self.problem(f"not all jobs have ended and are removed: {left}")
                break
            time.sleep(AGAIN_S)
        history = JobHistory(dispatcher.queue, dispatcher.results)
        for entry in self.persist(lambda: list(history.search())):
            if entry.job in self._entries:
                self.problem(f"the history has {entry.job} twice")
            self._entries[entry.job] = entry
        self.count("entries", len(self._entries))

    def problems(self, found: Found) -> Iterator[str]:
        for name, standings in found.history.jobs.items():
            if standings[-1].place:
                continue
            last, entry = standings[-2], self._entries.get(name)
            if last.place != "done":
                yield f"{name} was removed from {last.place}"
            if entry is None:
                yield f"{name} was removed, and is not in the history"
                continue
            told = (entry.state, entry.attempts, entry.finished_ms, len(entry.errors))
            ended_ms = last.values.get("finished_ms")
            stood = (last.state, last.attempts, ended_ms, len(last.errors))
            if told != stood:
                yield f"the history has {told} of {name}, which ended as {stood}"
        left = self._entries.keys() - found.history.jobs.keys()
        yield from (f"the history has {name}, which never was in the queue" for name in left)
