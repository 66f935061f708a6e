"""A worker: executors that take jobs, load their data, run their tasks; their ends are recorded.

Its threads: one takes jobs (`zoolet.jobs.taking`); each executor has one; one records what came of
jobs (`zoolet.jobs.recorder`), with another for large results; and one waits in line for the
housekeeping. What holds:

- A job is recorded under the worker id that it was taken with. When the session is lost, what runs
  is ended, and the worker registers under a new id; what was not ended is refused by the queue.
- Whatever a task or a loader raises is the error of an attempt. Any other failure ends the worker:
  it returns its jobs.
- The end of a thread, for whatever reason, is noticed: before a stop it is a failure of the worker.

Imports the job system's other modules, and never a server.
"""

import json
import logging
import os
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Self

from zoolet.client.settings import ConnectionSettings
from zoolet.jobs.attempts import Attempter, Outcome, Setup
from zoolet.jobs.childprocess import absolute_paths
from zoolet.jobs.connection import close_client, connect, on_session_end
from zoolet.jobs.errors import (
    DisconnectedError,
    ExecutorError,
    InvalidJobError,
    JobError,
)
from zoolet.jobs.executors import Executor, ThreadExecutor
from zoolet.jobs.forks import HomeProcess
from zoolet.jobs.hands import Hands, InHand
from zoolet.jobs.housekeeping import Housekeeping
from zoolet.jobs.layout import OWNED
from zoolet.jobs.moves import Move
from zoolet.jobs.output import OutputLog
from zoolet.jobs.processexecutor import ProcessExecutor
from zoolet.jobs.queue import JobQueue
from zoolet.jobs.recorder import Recorder
from zoolet.jobs.results import ResultReader
from zoolet.jobs.serverclock import ServerClock
from zoolet.jobs.taking import JobTaker
from zoolet.jobs.tasks import STEPS, load_function
from zoolet.model.oserrors import explain

log = logging.getLogger(__name__)

CLOSE_S = 2.0
"""How long a worker that stops waits for the end of its session."""
GRACE_MS = 7_000
"""Default grace period of a stop, in ms. Docker kills a container 10 s after SIGTERM: 3 s are
left to return jobs."""
GIVE_BACK_S = 1.5
"""How long a worker that stops tries to give back what it could not finish."""


