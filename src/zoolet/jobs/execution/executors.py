"""The executors of a worker: each has a thread that gets jobs and reports their progress.

Invariant: each job that is given to an executor is either reported exactly one time as ended or
returned, or it is dropped by `abandon`.

This module contains the interface of executors, and executors that run tasks in the worker's own
process; `zoolet.jobs.execution.process_executor` runs tasks in other processes. This module sends
no requests to a server. It imports `zoolet.jobs.errors`, `zoolet.jobs.records` and other modules of
its package.
"""

import logging
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

from zoolet.jobs.errors import ExecutorError
from zoolet.jobs.execution.attempts import Attempter, Outcome, Work
from zoolet.jobs.execution.logs import labelled
from zoolet.jobs.execution.progress_reports import ProgressReports
from zoolet.jobs.records.job_names import Group
from zoolet.jobs.records.progress import Progress

log = logging.getLogger(__name__)

_LOOK_S = 1.0
LONG_S = 0.25
"""An attempt that takes longer than this time, in seconds, is long: the jobs that wait for its end
are returned, so that other executors attempt them."""


class Observer(Protocol):
    """Receives the progress of jobs; the methods are called in the executors' threads."""

    def begun(self, name: str) -> None:
        """An attempt has begun: the executor loads its data."""

    def asks(self, name: str) -> None:
        """A careful job is the next job: the executor starts it after `Executor.permit`."""

    def started(self, name: str, cache_hit: bool | None) -> None:
        """The task was called."""

    def progressed(self, name: str, progress: Progress) -> None:
        """The task has reported its progress."""

    def ended(self, name: str, outcome: Outcome, took_s: float) -> None:
        """The attempt has ended."""

    def returned(self, names: Sequence[str]) -> None:
        """These jobs were recalled: the executor does not attempt them."""

    def freed(self) -> None:
        """The executor has room again: an abandoned attempt has ended, or a process is ready."""

    def failed(self, failure: Exception) -> None:
        """The executor has ended, and cannot be started again."""


class Executor(Protocol):
    """Makes one attempt at a time, in the order in which jobs are given."""

    def start(self) -> None:
        """Begin to start the executor."""

    def wait_until_ready(self) -> None:
        """Return when the executor can attempt jobs.

        Raises:
            FunctionNotFoundError: the loader cannot be imported.
            ExecutorError: the executor cannot be started.
        """

    def give(self, works: Sequence[Work]) -> None:
        """Add jobs to be attempted."""

    def permit(self, name: str) -> None:
        """Permit the start of a careful job, after `Observer.asks`."""

    def abandon(self, names: Iterable[str]) -> None:
        """Drop these jobs; if one of them is being attempted, end the attempt if possible."""

    def recall(self) -> None:
        """Return the jobs that wait for the current attempt, by `Observer.returned`."""

    def is_stuck(self) -> bool:
        """Return whether the executor should get no jobs: its current attempt takes long."""

    def is_ready(self) -> bool:
        """Return whether the executor can attempt jobs: it has started and not failed."""

    def held(self) -> frozenset[Group]:
        """Return the groups that the executor has loaded."""

    def stop(self) -> None:
        """Begin to end the executor and its attempt."""

    def resident_bytes(self) -> int:
        """Return the resident memory of the executor's process; 0 if it is not known."""

    def has_ended(self) -> bool:
        """Return whether the executor and its process have ended."""

    def join(self) -> None:
        """After `stop`, wait for the executor's end, if it can be ended; for a limited time."""


