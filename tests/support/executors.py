"""What a test of executors needs: an observer that it can wait on, and work for them."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.support.waiting import WAIT_S
from zoolet.jobs.execution.attempts import Attempter, Outcome, Setup, Work
from zoolet.jobs.execution.executors import Executor, ThreadExecutor
from zoolet.jobs.execution.process_executor import ProcessExecutor
from zoolet.jobs.records.progress import Progress


class Listening:
    """An observer that a test can wait on."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.news: list[tuple[Any, ...]] = []

    def begun(self, name: str) -> None:
        self._add("begun", name)

    def asks(self, name: str) -> None:
        """Note that the executor asks to start a careful job."""
        self._add("asks", name)

    def started(self, name: str, cache_hit: bool | None) -> None:
        self._add("started", name, cache_hit)

    def progressed(self, name: str, progress: Progress) -> None:
        self._add("progressed", name, progress)

    def ended(self, name: str, outcome: Outcome, took_s: float) -> None:
        assert took_s >= 0
        self._add("ended", name, outcome)

    def returned(self, names: Sequence[str]) -> None:
        self._add("returned", list(names))

    def freed(self) -> None:
        self._add("freed")

    def failed(self, failure: Exception) -> None:
        self._add("failed", failure)

    def _add(self, *news: Any) -> None:
        with self.changed:
            self.news.append(news)
            self.changed.notify_all()

    def wait_for(self, kind: str, count: int = 1) -> list[Any]:
        """Return the last part of each news of a kind, once there are ``count``."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.of(kind)) >= count, WAIT_S), self.news
            return self.of(kind)

    def of(self, kind: str) -> list[Any]:
        return [news[-1] for news in self.news if news[0] == kind]


@contextmanager
def executor_of(kind: str, setup: Setup) -> Iterator[tuple[Executor, Listening]]:
    """Start an executor, of the kind ``thread`` or ``process``, and stop it at the end."""
    listening = Listening()
    executor: Executor = (
        ThreadExecutor(Attempter(setup), listening)
        if kind == "thread"
        else ProcessExecutor(setup, listening)
    )
    executor.start()
    executor.wait_until_ready()
    yield executor, listening
    executor.stop()
    executor.join()


def work(name: str, task: str = "echo", groupid: str = "1", **changes: Any) -> Work:
    """Return a job for an executor; what else is given are its parameters."""
    timeout_ms, careful = changes.pop("timeout_ms", None), changes.pop("careful", False)
    module = changes.pop("module", "pipe_tasks")
    return Work(name, f"{module}:{task}", "d", groupid, changes, timeout_ms, careful)
