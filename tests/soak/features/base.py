"""What each feature of the soak test is: how users use it, and what must hold in the end.

A feature is a module with a subclass of `Feature`, which `tests.soak.features.all_features` lists.
The runner (`tests.soak.feature_users`) calls its methods in this order: `options` and `prepare`,
then `use` again and again while faults are made, in a thread of its own, then `settle` when there
are no faults any more, and `problems` when the workers and the server have ended.
"""

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from kazoo.exceptions import KazooException

from tests.soak.history import History, Standing
from tests.soak.invariants import DISTURBED
from tests.soak.processes import WorkerProcess
from zoolet.jobs import (
    Batch,
    BatchExistsError,
    BatchIncompleteError,
    Dispatcher,
    Job,
    JobNotFoundError,
    JobRequest,
    QueueFullError,
    ResultStoreError,
)

ROOT = "/jobs/features"
"""The queue of the features."""
BUSY, ASYNC = "busy", "async"
"""The kinds of workers: of ordinary tasks, and with ``--async-concurrency``."""
STORE = "features"
"""The name of the result store of the features' queue."""
AGAIN_S = 0.2
ENDED_S = 150.0
"""How long after the last fault a round must have ended."""
T = TypeVar("T")


class SkippedError(Exception):
    """A round cannot be checked: a fault has hidden what happened in it."""


@dataclass
class Stage:
    """What all features use.

    Attributes:
        home: the directory of the soak test.
        hosts: the servers for users, behind a proxy with faults.
        seed: the seed of the soak test.
        stopping: set when no more rounds begin.
        counts: how often users did what.
        found: what was wrong.
        workers: returns the worker processes of the features' queue that run.
    """

    home: Path
    hosts: str
    seed: int
    workers: Callable[[], list[WorkerProcess]]
    stopping: threading.Event = field(default_factory=threading.Event)
    counts: Counter[str] = field(default_factory=Counter)
    found: list[tuple[str, str]] = field(default_factory=list)
    stopped_at: float | None = None

    @property
    def stores(self) -> dict[str, str]:
        """The URL of the result store of the features' queue, by its name."""
        return {STORE: f"sqlite:///{self.home / 'features.db'}"}

    def lines(self, file: str) -> list[dict[str, Any]]:
        """Return what tasks and hooks have noted in a file."""
        path = self.home / "features" / file
        return list(map(json.loads, path.read_text().splitlines())) if path.exists() else []


@dataclass(frozen=True)
class Found:
    """What `Feature.problems` looks at: the history of each queue, by its root."""

    histories: dict[str, History]

    @property
    def history(self) -> History:
        """The history of the features' queue."""
        return self.histories[ROOT]

    @property
    def jobs(self) -> dict[str, list[Standing]]:
        """The jobs of all queues by name, which differ."""
        return {name: one for found in self.histories.values() for name, one in found.jobs.items()}


class Feature:
    """A feature of the job system, with its users."""

    pause_s = (0.0, 0.5)
    """The least and the greatest pause between two rounds, in seconds."""
    roots: Sequence[str] = ()
    """Queues of its own, whose history it needs."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.chance = Random(f"{self.name} {stage.seed}")
        self._numbers = itertools.count(1)

    @property
    def name(self) -> str:
        """The name of the feature, for people."""
        return type(self).__name__

    def options(self, kind: str) -> Sequence[str]:
        """Return options for each worker of this kind."""
        del kind
        return ()

    def settings(self) -> dict[str, Any]:
        """Return settings of the features' queue (`QueueSettings`)."""
        return {}

    def prepare(self, dispatcher: Dispatcher) -> None:
        """Get the queue ready, before its workers start."""

    def use(self, dispatcher: Dispatcher) -> None:
        """Use the feature one time, and check what users see at once."""

    def settle(self, dispatcher: Dispatcher) -> None:
        """Return when everything that the feature does by itself has ended."""

    def problems(self, found: Found) -> Iterator[str]:
        """Yield what does not hold of the history."""
        del found
        yield from ()

    # --- For subclasses

    def problem(self, text: str) -> None:
        """Note what was wrong."""
        self.stage.found.append((self.name, text))

    def count(self, what: str, number: int = 1) -> None:
        """Count what users did."""
        self.stage.counts[f"{self.name}: {what}"] += number

    def new_name(self) -> str:
        """Return a new name for a batch."""
        return f"{self.name}-{next(self._numbers):05d}"

    def persist(self, call: Callable[[], T]) -> T:
        """Return what a call returns, and make it again while the server cannot be reached."""
        while True:
            self.check_time()
            try:
                return call()
            except (KazooException, TimeoutError, ConnectionError, QueueFullError) as error:
                self.count(f"calls that failed with {type(error).__name__}")
            except ResultStoreError:
                self.count("calls without the result store")
            time.sleep(AGAIN_S)

    def check_time(self) -> None:
        """End a round that takes too long after the last fault."""
        stopped_at = self.stage.stopped_at
        if stopped_at is not None and time.monotonic() > stopped_at + ENDED_S:
            raise AssertionError(f"{ENDED_S:.0f} s after the last fault this round has not ended")

    def submit(
        self, dispatcher: Dispatcher, requests: Sequence[JobRequest], **options: Any
    ) -> Batch:
        """Submit a batch with a new name; raise `SkippedError` if only a part was submitted."""
        name = options.pop("name", None) or self.new_name()
        self.count("batches")
        self.count("jobs", len(requests))
        try:
            return self.persist(lambda: dispatcher.submit_batch(requests, name=name, **options))
        except BatchExistsError:
            try:
                return self.persist(lambda: dispatcher.batch(name))
            except BatchIncompleteError:
                raise SkippedError("a batch was submitted in part") from None

    def results(self, batch: Batch) -> list[Job]:
        """Return the ended jobs of a batch, in the order of submission."""
        found: dict[str, Job] = {}
        try:
            while batch.outstanding:
                job = self.persist(lambda: batch.next_result(timeout_s=AGAIN_S))
                if job is not None:
                    found[job.name] = job
        except JobNotFoundError:
            raise SkippedError("a job was removed before its end was read") from None
        return [found[one.name] for one in batch.submissions]

    def expect(self, job: Job, result: Any = None, error: str | None = None) -> None:
        """Note a problem if a job has not ended so; a disturbed job may be FAILED."""
        texts = [one.message for one in job.errors]
        if job.state == "SUCCESSFUL":
            if error is not None or job.result != result:
                self.problem(f"{job.name} has {job.result!r}, not {error or repr(result)}")
        elif error is None or not any(error in text for text in texts):
            if not any(DISTURBED.search(text) for text in texts):
                self.problem(f"{job.name} is FAILED: {texts}")
            else:
                self.count("jobs FAILED because of faults")


def queue_settings(features: Sequence[Feature]) -> dict[str, Any]:
    """Return the settings that all features together need."""
    return {name: value for one in features for name, value in one.settings().items()}
