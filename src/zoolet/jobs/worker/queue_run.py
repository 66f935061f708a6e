"""The parts of a worker for one queue, from the time when it serves the queue until it leaves it.

One thread takes jobs (`zoolet.jobs.worker.taker`). One thread records the outcomes of jobs
(`zoolet.jobs.worker.recorder`), and another thread stores large results. One thread waits until
this worker is the first in the line of all workers of the queue, and then does the housekeeping of
the queue. Invariants:

- The outcome of a job is recorded with the worker id that the job was taken with. When the session
  is lost, the worker ends its running jobs and registers with a new id. If such a job finishes
  before the worker can end it, the queue refuses its outcome. Nobody waits for the end of its
  process: the next attempt may begin earlier, also in this worker.
- If a thread ends before the stop, the worker has failed to serve the queue, even if the thread
  raised no exception.
- A worker that has left a queue has no ephemeral in it. So other workers take its jobs, and do the
  housekeeping, although its session goes on.

This module imports `zoolet.console` and other packages of `zoolet.jobs`, and never `zoolet.server`.
"""

import json
import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoolet import __version__
from zoolet.jobs.errors import DisconnectedError, JobError
from zoolet.jobs.execution.attempts import Setup
from zoolet.jobs.hooks.attempt_calls import AttemptCalls
from zoolet.jobs.hooks.job_hooks import HookCalls
from zoolet.jobs.housekeeping.line import Housekeeping
from zoolet.jobs.queue.moves import Move
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.transitions import Event, Place
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.worker.executor_control import ExecutorControl
from zoolet.jobs.worker.executor_group import ExecutorGroup
from zoolet.jobs.worker.failure_calls import FailureCalls
from zoolet.jobs.worker.inputs import InputReader
from zoolet.jobs.worker.jobs_in_hand import JobInHand, JobsInHand
from zoolet.jobs.worker.listener import ExecutorListener
from zoolet.jobs.worker.queue_executors import QueueExecutors
from zoolet.jobs.worker.queue_shares import QueueShare
from zoolet.jobs.worker.recorder import AttemptRecorder
from zoolet.jobs.worker.registration import Registration
from zoolet.jobs.worker.screening import Security
from zoolet.jobs.worker.served_queues import ServedQueue
from zoolet.jobs.worker.taker import JobTaker
from zoolet.jobs.worker.tally import Tally
from zoolet.jobs.znodes.link import Link
from zoolet.jobs.znodes.server_clock import ServerClock

log = logging.getLogger(__name__)

GIVE_BACK_S = 1.5
"""The time, in seconds, that a worker has to give its unfinished jobs back when it stops."""
LEAVE_S = 5.0
"""The time, in seconds, that a worker has for its requests when it leaves a queue."""


@dataclass(frozen=True, slots=True)
class QueueSurroundings:
    """What the parts for one queue get from their worker.

    Attributes:
        link: the connection, which all queues share.
        group: the executors, which all queues share.
        control: starts, replaces and stops executors.
        setup: the settings of the executors.
        round_s: see `zoolet.jobs.worker.run.WorkerOptions`.
        tags: see `zoolet.jobs.worker.run.WorkerOptions`.
        result_stores: see `zoolet.jobs.worker.run.WorkerOptions`.
        security: see `zoolet.jobs.worker.run.WorkerOptions`.
        on_step: called with the name of a step and the names of the jobs that have reached it.
        calls: calls the hooks of the user for attempts; None if there are none.
        hooks: the hooks of the user.
        about: returns what the worker reports to each of its queues.
        on_executor_failure: called with the error that ended an executor.
        stopping: an event, set when the worker stops.
    """

    link: Link
    group: ExecutorGroup
    control: ExecutorControl
    setup: Setup
    round_s: float
    tags: frozenset[str] | None
    result_stores: Mapping[str, str]
    security: Security
    on_step: Callable[[str, Sequence[str]], None]
    calls: AttemptCalls | None
    hooks: HookCalls
    about: Callable[[], dict[str, Any]]
    on_executor_failure: Callable[[BaseException], None]
    stopping: threading.Event