class ThreadExecutor:
    """Makes attempts in a thread of this process, with a cache that it may share with others."""

    def __init__(self, attempter: Attempter, observer: Observer) -> None:
        self._attempter = attempter
        self._observer = observer
        self._lock = threading.Lock()
        self._given: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._wanted: dict[str, Work] = {}
        """Jobs that are neither abandoned nor ended. A job may be given again after it was
        abandoned."""
        self._current: Work | None = None
        self._permitted = threading.Condition(self._lock)
        self._permits: set[str] = set()
        """Careful jobs that may start."""
        self._stopping = False
        self._began = 0.0
        self._has_failed = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wait_until_ready(self) -> None:
        """Return without a wait: the attempter has imported the loader already."""

    def give(self, works: Sequence[Work]) -> None:
        """Add jobs to be attempted."""
        for work in works:
            with self._lock:
                self._wanted[work.name] = work
            self._given.put(work)

    def permit(self, name: str) -> None:
        """Permit the start of a careful job."""
        with self._permitted:
            self._permits.add(name)
            self._permitted.notify_all()

    def abandon(self, names: Iterable[str]) -> None:
        """Drop these jobs; a running task cannot be ended, so only its outcome is dropped."""
        with self._permitted:
            for name in names:
                self._wanted.pop(name, None)
            self._permitted.notify_all()

    def recall(self) -> None:
        """Return the jobs that wait for the current attempt."""
        with self._lock:
            names = [name for name, work in self._wanted.items() if work is not self._current]
            for name in names:
                del self._wanted[name]
            self._permitted.notify_all()
        self._observer.returned(names)

    def is_stuck(self) -> bool:
        """Return whether the current attempt takes long, or was abandoned but still runs."""
        current = self._current
        if current is None:
            return self._has_failed
        return not self.wants(current) or time.monotonic() - self._began > LONG_S

    def is_ready(self) -> bool:
        """Return whether the thread has not failed."""
        return not self._has_failed

    def held(self) -> frozenset[Group]:
        """Return the groups in the cache."""
        return self._attempter.cache.held()

    def stop(self) -> None:
        """Attempt no further job; a running task cannot be ended."""
        self._given.put(None)
        with self._permitted:
            self._stopping = True
            self._permitted.notify_all()

    def resident_bytes(self) -> int:
        """Return 0: the memory of a thread is not known."""
        return 0

    def has_ended(self) -> bool:
        """Return whether the thread has ended."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Return without a wait: a running task cannot be ended."""

    def _run(self) -> None:
        try:
            self._attempt_all()
        except BaseException as error:
            log.exception("an executor has failed, which ends the worker")
            self._has_failed = True
            self._observer.failed(ExecutorError(f"an executor has failed: {error!r}"))

    def _attempt_all(self) -> None:
        # This wait ends: `stop` puts None.
        while (work := self._given.get()) is not None:
            if not self.wants(work) or (work.careful and not self._is_permitted(work)):
                continue
            self._began = began = time.monotonic()
            self._current = work
            if work.first_timeout_ms is not None:
                outcome = Outcome(
                    error="the job has a timeout, but this worker runs tasks in threads, which"
                    " cannot be ended: use workers without --threads"
                )
            else:
                listener = _AttemptListener(self, work)
                with labelled(work.label):
                    outcome = self._attempter.attempt(work, listener)
                listener.end()
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
        """Ask for the permit of a careful job, and wait; return whether the job may start."""
        with self._lock:
            self._permits.clear()
        self._observer.asks(work.name)
        with self._permitted:
            while self._wanted.get(work.name) is work and not self._stopping:
                if work.name in self._permits:
                    return True
                # This wait ends: the worker permits the job, or abandons it if the job is lost.
                self._permitted.wait(_LOOK_S)
        return False

    def wants(self, work: Work) -> bool:
        """Return whether the outcome of an attempt is wanted: the job is not abandoned."""
        with self._lock:
            return self._wanted.get(work.name) is work

    def tell_begun(self, work: Work) -> None:
        """Report that a job's data is being loaded."""
        if self.wants(work):
            self._observer.begun(work.name)

    def tell_started(self, work: Work, cache_hit: bool | None) -> None:
        """Report that a job's task is called."""
        if self.wants(work):
            self._observer.started(work.name, cache_hit)

    def tell_progressed(self, work: Work, progress: Progress) -> None:
        """Report the progress of a job."""
        if self.wants(work):
            self._observer.progressed(work.name, progress)


class _AttemptListener:
    """Passes the progress of one attempt on to its executor."""

    def __init__(self, executor: ThreadExecutor, work: Work) -> None:
        self._executor = executor
        self._work = work
        self._reports: ProgressReports | None = None

    def progressed(self, progress: Progress) -> None:
        if self._reports is None:
            self._reports = ProgressReports(partial(self._executor.tell_progressed, self._work))
        self._reports.add(progress)

    def is_wanted(self) -> bool:
        return self._executor.wants(self._work)

    def end(self) -> None:
        """Report the last progress before the end of the attempt."""
        if self._reports is not None:
            self._reports.end()

    def begun(self) -> None:
        self._executor.tell_begun(self._work)

    def started(self, cache_hit: bool | None, dropped: tuple[Group, ...]) -> None:
        del dropped
        self._executor.tell_started(self._work, cache_hit)
