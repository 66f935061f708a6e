"""Executors, as a worker has them: each a thread that gets jobs and tells how they come on.

What holds: each job that is given is told of exactly once as ended, or given up by `abandon`. Here
is what all have in common, and those that run tasks in the worker's own process;
`zoolet.jobs.execution.process_executor` runs them in others. Talks to no server. Imports the job
system's attempts.
"""

import logging
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Protocol

from zoolet.jobs.errors import ExecutorError
from zoolet.jobs.execution.attempts import Attempter, Outcome, Work
from zoolet.jobs.execution.logs import labelled
from zoolet.jobs.records.job_names import Group

log = logging.getLogger(__name__)

_LOOK_S = 1.0
LONG_S = 0.25
"""An attempt that takes N s or more is a long one: jobs behind it are better done elsewhere."""


class Observer(Protocol):
    """Is told how jobs come on; called in the executors' threads."""

    def begun(self, name: str) -> None:
        """An attempt was begun: its data is being loaded."""

    def asks(self, name: str) -> None:
        """A careful job is the next one: the executor starts it after `Executor.permit`."""

    def started(self, name: str, cache_hit: bool | None) -> None:
        """The task was called."""

    def ended(self, name: str, outcome: Outcome, took_s: float) -> None:
        """The attempt ended."""

    def returned(self, names: Sequence[str]) -> None:
        """These jobs were recalled, and will not be attempted."""

    def freed(self) -> None:
        """There is room again: an attempt that was given up has ended, or a process is ready."""

    def failed(self, failure: Exception) -> None:
        """The executor has ended, and cannot be started again."""


class Executor(Protocol):
    """Makes attempts, one at a time, in the order that jobs are given in."""

    def start(self) -> None:
        """Begin to get ready."""

    def wait_until_ready(self) -> None:
        """Return when it can work.

        Raises:
            FunctionNotFoundError: the loader cannot be imported.
            ExecutorError: it cannot be started.
        """

    def give(self, works: Sequence[Work]) -> None:
        """Add jobs to be attempted."""

    def permit(self, name: str) -> None:
        """Let a careful job start, which the executor has asked for."""

    def abandon(self, names: Iterable[str]) -> None:
        """Drop these jobs; one that is being attempted is ended, where that can be done."""

    def recall(self) -> None:
        """Return the jobs that wait behind the one that is attempted; they are told of."""

    def is_stuck(self) -> bool:
        """Say whether it is no use to give it jobs: what it is at takes long."""

    def held(self) -> frozenset[Group]:
        """Return the groups that it has loaded."""

    def stop(self) -> None:
        """Begin to end it, with what it has in hand."""

    def join(self) -> None:
        """Wait until it has ended, after `stop`, where it can be ended; for a limited time."""


class ThreadExecutor:
    """Makes attempts in a thread of this process, with a cache that it may share with others."""

    def __init__(self, attempter: Attempter, observer: Observer) -> None:
        self._attempter = attempter
        self._observer = observer
        self._lock = threading.Lock()
        self._given: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._wanted: dict[str, Work] = {}
        """What was given and is not given up, nor ended; a job may be given again meanwhile."""
        self._current: Work | None = None
        self._permitted = threading.Condition(self._lock)
        self._permits: set[str] = set()
        """Careful jobs that may start."""
        self._stopping = False
        self._began = 0.0
        self._has_failed = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def wait_until_ready(self) -> None:
        """Return at once: whoever made the attempter has imported the loader."""

    def give(self, works: Sequence[Work]) -> None:
        """Add jobs to be attempted."""
        for work in works:
            with self._lock:
                self._wanted[work.name] = work
            self._given.put(work)

    def permit(self, name: str) -> None:
        """Let a careful job start."""
        with self._permitted:
            self._permits.add(name)
            self._permitted.notify_all()

    def abandon(self, names: Iterable[str]) -> None:
        """Drop these jobs; a thread cannot be ended, so one that runs is let run for nothing."""
        with self._permitted:
            for name in names:
                self._wanted.pop(name, None)
            self._permitted.notify_all()

    def recall(self) -> None:
        """Return the jobs that wait behind the one that is attempted."""
        with self._lock:
            names = [name for name, work in self._wanted.items() if work is not self._current]
            for name in names:
                del self._wanted[name]
            self._permitted.notify_all()
        self._observer.returned(names)

    def is_stuck(self) -> bool:
        """Say whether what it is at takes long, or was given up and cannot be ended."""
        current = self._current
        if current is None:
            return self._has_failed
        return not self._wants(current) or time.monotonic() - self._began > LONG_S

    def held(self) -> frozenset[Group]:
        """Return the groups that the cache has."""
        cache = self._attempter.cache
        return frozenset() if cache is None else cache.held()

    def stop(self) -> None:
        """Take no further job; what runs cannot be ended."""
        self._given.put(None)
        with self._permitted:
            self._stopping = True
            self._permitted.notify_all()

    def join(self) -> None:
        """Return at once: a task that runs cannot be ended."""

    def _run(self) -> None:
        try:
            self._attempt_all()
        except BaseException as error:
            log.exception("an executor fails")
            self._has_failed = True
            self._observer.failed(ExecutorError(f"an executor fails: {error!r}"))

    def _attempt_all(self) -> None:
        # This wait ends: `stop` puts None.
        while (work := self._given.get()) is not None:
            if not self._wants(work) or (work.careful and not self._is_permitted(work)):
                continue
            self._began = began = time.monotonic()
            self._current = work
            if work.timeout_ms is not None:
                outcome = Outcome(
                    error="it has a timeout, and this worker runs tasks in threads, which cannot be"
                    " ended: run it on workers without --threads"
                )
            else:
                with labelled(work.label):
                    outcome = self._attempter.attempt(work, _AttemptListener(self, work))
            with self._lock:
                is_wanted = self._wanted.get(work.name) is work
                if is_wanted:
                    del self._wanted[work.name]
            self._current = None
            if is_wanted:
                self._observer.ended(work.name, outcome, time.monotonic() - began)
            else:
                self._observer.freed()

    def _is_permitted(self, work: Work) -> bool:
        """Ask to start a careful job, and wait; False if it is not wanted any more."""
        with self._lock:
            self._permits.clear()
        self._observer.asks(work.name)
        with self._permitted:
            while self._wanted.get(work.name) is work and not self._stopping:
                if work.name in self._permits:
                    return True
                # This wait ends: the worker permits the job, or drops it when it is lost.
                self._permitted.wait(_LOOK_S)
        return False

    def _wants(self, work: Work) -> bool:
        with self._lock:
            return self._wanted.get(work.name) is work

    def tell_begun(self, work: Work) -> None:
        """Pass on that a job's data is being loaded."""
        if self._wants(work):
            self._observer.begun(work.name)

    def tell_started(self, work: Work, cache_hit: bool | None) -> None:
        """Pass on that a job's task is called."""
        if self._wants(work):
            self._observer.started(work.name, cache_hit)


class _AttemptListener:
    """Passes on to a worker how one attempt comes on."""

    def __init__(self, executor: ThreadExecutor, work: Work) -> None:
        self._executor = executor
        self._work = work

    def begun(self) -> None:
        self._executor.tell_begun(self._work)

    def started(self, cache_hit: bool | None, dropped: tuple[Group, ...]) -> None:
        del dropped
        self._executor.tell_started(self._work, cache_hit)