class QueueRun:
    """The parts of a worker for one queue. They send no request before `register`.

    Args:
        served: the queue.
        around: what the parts get from their worker.
        share: the queue's share of the executors.
        tally: the counts of the worker's work in this queue, which go on when it returns.
        on_failure: called, in any thread, with this object and the error of a thread. The worker
            must then call `leave` or stop.

    Attributes:
        queue: the queue, which uses the worker's connection.
        hands: the jobs in hand: the worker has taken them, and their outcome is not recorded yet.
        recorder: records the outcomes of the jobs in hand.
        registration: registers the worker in the queue, and has its id.
        taker: takes jobs.
        results: the store of large results.
        failures: calls the hooks for FAILED jobs; None if there are none.
        wake: an event, set when there may be a job to take.
    """

    def __init__(
        self,
        served: ServedQueue,
        around: QueueSurroundings,
        share: QueueShare,
        tally: Tally,
        on_failure: Callable[["QueueRun", BaseException], None],
    ) -> None:
        self.served = served
        self._around = around
        self._share = share
        self._on_failure = on_failure
        self.wake = threading.Event()
        self._stopping = threading.Event()
        self._is_registered = False
        self._taking: threading.Thread | None = None
        self._recording: threading.Thread | None = None
        self._keeping: threading.Thread | None = None
        self._history_problem: str | None = None
        clock = ServerClock()
        self.hands = JobsInHand()
        self.queue = self._make_queue(clock)
        self.results = ResultReader(self.queue, around.result_stores)
        self.failures = self._make_failure_calls()
        self._housekeeping = Housekeeping(self.queue, self.results, self._report_history)
        self.registration = Registration(
            self.queue,
            clock,
            about=self._about,
            on_registered=self._line_up,
            on_lost=self._abandon_all,
        )
        self._executors = QueueExecutors(
            around.group,
            self.hands,
            served.tag,
            read_inputs=self._read_inputs,
            on_dropped=self._dropped,
        )
        self.recorder = self._make_recorder(tally)
        self.taker = self._make_taker()
        self.listener = ExecutorListener(
            self.hands,
            self.recorder,
            self.taker,
            around.control,
            wake=self.wake,
            on_step=around.on_step,
            on_failure=around.on_executor_failure,
        )
        self._inputs = InputReader(
            self.queue,
            self.results,
            give=self._executors.give_with,
            on_ended=self._inputs_failed,
            start_thread=self._start_thread,
        )
        around.group.join(self.hands)

    def _make_queue(self, clock: ServerClock) -> JobQueue:
        """Return the queue, whose taker refuses jobs that the worker does not allow."""
        around, security = self._around, self._around.security
        queue = JobQueue(
            around.link,
            self.served.root,
            clock_ms=clock.now_ms,
            signing_keys=security.signing_keys,
        )
        queue.taker.screen = security.screen(queue.signer)
        return queue

    def _make_failure_calls(self) -> FailureCalls | None:
        hooks = self._around.hooks
        return FailureCalls(self.queue, self.served.path, hooks) if hooks.wants_failures else None

    def _make_recorder(self, tally: Tally) -> AttemptRecorder:
        return AttemptRecorder(
            self.queue,
            self.hands,
            self.results,
            on_step=self._around.on_step,
            on_permitted=self._executors.permit,
            on_lost=self._abandon,
            on_long=self._executors.recall_behind,
            on_gone=self.registration.gone,
            on_report=self.registration.report,
            start_thread=self._start_thread,
            calls=self._around.calls,
            tally=tally,
        )

    def _make_taker(self) -> JobTaker:
        around = self._around
        return JobTaker(
            self.queue,
            self.hands,
            self._executors,
            self._share,
            wake=self.wake,
            seed=uuid.uuid4().hex,
            cache_groups=around.setup.cache_groups,
            round_s=around.round_s,
            tags=around.tags,
            has_loader=self.served.has_loader,
            on_step=around.on_step,
            on_gone=self.registration.gone,
            on_cancelled=self._abandon,
            control=around.control,
            concurrency=around.setup.async_concurrency,
        )

    # --- The beginning and the end

    def register(self, *, create: bool = True) -> None:
        """Register in the queue; ``create``: create the queue if it does not exist."""
        if create:
            self.queue.ensure_layout()
        else:
            self.queue.check()
        if (problem := self.results.check()) is not None:
            log.warning("attempts with a large result will fail on this worker: %s", problem)
        self._is_registered = True
        self.registration.ensure()
        self._share.open(self.hands, self.wake.set)

    def start(self) -> None:
        """Begin to take jobs, after `register`."""
        if self.failures is not None:
            # No job of this worker can fail before its failure is noted.
            self.failures.start(self._start_thread)
        self.wake.set()
        self._taking = self._start_thread(self._take)
        self._recording = self._start_thread(self.recorder.record)
        self._keeping = self._start_thread(self._housekeeping.run)

    @property
    def is_started(self) -> bool:
        """Whether the threads are started."""
        return self._recording is not None

    def begin_no_calls(self) -> None:
        """Begin no more calls of hooks for FAILED jobs."""
        if self.failures is not None:
            self.failures.stop()

    def begin_stop(self) -> None:
        """Take no more jobs."""
        self._stopping.set()
        self.begin_no_calls()
        self.registration.close()
        self.wake.set()

    def join_taking(self, timeout_s: float) -> None:
        """Wait for the end of the thread that takes jobs: then `hands` has all taken jobs."""
        if self._taking is not None:
            self._taking.join(timeout_s)

    def give_back(self) -> None:
        """Record what has ended, and give all other jobs back to the queue."""
        self.recorder.close()
        if self._recording is not None:
            # If the recorder still runs after this wait, it may change one of the jobs. Then
            # the queue refuses the move of this job.
            self._recording.join(GIVE_BACK_S)
        self._give_back([held.job for held in self.hands.all()])

    def _give_back(self, jobs: Sequence[Job]) -> None:
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

    def end_threads(self) -> None:
        """Let the threads end that do not take or record jobs."""
        self._housekeeping.stop()
        self._inputs.close()

    def leave(self) -> list[str]:
        """Stop to serve the queue, while the worker goes on: end its jobs and give them back.

        Returns the paths of the worker's ephemerals that could not be deleted. As long as they
        exist, no other worker gets jobs that this worker could not give back.
        """
        self.begin_stop()
        self._share.close()
        self.join_taking(GIVE_BACK_S)
        unfinished = self.hands.all()
        jobs = [held.job for held in unfinished]
        self._executors.abandon(unfinished)
        self.recorder.close()
        self.end_threads()
        if self.failures is not None:
            # Hooks that run go on: they are also those of other queues. Another worker calls them
            # again.
            self.failures.leave(GIVE_BACK_S)
        if self._keeping is not None:
            # It may be taking a place in the line now.
            self._keeping.join(GIVE_BACK_S)
        self._around.group.leave(self.hands)
        left: list[str] = []
        if self._is_registered:
            if self._recording is not None:
                self._recording.join(GIVE_BACK_S)
            with self.queue.layout.znodes.within(LEAVE_S, "leave a queue"):
                self._give_back(jobs)
                left = self._delete_ephemerals()
        self.results.close()
        return left

    def _delete_ephemerals(self) -> list[str]:
        found = [self.queue.layout.worker(self.registration.worker_id)]
        places = [self._housekeeping.place]
        if self.failures is not None:
            places.append(self.failures.place)
        found += [place for place in places if place is not None]
        left: list[str] = []
        for path in found:
            try:
                self.queue.layout.znodes.delete(path)
            except JobError as error:
                log.warning("the worker cannot delete its ephemeral %s: %s", path, error)
                left.append(path)
        return left

    # --- Threads

    def _take(self) -> None:
        self.taker.run(self._stopping, self.registration.ensure)

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
                self._on_failure(self, JobError(f"the thread {name} has ended"))
        except BaseException as error:
            is_stopping = self._stopping.is_set() or self._around.stopping.is_set()
            if isinstance(error, DisconnectedError) and is_stopping:
                return
            if self._share.is_alone or not isinstance(error, JobError):
                log.exception("the thread %s has failed, which ends the worker", name)
            self._on_failure(self, error)

    # --- Calls from the parts

    def report(self) -> None:
        """Write the worker's report; a failure concerns this queue only."""
        try:
            with self.queue.layout.znodes.within(None, "the worker"):
                self.registration.report()
        except DisconnectedError:
            raise
        except JobError as error:
            self._on_failure(self, error)

    def _inputs_failed(self, name: str, outcome: Any, took_s: float) -> None:
        self.listener.ended(name, outcome, took_s)

    def _read_inputs(self, held: JobInHand) -> None:
        self._inputs.read(held)

    def _dropped(self, names: Sequence[str]) -> None:
        for name in names:
            self._share.ended(self.served.tag + name)

    def _abandon(self, lost: Sequence[JobInHand]) -> None:
        """Stop working on jobs that this worker does not own any more."""
        self._executors.abandon(lost)
        self.wake.set()

    def _abandon_all(self) -> None:
        self._abandon(self.hands.all())

    def _line_up(self) -> None:
        self._housekeeping.line_up()
        if self.failures is not None:
            self.failures.line_up()

    def _report_history(self, problem: str | None) -> None:
        self._history_problem = problem
        self.registration.report()

    def _about(self) -> bytes:
        """Return the worker's report about itself, as JSON, for users who look at the queue."""
        about: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": __version__,
            "groups": self._executors.groups_count(),
        }
        about |= self._around.about()
        if not self._share.is_alone:
            about["weight"] = self.served.weight
        about["history_problem"] = self._history_problem
        about |= self.results.about() | self.recorder.tally.as_dict()
        return json.dumps(about).encode()