class Worker:
    """A worker on a queue, which it creates where there is none; also a context manager.

    Args:
        hosts: ZooKeeper servers, ``host:port[,host:port...]``; or `ConnectionSettings`, which have
            the timeouts, TLS and the login too.
        root: the queue's root.
        loader: the function that loads a group, by its name (see `zoolet.jobs.tasks`); without
            one, tasks get None for a group.
        executors: how many jobs it works on at a time.
        threads: run tasks in threads of this process, and not in processes of their own: they share
            one cache, and cannot be ended.
        cache_groups: how many loaded groups each executor's cache keeps.
        cache_bytes: how many bytes they have together; None is without a limit.
        locality_wait_ms: how long a job is passed over, or left to other workers, for the sake of
            data that is loaded; 0 is no affinity.
        session_timeout_ms: what it asks the server for; when it dies, its jobs return after this.
        connect_timeout_ms: how long it waits for the server at its start.
        result_store: URL of the store of large results, where it is not the one the queue names.
        on_step: name of a function that is called with the name of each step, and the names of the
            jobs, for tests and tracing.
    """

    def __init__(
        self,
        hosts: str | ConnectionSettings,
        root: str = "/",
        *,
        loader: str | None = None,
        executors: int = 1,
        threads: bool = False,
        cache_groups: int = 8,
        cache_bytes: int | None = None,
        locality_wait_ms: int = 200,
        session_timeout_ms: int = 10_000,
        connect_timeout_ms: int = 10_000,
        result_store: str | None = None,
        on_step: str | None = None,
    ) -> None:
        if executors < 1 or cache_groups < 1:
            raise InvalidJobError("a worker has at least 1 executor, and room for 1 group")
        if isinstance(hosts, str):
            hosts = ConnectionSettings(
                hosts,
                session_timeout_ms=session_timeout_ms,
                connect_timeout_ms=connect_timeout_ms,
            )
        self._connection, self._root = hosts.moving_chroot(root)
        self._setup = Setup(
            loader,
            cache_groups,
            cache_bytes,
            absolute_paths(sys.path),
            log_level=logging.getLogger().getEffectiveLevel(),
            output_token=uuid.uuid4().hex,
        )
        self._output_log = OutputLog()
        self._executor_count = executors
        self._threads = threads
        self._round_s = locality_wait_ms / 1000 if loader is not None else 0.0
        self._result_store = result_store
        self._step_hook = None if on_step is None else load_function(on_step, STEPS)
        self._home = HomeProcess()
        self._seed = uuid.uuid4().hex
        self._hands = Hands()
        self._giving = threading.Lock()

        self._wake = threading.Event()
        self._registered = threading.Event()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self.failure: BaseException | None = None
        """What ended the worker, if that was a failure."""
        self._executors: list[Executor] = []
        self._client: Any = None
        self._is_connected = False
        self._taking: threading.Thread | None = None
        self._recording: threading.Thread | None = None
        self._clock = ServerClock()
        self.worker_id = ""
        """Under which id it is registered; another one after each lost session."""

    # --- Life cycle

    def start(self) -> None:
        """Get the executors ready, connect, register, and begin to take jobs.

        Raises:
            FunctionNotFoundError: the loader cannot be imported.
            ExecutorError: an executor cannot be started, or ends before it is ready.
            TimeoutError: no server answered in time.
        """
        self._home = HomeProcess()
        try:
            self._start()
        except BaseException:
            self.stop(0)
            raise

    def _start(self) -> None:
        try:
            self._executors = self._make_executors()
        except OSError as error:
            raise ExecutorError(
                f"{self._executor_count} executors cannot be started: {explain(error)}"
            ) from error
        for executor in self._executors:
            executor.start()
        for executor in self._executors:
            executor.wait_until_ready()
        self._client = connect(self._connection)
        on_session_end(self._client, self._unregister)
        self.queue = JobQueue(self._client, self._root, clock_ms=self._clock.now_ms)
        self.queue.ensure_layout()
        self._results = ResultReader(self.queue, self._result_store)
        self._recorder = Recorder(
            self.queue,
            self._hands,
            self._results,
            on_step=self._step,
            on_permitted=self._permit,
            on_lost=self._abandon,
            on_long=self._on_long,
            on_gone=self._on_gone,
            on_report=self._report,
            start_thread=self._start_thread,
        )
        self._taker = JobTaker(
            self.queue,
            self._hands,
            self._executors,
            giving=self._giving,
            wake=self._wake,
            seed=self._seed,
            cache_groups=self._setup.cache_groups,
            round_s=self._round_s,
            on_step=self._step,
            on_gone=self._on_gone,
            on_cancelled=self._abandon,
        )
        self._housekeeping = Housekeeping(self.queue, self._results)
        if (problem := self._results.check()) is not None:
            log.warning("an attempt with a large result fails here: %s", problem)
        self._is_connected = True
        self._register()
        self._wake.set()
        self._taking = self._start_thread(self._take)
        self._recording = self._start_thread(self._recorder.record)
        self._start_thread(self._housekeeping.run)

    def _take(self) -> None:
        self._taker.run(self._stopping, self._register)

    def _make_executors(self) -> list[Executor]:
        numbers = range(self._executor_count)
        if self._threads:
            attempter = Attempter(self._setup)
            return [ThreadExecutor(attempter, _Ear(self)) for _ in numbers]
        return [ProcessExecutor(self._setup, _Ear(self), self._output_log) for _ in numbers]

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the worker ends; False if it has not within ``timeout_s``.

        Raises:
            Exception: what ended the worker, if that was a failure.
        """
        self._home.check()
        has_ended = self._ended.wait(timeout_s)
        if self.failure is not None:
            raise self.failure
        return has_ended

    @property
    def has_ended(self) -> bool:
        """Whether the worker has stopped or failed."""
        return self._ended.is_set()

    def stop(self, grace_ms: int = GRACE_MS) -> None:
        """Take no more jobs, finish those that run within ``grace_ms``, and return the rest.

        `cut_grace` ends the grace period from another thread. It does nothing in a process that was
        forked from the one that started the worker.
        """
        if not self._home.is_here:
            return
        self._stopping.set()
        self._registered.set()
        self._wake.set()
        if self._taking is not None:
            # What it is just about to take is in hand after that.
            self._taking.join(GIVE_BACK_S)
        if self._is_connected:
            self._hands.wait_until_empty(grace_ms / 1000)
        self._stop_executors()
        if self._is_connected:
            self._recorder.close()
            self._bounded(self._give_back)
            self._housekeeping.stop()
        if self._client is not None:
            close_client(self._client, CLOSE_S)
        if self._is_connected:
            self._results.close()
        self._output_log.close()
        self._ended.set()

    def cut_grace(self) -> None:
        """Let `stop` return the jobs at once that have not ended."""
        self._hands.stop_waiting()

    def _stop_executors(self) -> None:
        for executor in self._executors:
            executor.stop()
        for executor in self._executors:
            executor.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _bounded(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(GIVE_BACK_S)

    def _give_back(self) -> None:
        if self._recording is not None:
            # It may be recording one of them: a job that has changed meanwhile is not given back.
            self._recording.join(GIVE_BACK_S)
        jobs = [held.job for held in self._hands.all()]
        moves = [Move(OWNED, job, job.waiting()) for job in jobs]
        try:
            for move in self.queue.mover.move(moves, self.worker_id):
                log.info("gave back %s", move.after.name)
        except JobError:
            log.info("could not give back %d jobs: they return when this session ends", len(jobs))

    def _start_thread(self, work: Callable[[], None]) -> threading.Thread:
        """Start a thread of the worker; its end, before the worker stops, ends the worker."""
        name = getattr(work, "__qualname__", repr(work))
        thread = threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True)
        thread.start()
        return thread

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            # A worker waits for its server without a limit: until it is stopped, which closes the
            # client and so ends each request.
            with self.queue.layout.znodes.within(None, "the worker"):
                work()
            if not self._stopping.is_set():
                self._fail(JobError(f"the thread {threading.current_thread().name} has ended"))
        except BaseException as error:
            if isinstance(error, DisconnectedError) and self._stopping.is_set():
                return
            log.exception("the thread %s fails", threading.current_thread().name)
            self._fail(error)

    def _fail(self, failure: BaseException) -> None:
        """Let `wait` raise, so that whoever waits stops the worker, which returns its jobs."""
        if self.failure is None:
            self.failure = failure
        self._ended.set()

    def _step(self, step: str, names: Sequence[str]) -> None:
        if self._step_hook is not None:
            self._step_hook(step, list(names))

    # --- Being known

    def _on_gone(self, worker: str) -> None:
        if worker == self.worker_id:
            self._unregister()

    def _unregister(self) -> None:
        """Give up what is in hand, and let the worker be registered anew."""
        self._registered.clear()
        self._abandon(self._hands.all())

    def _abandon(self, lost: Sequence[InHand]) -> None:
        """Stop working on jobs that are not this worker's any more."""
        with self._giving:
            names = self._hands.drop(lost)
            for executor in self._executors:
                executor.abandon(names)
        self._wake.set()

    def _register(self) -> str:
        """Return the worker's id; register before under a new one, if it is not registered.

        An id is never used by two sessions.
        """
        while not self._registered.is_set():
            worker_id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
            if self.queue.register(worker_id, self._about()):
                self.worker_id = worker_id
                # Its answer has the server's time, which no job may be taken without.
                self._report()
                self._registered.set()
                self._housekeeping.line_up()
                log.info("registered as worker %s", worker_id)
        if self._clock.is_sample_due():
            self._report()
        return self.worker_id

    def _report(self) -> None:
        self.queue.report(self.worker_id, self._about(), self._clock)

    def _about(self) -> bytes:
        """Return what the worker says of itself, for who looks at the queue."""
        about = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "executors": self._executor_count,
            "kind": "threads" if self._threads else "processes",
            "groups": sum(len(executor.held()) for executor in self._executors),
        }
        about |= self._results.about() | self._recorder.tally.as_dict()
        return json.dumps(about).encode()

    def tally(self) -> dict[str, float]:
        """Return what it has done since its start, by name."""
        return self._recorder.tally.as_dict()

    @property
    def in_hand(self) -> int:
        """How many jobs it has that are not recorded as ended."""
        return len(self._hands.all())

    # --- What executors tell

    def _begun(self, name: str) -> None:
        self._step("begun", [name])

    def _asks(self, name: str) -> None:
        """Record a careful job as RUNNING before it is started."""
        held = self._hands.get(name)
        if held is not None:
            self._recorder.asked(held)

    def _permit(self, held: InHand) -> None:
        with self._giving:
            if self._hands.get(held.job.name) is held:
                self._executors[held.executor].permit(held.job.name)

    def _started(self, name: str, cache_hit: bool | None) -> None:
        held = self._hands.get(name)
        if held is not None:
            self._recorder.started(held, cache_hit=cache_hit)
            if cache_hit is not None:
                self._taker.note_cache(hit=cache_hit)
        self._step("started", [name])

    def _on_long(self, held: InHand) -> None:
        """Give what waits behind a long task to others."""
        if self._hands.loads()[held.executor] > 1:
            self._executors[held.executor].recall()

    def _returned(self, names: Sequence[str]) -> None:
        for name in names:
            held = self._hands.get(name)
            if held is not None:
                self._recorder.given_back(held)
        self._wake.set()

    def _attempted(self, name: str, outcome: Outcome, took_s: float) -> None:
        self._taker.note_duration(took_s)
        held = self._hands.get(name)
        if held is not None:
            self._recorder.ended(held, outcome, took_s)
        self._wake.set()


class _Ear:
    """Hears what an executor tells."""

    def __init__(self, worker: Worker) -> None:
        self.begun = worker._begun  # noqa: SLF001 -- it is a part of the worker
        self.asks = worker._asks  # noqa: SLF001
        self.started = worker._started  # noqa: SLF001
        self.ended = worker._attempted  # noqa: SLF001
        self.returned = worker._returned  # noqa: SLF001
        self.freed = worker._wake.set  # noqa: SLF001
        self.failed = worker._fail  # noqa: SLF001
