"""The run of a worker from its start to its stop: its parts, its threads, and their ends.

One thread takes jobs (`zoolet.jobs.worker.taker`). Each executor has a thread. One thread records
the outcomes of jobs (`zoolet.jobs.worker.recorder`), and another thread stores large results. One
thread waits until this worker is the first in the line of all workers, and then does the
housekeeping of the queue. Invariants:

- The outcome of a job is recorded with the worker id that the job was taken with. When the session
  is lost, the worker ends its running jobs and registers with a new id. If such a job finishes
  before the worker can end it, the queue refuses its outcome.
- If a task or a loader raises an exception, the attempt has failed with this exception. Any other
  failure ends the worker, which first gives its jobs back to the queue.
- If a thread ends before `stop` is called, the worker has failed, even if the thread raised no
  exception.

This module imports `zoolet.client`, `zoolet.console` and other packages of `zoolet.jobs`, and never
`zoolet.server`.
"""

import json
import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.console.os_errors import explain
from zoolet.jobs.errors import DisconnectedError, ExecutorError, JobError
from zoolet.jobs.execution.attempts import Attempter, Setup
from zoolet.jobs.execution.executors import Executor, ThreadExecutor
from zoolet.jobs.execution.output import OutputLog
from zoolet.jobs.hooks.attempt_calls import AttemptCalls
from zoolet.jobs.hooks.job_hooks import HookCalls, JobHooks
from zoolet.jobs.housekeeping.line import Housekeeping
from zoolet.jobs.queue.moves import Move
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.transitions import Event, Place
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.worker.executor_control import ExecutorControl, ExecutorLimits
from zoolet.jobs.worker.executor_group import ExecutorGroup
from zoolet.jobs.worker.failure_calls import FailureCalls
from zoolet.jobs.worker.health import WorkerHealth, why_not_live, why_not_ready
from zoolet.jobs.worker.inputs import InputReader
from zoolet.jobs.worker.jobs_in_hand import JobInHand, JobsInHand
from zoolet.jobs.worker.listener import ExecutorListener
from zoolet.jobs.worker.recorder import AttemptRecorder
from zoolet.jobs.worker.registration import Registration
from zoolet.jobs.worker.screening import Security
from zoolet.jobs.worker.taker import JobTaker
from zoolet.jobs.znodes.connection import new_link, open_session
from zoolet.jobs.znodes.server_clock import ServerClock

if sys.platform != "win32":
    from zoolet.jobs.execution.async_executor import AsyncExecutor
    from zoolet.jobs.execution.process_executor import ProcessExecutor

log = logging.getLogger(__name__)

