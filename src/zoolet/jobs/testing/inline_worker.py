"""A worker whose tasks run in the thread that calls it, until the queue has nothing more to do.

It is a real worker, with its taker, recorder and housekeeping; only its executor is another one.
Invariant: after `run`, no thread of the worker changes the queue. Imports `zoolet.jobs.execution`,
`zoolet.jobs.worker` and other packages of the job system.
"""

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.jobs.errors import JobError
from zoolet.jobs.execution.attempts import Attempter, Outcome, Setup, Work
from zoolet.jobs.execution.executors import Executor, Observer, ThreadExecutor
from zoolet.jobs.execution.functions import absolute_paths
from zoolet.jobs.housekeeping.line import Housekeeping
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.job_values import WAITS_FOR_TIME
from zoolet.jobs.records.progress import Progress
from zoolet.jobs.records.transitions import JobState, Place
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.worker.executor_control import ExecutorLimits
from zoolet.jobs.worker.run import WorkerOptions, WorkerRun
from zoolet.jobs.worker.served_queues import ServedQueue

Moment = Literal["taken", "started", "ended"]
"""When a worker is lost: after it took a job, after the task started, or after the task ended."""

_LOOK_S: Final = 0.005
_CACHE_GROUPS: Final = 8
_CLOCK_ERROR_MS: Final = 50
"""A job that is due within this time is waited for: the worker estimates the server's time."""


class JobsDoNotEndError(JobError):
    """The waiting jobs did not all end in time; the message names some of them."""


class InlineWorker:
    """A worker for one call of `run`.

    Args:
        connection: the server.
        root: the path of the queue's root.
        loader: the name of the function that loads a group; None if tasks get no data.
        errors: the errors with which the next attempts fail, instead of running their tasks.
        lost_at: when the worker is lost; None: it works until nothing is left to do.
        result_stores: the URLs of result stores by name.
    """

    def __init__(
        self,
        connection: ConnectionSettings,
        root: str,
        *,
        result_stores: Mapping[str, str],
        loader: str | None = None,
        errors: list[BaseException],
        lost_at: Moment | None = None,
    ) -> None:
        connection, root = connection.moving_chroot(root)
        setup = Setup(loader, _CACHE_GROUPS, None, absolute_paths(sys.path))
        queues = (ServedQueue(root, root, has_loader=loader is not None),)
        options = WorkerOptions(
            connection, queues, setup, ExecutorLimits(), True, 0.0, None, result_stores, None
        )
        self._run = _Run(options, self._fail, errors, lost_at)
        self._failure: BaseException | None = None

    def run(self, timeout_s: float) -> list[str]:
        """Run all jobs that can start, in this thread, also those that become ready meanwhile.

        Returns the name of the job of each attempt that ended, in the order of their ends.

        Raises:
            JobsDoNotEndError: jobs still wait or run after ``timeout_s``.
        """
        run = self._run
        try:
            run.start()
            watching = threading.Thread(target=self._watch, args=(timeout_s,), daemon=True)
            watching.start()
            executor = run.executor
            executor.attempt_all()
            watching.join()
        finally:
            run.stop(0)
        if self._failure is not None:
            raise self._failure
        return run.executor.ended_names

    def _watch(self, timeout_s: float) -> None:
        """End the executor's loop when nothing is left to do, or when the worker is lost."""
        run, ends_at = self._run, time.monotonic() + timeout_s
        try:
            parts = run.places[0].first
            idle = _Idle(parts.queue, parts.results)
            while self._failure is None and not run.executor.is_lost.wait(_LOOK_S):
                if not parts.hands.all() and idle.is_idle():
                    break
                if time.monotonic() > ends_at:
                    self._fail(JobsDoNotEndError(idle.message(timeout_s)))
        except BaseException as error:  # noqa: BLE001 -- raised by `run`
            self._fail(error)
        if run.executor.is_lost.is_set():
            run.lose_session()
        run.executor.stop()

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error


class _Run(WorkerRun):
    """The parts of the worker, with an executor that has no thread."""

    def __init__(
        self,
        options: WorkerOptions,
        on_failure: Callable[[BaseException], None],
        errors: list[BaseException],
        lost_at: Moment | None,
    ) -> None:
        super().__init__(options, on_failure)
        self._errors = errors
        self._lost_at = lost_at
        self.executor: InlineExecutor

    def _make_executor(self) -> Executor:
        assert self._attempter is not None  # noqa: S101 -- `start` has made it
        self.executor = InlineExecutor(
            self._attempter,
            _Losing(self._observer()),
            self.places[0].first.queue,
            self._errors,
            self._lost_at,
        )
        return self.executor

    def lose_session(self) -> None:
        """End the session as if the worker was killed: its jobs stay in owned."""
        self._stopping.set()
        self._link.close(None)


