"""The run of a worker from its start to its stop: what all its queues share, and their parts.

The queues share one session, the executors, the thread that starts and replaces executors, and the
thread that calls hooks. `zoolet.jobs.worker.queue_run` has the parts of one queue, and
`zoolet.jobs.worker.queue_shares` divides the executors among the queues. Invariants:

- If a task or a loader raises an exception, the attempt has failed with this exception. Any other
  failure ends the worker, which first gives its jobs back to the queue.
- If a worker has several queues, an error of the job system about one of them (`JobError`) does not
  end the worker: it leaves this queue, and serves the queue again when this is possible
  (`zoolet.jobs.worker.queue_returns`).

This module imports `zoolet.client`, `zoolet.console` and other packages of `zoolet.jobs`, and never
`zoolet.server`.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.console.os_errors import explain
from zoolet.jobs.errors import DisconnectedError, ExecutorError, JobError
from zoolet.jobs.execution.attempts import Attempter, Setup
from zoolet.jobs.execution.executors import Executor, Observer, ThreadExecutor
from zoolet.jobs.execution.output import OutputLog
from zoolet.jobs.hooks.attempt_calls import AttemptCalls
from zoolet.jobs.hooks.job_hooks import HookCalls, JobHooks
from zoolet.jobs.worker.executor_control import ExecutorControl, ExecutorLimits
from zoolet.jobs.worker.executor_group import ExecutorGroup
from zoolet.jobs.worker.executor_news import ExecutorNews
from zoolet.jobs.worker.failure_calls import CLOSE_S as CALLS_CLOSE_S
from zoolet.jobs.worker.health import WorkerHealth, why_not_live, why_not_ready
from zoolet.jobs.worker.queue_returns import QueuePlace
from zoolet.jobs.worker.queue_run import GIVE_BACK_S, QueueRun, QueueSurroundings
from zoolet.jobs.worker.queue_shares import QueueShares
from zoolet.jobs.worker.screening import Security
from zoolet.jobs.worker.served_queues import ServedQueue
from zoolet.jobs.znodes.connection import new_link, open_session

if sys.platform != "win32":
    from zoolet.jobs.execution.async_executor import AsyncExecutor
    from zoolet.jobs.execution.process_executor import ProcessExecutor

log = logging.getLogger(__name__)

CLOSE_S = 2.0
"""The time, in seconds, that a worker waits for the end of its session when it stops."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The options of a worker; see `zoolet.jobs.Worker`.

    Attributes:
        connection: the settings of the connection to ZooKeeper.
        queues: the queues, at least one.
        setup: the settings of the executors.
        limits: how many executors there are, and when they are replaced.
        threads: whether tasks run in threads of this process.
        round_s: the longest time, in seconds, for which the worker passes over a job because it
            has not loaded the job's data (`selection.Affinity`).
        tags: the tags of the worker; jobs that require other tags are left to other workers. None:
            the worker takes jobs whatever tags they require.
        result_stores: the URLs of result stores by name, for all queues.
        on_step: called with the name of each step ("taken", "started", "ended" and others) and the
            names of the jobs that have reached it, for tests and tracing; None for no calls.
        hooks: objects whose methods are called when attempts start and end, and when jobs fail.
        security: the tasks, loaders and signatures that the worker requires of jobs.
    """

    connection: ConnectionSettings
    queues: tuple[ServedQueue, ...]
    setup: Setup
    limits: ExecutorLimits
    threads: bool
    round_s: float
    tags: frozenset[str] | None
    result_stores: Mapping[str, str]
    on_step: Callable[[str, list[str]], object] | None
    hooks: tuple[JobHooks, ...] = ()
    security: Security = field(default_factory=Security)


class WorkerRun:
    """The parts of a worker. They send no request before `start`.

    Args:
        options: the options of the worker.
        on_failure: called, in any thread, with the error that ends the worker. The thread that
            waits for the worker must then call `stop`.

    Attributes:
        places: the queues; each has the parts for its queue while the worker serves it.
        control: starts, replaces and stops executors.
    """

    def __init__(self, options: WorkerOptions, on_failure: Callable[[BaseException], None]) -> None:
        self._options = options
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._is_connected = False
        self._is_started = False
        self._output_log = OutputLog()
        self._link = new_link(options.connection)
        self._executors = ExecutorGroup(options.limits.jobs)
        self.control = ExecutorControl(
            self._executors,
            options.limits,
            make=self._make_executor,
            on_ready=self._wake_all,
            on_scaled=self._report,
            on_failure=on_failure,
        )
        self._hooks = HookCalls(options.hooks)
        self._calls = AttemptCalls(self._hooks) if self._hooks else None
        self._shares = QueueShares([served.weight for served in options.queues])
        self._news = ExecutorNews(self._shares, on_freed=self._freed, on_failure=on_failure)
        around = self._surroundings()
        self.places = [
            QueuePlace(
                served,
                around,
                share,
                self._news,
                stopping=self._stopping,
                is_alone=len(options.queues) == 1,
                on_failure=on_failure,
            )
            for served, share in zip(options.queues, self._shares.queues, strict=True)
        ]
        self._attempter: Attempter | None = None

    def _surroundings(self) -> QueueSurroundings:
        return QueueSurroundings(
            self._link,
            self._executors,
            self.control,
            self._options.setup,
            self._options.round_s,
            self._options.tags,
            self._options.result_stores,
            self._options.security,
            self._step,
            self._calls,
            self._hooks,
            self._about,
            self._on_failure,
            self._stopping,
        )

    def start(self) -> None:
        """Get the executors ready, connect, register, and begin to take jobs (`Worker.start`)."""
        if self._options.threads:
            self._attempter = Attempter(self._options.setup)
        count = self._options.limits.least
        try:
            executors = [self._make_executor() for _ in range(count)]
        except OSError as error:
            raise ExecutorError(f"{count} executors cannot be started: {explain(error)}") from error
        self._executors.start(executors)
        open_session(self._link, self._options.connection)
        self._link.on_session_end(self._session_ended)
        self._is_connected = True
        # All queues are registered before one of them gets executors.
        for run in self.runs:
            run.register()
        for run in self.runs:
            run.start()
        self._start_control()
        if self._calls is not None:
            self._calls.start()
        self._is_started = True

    def _make_executor(self) -> Executor:
        observer = self._observer()
        if self._attempter is not None:
            return ThreadExecutor(self._attempter, observer)
        setup = self._options.setup
        if setup.async_concurrency > 1:
            return AsyncExecutor(setup, observer, self._output_log)
        return ProcessExecutor(setup, observer, self._output_log)

    def _observer(self) -> Observer:
        """Return what gets the messages of executors; a single queue gets them directly."""
        if len(self.places) > 1:
            return self._news
        return self.places[0].first.listener

    def stop(self, grace_ms: int) -> None:
        """Take no more jobs, let running jobs finish within ``grace_ms``, give all others back."""
        self._stopping.set()
        for run in self.runs:
            run.begin_no_calls()
        self.control.stop()
        for place in self.places:
            place.stop_returning()
        runs = self.runs
        for run in runs:
            run.begin_stop()
        # A thread may be taking jobs now. When it has ended, `hands` has them too.
        _in_time(GIVE_BACK_S, [run.join_taking for run in runs])
        if self._is_connected:
            _in_time(grace_ms / 1000, [run.hands.wait_until_empty for run in runs])
        self._executors.stop()
        if self._is_connected:
            self._give_back(runs)
        self._end_failure_calls(runs)
        self._link.close(CLOSE_S)
        if self._is_connected:
            for run in runs:
                run.results.close()
        self._output_log.close()
        if self._calls is not None:
            self._calls.close()
        if self._attempter is not None:
            self._attempter.close()

    def _give_back(self, runs: Sequence[QueueRun]) -> None:
        """Give the unfinished jobs back to all queues at the same time, for a limited time."""
        started = [run for run in runs if run.is_started]
        giving_back = [threading.Thread(target=run.give_back, daemon=True) for run in started]
        for thread in giving_back:
            thread.start()
        _in_time(GIVE_BACK_S, [thread.join for thread in giving_back])
        for run in runs:
            run.end_threads()

    def _end_failure_calls(self, runs: Sequence[QueueRun]) -> None:
        """Wait a moment for the hooks for FAILED jobs, then interrupt them and wait again."""
        if not self._is_connected or not self._hooks.wants_failures:
            return
        # Hooks may also run for a queue that the worker has left.
        calls = [run.failures for run in runs if run.failures is not None]
        _in_time(CALLS_CLOSE_S, [one.join for one in calls])
        for one in calls:
            one.cut()
        self._hooks.interrupt()
        _in_time(CALLS_CLOSE_S, [one.join for one in calls])

    def cut_grace(self) -> None:
        """End the grace period of `stop`."""
        for run in self.runs:
            run.hands.stop_waiting()

    # --- What others read

    @property
    def runs(self) -> list[QueueRun]:
        """The parts for the queues that the worker serves now."""
        return [run for place in self.places if (run := place.run) is not None]

    def health(self) -> WorkerHealth:
        """Return the health of a worker that has not failed."""
        executors = self._executors.executors
        ready = sum(executor.is_ready() for executor in executors.values())
        runs, now = self.runs, time.monotonic()
        reason = unready = why_not_ready(
            is_connected=self._link.is_connected,
            is_registered=any(run.registration.is_registered for run in runs),
            executors=len(executors),
            ready_executors=ready,
        )
        stale = why_not_live(
            is_connected=self._link.is_connected,
            idle_s=max((now - run.taker.looked_at for run in runs), default=0.0),
        )
        state = "not ready" if unready or stale else "ready"
        if not self._is_started:
            state, reason = "starting", "the worker starts"
        elif self._stopping.is_set():
            state, reason = "stopping", "the worker stops"
        return WorkerHealth(
            state,
            is_live=state in {"starting", "stopping"} or not stale,
            is_ready=state == "ready",
            reason=reason or stale,
            worker=self.places[0].worker_id,
            executors=len(executors),
            ready_executors=ready,
            jobs_in_hand=sum(len(run.hands.all()) for run in runs),
            reloads=self.control.reloads,
            queues={place.served.root: place.state for place in self.places},
        )

    @property
    def executor_count(self) -> int:
        """The current number of executors."""
        return len(self._executors.executors)

    # --- Calls from the parts

    def _start_control(self) -> None:
        def work() -> None:
            try:
                self.control.run()
                if not self._stopping.is_set():
                    self._on_failure(JobError("the thread of the executors has ended"))
            except BaseException as error:
                if isinstance(error, DisconnectedError) and self._stopping.is_set():
                    return
                log.exception("the thread of the executors has failed, which ends the worker")
                self._on_failure(error)

        threading.Thread(target=work, name="executors", daemon=True).start()

    def _session_ended(self) -> None:
        for run in self.runs:
            run.registration.lost()

    def _wake_all(self) -> None:
        for run in self.runs:
            run.wake.set()

    def _freed(self) -> None:
        self.control.freed()
        self._wake_all()

    def _report(self) -> None:
        for run in self.runs:
            run.report()

    def _step(self, step: str, names: Sequence[str]) -> None:
        if self._options.on_step is not None:
            self._options.on_step(step, list(names))

    def _about(self) -> dict[str, Any]:
        """Return what the worker reports to each of its queues."""
        about: dict[str, Any] = {
            "executors": self.executor_count,
            "kind": "threads" if self._options.threads else "processes",
            "tags": sorted(self._options.tags or ()),
        }
        if len(self._options.queues) > 1:
            about["queues"] = len(self._options.queues)
            about["weights"] = sum(served.weight for served in self._options.queues)
        return about | self._options.security.about()


def _in_time(limit_s: float, waits: Sequence[Callable[[float], object]]) -> None:
    """Call functions that wait for a number of seconds: all together wait for ``limit_s``."""
    until = time.monotonic() + limit_s
    for wait in waits:
        wait(max(0.0, until - time.monotonic()))