CLOSE_S = 2.0
"""The time, in seconds, that a worker waits for the end of its session when it stops."""
GIVE_BACK_S = 1.5
"""The time, in seconds, that a worker has to give its unfinished jobs back when it stops."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The options of a worker; see `zoolet.jobs.Worker`.

    Attributes:
        connection: the settings of the connection to ZooKeeper.
        root: the path of the queue's root.
        setup: the settings of the executors.
        limits: how many executors there are, and when they are replaced.
        threads: whether tasks run in threads of this process.
        round_s: the longest time, in seconds, for which the worker passes over a job because it
            has not loaded the job's data (`selection.Affinity`).
        tags: the tags of the worker; jobs that require other tags are left to other workers. None:
            the worker takes jobs whatever tags they require.
        result_stores: the URLs of result stores by name.
        on_step: called with the name of each step ("taken", "started", "ended" and others) and the
            names of the jobs that have reached it, for tests and tracing; None for no calls.
        hooks: objects whose methods are called when attempts start and end, and when jobs fail.
        security: the tasks, loaders and signatures that the worker requires of jobs.
    """

    connection: ConnectionSettings
    root: str
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
        queue: the queue, which uses the worker's connection.
        hands: the jobs in hand, which are the jobs that this worker has taken and whose outcome is
            not recorded yet.
        recorder: records the outcomes of the jobs in hand.
        registration: registers the worker, and has its id.
        control: starts, replaces and stops executors.
    """

    def __init__(self, options: WorkerOptions, on_failure: Callable[[BaseException], None]) -> None:
        self._options = options
        self._on_failure = on_failure
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._is_connected = False
        self._taking: threading.Thread | None = None
        self._recording: threading.Thread | None = None
        self._output_log = OutputLog()
        clock = ServerClock()
        self._link = new_link(options.connection)
        self.hands = JobsInHand()
        security = options.security
        self.queue = JobQueue(
            self._link, options.root, clock_ms=clock.now_ms, signing_keys=security.signing_keys
        )
        self.queue.taker.screen = security.screen(self.queue.signer)
        self._results = ResultReader(self.queue, options.result_stores)
        self._housekeeping = Housekeeping(self.queue, self._results, self._report_history)
        self._history_problem: str | None = None
        self.registration = Registration(
            self.queue,
            clock,
            about=self._about,
            on_registered=self._line_up,
            on_lost=self._abandon_all,
        )
        self._executors = ExecutorGroup(
            self.hands, options.limits.jobs, read_inputs=self._read_inputs
        )
        self.control = self._make_control()
        hooks = HookCalls(options.hooks)
        self._calls = AttemptCalls(hooks) if hooks else None
        self._failures = FailureCalls(self.queue, hooks) if hooks.wants_failures else None
        self.recorder = self._make_recorder()
        self._taker = self._make_taker()
        self._listener = ExecutorListener(
            self.hands,
            self.recorder,
            self._taker,
            self.control,
            wake=self._wake,
            on_step=self._step,
            on_failure=on_failure,
        )
        self._inputs = InputReader(
            self.queue,
            self._results,
            give=self._executors.give_with,
            on_ended=self._listener.ended,
            start_thread=self._start_thread,
        )
        self._attempter: Attempter | None = None

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
        self._link.on_session_end(self.registration.lost)
        self.queue.ensure_layout()
        if (problem := self._results.check()) is not None:
            log.warning("attempts with a large result will fail on this worker: %s", problem)
        self._is_connected = True
        self.registration.ensure()
        if self._failures is not None:
            # No job of this worker can fail before its failure is noted.
            self._failures.start(self._start_thread)
        self._wake.set()
        self._taking = self._start_thread(self._take)
        self._recording = self._start_thread(self.recorder.record)
        self._start_thread(self._housekeeping.run)
        self._start_thread(self.control.run)
        if self._calls is not None:
            self._calls.start()

    def _make_recorder(self) -> AttemptRecorder:
        return AttemptRecorder(
            self.queue,
            self.hands,
            self._results,
            on_step=self._step,
            on_permitted=self._executors.permit,
            on_lost=self._abandon,
            on_long=self._executors.recall_behind,
            on_gone=self.registration.gone,
            on_report=self.registration.report,
            start_thread=self._start_thread,
            calls=self._calls,
        )

    def _make_control(self) -> ExecutorControl:
        return ExecutorControl(
            self._executors,
            self.hands,
            self._options.limits,
            make=self._make_executor,
            on_ready=self._wake.set,
            on_scaled=self.registration.report,
            on_failure=self._on_failure,
        )

    def _make_taker(self) -> JobTaker:
        return JobTaker(
            self.queue,
            self.hands,
            self._executors,
            wake=self._wake,
            seed=uuid.uuid4().hex,
            cache_groups=self._options.setup.cache_groups,
            round_s=self._options.round_s,
            tags=self._options.tags,
            has_loader=self._options.setup.loader is not None,
            on_step=self._step,
            on_gone=self.registration.gone,
            on_cancelled=self._abandon,
            control=self.control,
            concurrency=self._options.setup.async_concurrency,
        )

    def _make_executor(self) -> Executor:
        if self._attempter is not None:
            return ThreadExecutor(self._attempter, self._listener)
        setup = self._options.setup
        if setup.async_concurrency > 1:
            return AsyncExecutor(setup, self._listener, self._output_log)
        return ProcessExecutor(setup, self._listener, self._output_log)

    def stop(self, grace_ms: int) -> None:
        """Take no more jobs, let running jobs finish within ``grace_ms``, give all others back."""
        self._stopping.set()
        if self._failures is not None:
            self._failures.stop()
        self.control.stop()
        self.registration.close()
        self._wake.set()
        if self._taking is not None:
            # The thread may be taking jobs now. When the thread has ended, `hands` has them too.
            self._taking.join(GIVE_BACK_S)
        if self._is_connected:
            self.hands.wait_until_empty(grace_ms / 1000)
        self._executors.stop()
        if self._is_connected:
            self.recorder.close()
            giving_back = threading.Thread(target=self._give_back, daemon=True)
            giving_back.start()
            giving_back.join(GIVE_BACK_S)
            self._housekeeping.stop()
            self._inputs.close()
        if self._failures is not None:
            self._failures.close()
        self._link.close(CLOSE_S)
        if self._is_connected:
            self._results.close()
        self._output_log.close()
        if self._calls is not None:
            self._calls.close()
        if self._attempter is not None:
            self._attempter.close()

    def _give_back(self) -> None:
        if self._recording is not None:
            # If the recorder still runs after this wait, it may change one of the jobs. Then
            # the queue refuses the move of this job.
            self._recording.join(GIVE_BACK_S)
        jobs = [held.job for held in self.hands.all()]
        moves = [Move(Event.GIVE_BACK, Place.OWNED, job, job.waiting()) for job in jobs]
        try:
            for move in self.queue.mover.move(moves, self.registration.worker_id):
                log.info("gave %s back to the queue", move.after.name)
        except JobError:
            log.info(
                "could not give %d jobs back to the queue: other workers get these jobs after this"
                " worker's session has ended",
                len(jobs),
            )

    def health(self) -> WorkerHealth:
        """Return the health of a worker that has not failed."""
        executors = self._executors.executors
        ready = sum(executor.is_ready() for executor in executors.values())
        reason = unready = why_not_ready(
            is_connected=self._link.is_connected,
            is_registered=self.registration.is_registered,
            executors=len(executors),
            ready_executors=ready,
        )
        stale = why_not_live(
            is_connected=self._link.is_connected,
            idle_s=time.monotonic() - self._taker.looked_at,
        )
        state = "not ready" if unready or stale else "ready"
        if self._recording is None:
            state, reason = "starting", "the worker starts"
        elif self._stopping.is_set():
            state, reason = "stopping", "the worker stops"
        return WorkerHealth(
            state,
            is_live=state in {"starting", "stopping"} or not stale,
            is_ready=state == "ready",
            reason=reason or stale,
            worker=self.registration.worker_id,
            executors=len(executors),
            ready_executors=ready,
            jobs_in_hand=len(self.hands.all()),
            reloads=self.control.reloads,
        )

    @property
    def executor_count(self) -> int:
        """The current number of executors."""
        return len(self._executors.executors)

    # --- Threads

    def _take(self) -> None:
        self._taker.run(self._stopping, self.registration.ensure)

    def _start_thread(self, work: Callable[[], None]) -> threading.Thread:
        """Start a thread of the worker; if it ends before the stop, the worker has failed."""
        name = getattr(work, "__qualname__", repr(work))
        thread = threading.Thread(target=self._guarded, args=(work, name), name=name, daemon=True)
        thread.start()
        return thread

    def _guarded(self, work: Callable[[], None], name: str) -> None:
        try:
            # A worker waits for its server without a time limit. A stop of the worker closes the
            # client, which ends all requests.
            with self.queue.layout.znodes.within(None, "the worker"):
                work()
            if not self._stopping.is_set():
                self._on_failure(JobError(f"the thread {name} has ended"))
        except BaseException as error:
            if isinstance(error, DisconnectedError) and self._stopping.is_set():
                return
            log.exception("the thread %s has failed, which ends the worker", name)
            self._on_failure(error)

    # --- Calls from the parts

    def _read_inputs(self, held: JobInHand) -> None:
        self._inputs.read(held)

    def _step(self, step: str, names: Sequence[str]) -> None:
        if self._options.on_step is not None:
            self._options.on_step(step, list(names))

    def _abandon(self, lost: Sequence[JobInHand]) -> None:
        """Stop working on jobs that this worker does not own any more."""
        self._executors.abandon(lost)
        self._wake.set()

    def _line_up(self) -> None:
        self._housekeeping.line_up()
        if self._failures is not None:
            self._failures.line_up()

    def _abandon_all(self) -> None:
        self._abandon(self.hands.all())

    def _report_history(self, problem: str | None) -> None:
        self._history_problem = problem
        self.registration.report()

    def _about(self) -> bytes:
        """Return the worker's report about itself, as JSON, for users who look at the queue."""
        about: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "executors": self.executor_count,
            "kind": "threads" if self._options.threads else "processes",
            "tags": sorted(self._options.tags or ()),
            "groups": sum(len(executor.held()) for executor in self._executors.executors.values()),
        }
        about |= {"history_problem": self._history_problem} | self._options.security.about()
        about |= self._results.about() | self.recorder.tally.as_dict()
        return json.dumps(about).encode()