class _Losing:
    """Passes the progress of jobs on, until the worker is lost, and notes which attempts ended."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.ended_names: list[str] = []
        self.is_lost = threading.Event()

    def begun(self, name: str) -> None:
        self._observer.begun(name)

    def asks(self, name: str) -> None:
        self._observer.asks(name)

    def started(self, name: str, cache_hit: bool | None) -> None:
        self._observer.started(name, cache_hit)

    def progressed(self, name: str, progress: Progress) -> None:
        self._observer.progressed(name, progress)

    def ended(self, name: str, outcome: Outcome, took_s: float) -> None:
        if not self.is_lost.is_set():
            self.ended_names.append(name)
            self._observer.ended(name, outcome, took_s)

    def returned(self, names: Sequence[str]) -> None:
        self._observer.returned(names)

    def freed(self) -> None:
        self._observer.freed()

    def failed(self, failure: Exception) -> None:
        self._observer.failed(failure)


class InlineExecutor(ThreadExecutor):
    """Makes attempts in the thread that calls `attempt_all`.

    A timeout of a job has no effect, because the task runs in the thread of the test.
    """

    def __init__(
        self,
        attempter: Attempter,
        observer: _Losing,
        queue: JobQueue,
        errors: list[BaseException],
        lost_at: Moment | None,
    ) -> None:
        super().__init__(attempter, observer)
        self.is_lost = observer.is_lost
        self.ended_names = observer.ended_names
        self._queue = queue
        self._errors = errors
        self._lost_at = lost_at

    def start(self) -> None:
        """Return without a thread."""

    def attempt_all(self) -> None:
        """Attempt jobs until `stop`."""
        self._run()

    def give(self, works: Sequence[Work]) -> None:
        """Add jobs to be attempted."""
        if self._lost_at == "taken":
            self.is_lost.set()
        elif not self.is_lost.is_set():
            unlimited = [work._replace(timeout_ms=None, soft_timeout_ms=None) for work in works]
            super().give(unlimited)

    def tell_started(self, work: Work, cache_hit: bool | None) -> None:
        """Report that a job's task is called; raise the error that a test wants instead of it."""
        super().tell_started(work, cache_hit)
        if self._errors:
            raise self._errors.pop(0)
        if self._lost_at is None:
            return
        # A worker that is lost before this record has not begun an attempt.
        while self._queue.find(work.name).state is not JobState.RUNNING:
            time.sleep(_LOOK_S)
        self.is_lost.set()
        if self._lost_at == "started":
            raise _WorkerLostError


class _WorkerLostError(BaseException):
    """Ends an attempt without a call of its task; nothing records it."""


class _Idle:
    """Finds out whether a queue has nothing to do for a worker."""

    def __init__(self, queue: JobQueue, results: ResultReader) -> None:
        self._queue = queue
        self._layout = queue.layout
        self._housekeeping = Housekeeping(queue, results)
        self._left: list[str] = []

    def is_idle(self) -> bool:
        """Do the housekeeping that is due, and return whether no job can run now."""
        self._left = self._active()
        if not self._left:
            self._housekeeping.do_now()
            self._left = self._due() or self._active()
        return not self._left

    def message(self, timeout_s: float) -> str:
        """Return the message for jobs that do not end."""
        named = ", ".join(self._left[:3]) or "a job"
        return (
            f"after {timeout_s:g} s, {len(self._left)} jobs still wait or run, for example {named}:"
            " does a task take long, or wait for another program?"
        )

    def _active(self) -> list[str]:
        control = self._queue.control()
        waiting = self._layout.names(Place.UNOWNED)
        can_run = [name.name for name in waiting if control.allows(name.dataset)]
        return [name.name for name in self._layout.names(Place.OWNED)] + can_run

    def _due(self) -> list[str]:
        """Return the jobs whose time comes within the error of the clock."""
        limit_ms = self._queue.clock_ms() + _CLOCK_ERROR_MS
        names = [name.name for name in self._layout.names(Place.DEFERRED)]
        return [
            job.name
            for job in self._layout.read(Place.DEFERRED, names)
            if job.waits_for == WAITS_FOR_TIME and (job.not_before_ms or 0) <= limit_ms
        ]
