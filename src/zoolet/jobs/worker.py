"""A worker: executors that take jobs, load their data, run their tasks and record what came of it.

One thread coordinates: it keeps the worker registered, lists what waits, and returns the jobs of
workers that are gone, each time a watch says that something changed. Every executor is a thread
that takes one job after the other. What holds:

- An executor acts under the worker id that it took the job with. When the session is lost, the
  worker registers under a new id, and what is still running is refused by the queue at its end.
- Whatever a task or a loader raises is the error of an attempt. Any other failure ends the worker,
  so that its session ends and its jobs go to others.

Imports the job system's other modules, and never a server.
"""

import copy
import json
import logging
import os
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from typing import Any, Self

from kazoo.exceptions import ConnectionClosedError
from kazoo.protocol.states import KazooState

from zoolet.jobs.cache import GroupCache
from zoolet.jobs.connection import connect, without_chroot
from zoolet.jobs.errors import (
    JobTakenError,
    OwnershipLostError,
    UnreadableJobError,
    WorkerGoneError,
)
from zoolet.jobs.queue import JobQueue
from zoolet.jobs.records import Job, JobState
from zoolet.jobs.tasks import LOADERS, TASKS, load_function
from zoolet.jobs.waiting import WaitingJobs

log = logging.getLogger(__name__)

GIVE_BACK_S = 3.0
"""How long a worker that stops tries to give back what it could not finish."""


class Worker:
    """A worker on a queue; also a context manager that starts and stops it.

    Args:
        hosts: ZooKeeper servers, as kazoo takes them.
        root: the queue's root.
        loader: the function that loads a group, by its name (see `zoolet.jobs.tasks`).
        executors: how many jobs it works on at a time, each in a thread.
        cache_groups: how many loaded groups it keeps.
        locality_wait_ms: how long it waits for a job whose data it holds while others wait.
        session_timeout_ms: what it asks the server for; when it dies, its jobs return after this.
        connect_timeout_ms: how long it waits for the server at its start.

    Raises:
        FunctionNotFoundError: the loader cannot be imported.
    """

    def __init__(
        self,
        hosts: str,
        root: str = "/",
        *,
        loader: str,
        executors: int = 1,
        cache_groups: int = 8,
        locality_wait_ms: int = 200,
        session_timeout_ms: int = 10_000,
        connect_timeout_ms: int = 10_000,
    ) -> None:
        self._hosts, self._root = without_chroot(hosts, root)
        self._session_timeout_ms = session_timeout_ms
        self._connect_timeout_ms = connect_timeout_ms
        self._locality_wait_s = locality_wait_ms / 1000
        self._cache = GroupCache(load_function(loader, LOADERS), cache_groups)
        self._waiting = WaitingJobs()
        self._running: dict[int, Job] = {}
        """What each executor has, as its last move left it."""

        self._wake = threading.Event()
        self._listing_stale = threading.Event()
        self._workers_stale = threading.Event()
        self._registered = threading.Event()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self.worker_id = ""
        """Under which id it is registered; another one after each lost session."""

        self._coordinator = threading.Thread(target=self._guarded, args=(self._coordinate,))
        self._executors = [
            threading.Thread(target=self._guarded, args=(self._execute, number))
            for number in range(executors)
        ]
        for thread in (self._coordinator, *self._executors):
            thread.daemon = True

    # --- Life cycle

    def start(self) -> None:
        """Connect, register, and begin to take jobs.

        Raises:
            TimeoutError: no server answered in time.
        """
        self._client = connect(
            self._hosts,
            session_timeout_ms=self._session_timeout_ms,
            connect_timeout_ms=self._connect_timeout_ms,
        )
        self._client.add_listener(self._on_connection)
        self._queue = JobQueue(self._client, self._root)
        self._queue.ensure_layout()
        self._register()
        self._listing_stale.set()
        self._workers_stale.set()
        self._wake.set()
        self._coordinator.start()
        for thread in self._executors:
            thread.start()

    def wait(self) -> None:
        """Block until the worker ends; raise what ended it, if that was a failure."""
        self._ended.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self, grace_ms: int = 10_000) -> None:
        """Take no more jobs, finish those that run within ``grace_ms``, and give back the rest."""
        self._stopping.set()
        self._registered.set()
        self._waiting.close()
        self._wake.set()
        deadline = time.monotonic() + grace_ms / 1000
        for thread in self._executors:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        giving_back = threading.Thread(target=self._give_back, daemon=True)
        giving_back.start()
        giving_back.join(GIVE_BACK_S)
        self._client.stop()
        self._client.close()
        self._ended.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _give_back(self) -> None:
        for job in list(self._running.values()):
            try:
                self._queue.release(job)
                log.info("gave back %s", job.name)
            except (OwnershipLostError, ConnectionClosedError):
                log.info("could not give back %s: it returns when this session ends", job.name)

    def _guarded(self, work: Callable[..., None], *args: Any) -> None:
        """Run a thread of the worker; what it cannot handle ends the worker."""
        try:
            work(*args)
        except BaseException as error:
            if isinstance(error, ConnectionClosedError) and self._stopping.is_set():
                return
            log.exception("the worker ends")
            self._failure = error
            self._ended.set()

    # --- Coordination

    def _on_connection(self, state: str) -> None:
        if state == KazooState.LOST:
            self._unregister()

    def _unregister(self) -> None:
        """Let the coordinator register anew; executors take nothing until it has."""
        self._registered.clear()
        self._wake.set()

    def _on_listing(self, _: object) -> None:
        self._listing_stale.set()
        self._wake.set()

    def _on_workers(self, _: object) -> None:
        self._workers_stale.set()
        self._wake.set()

    def _coordinate(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stopping.is_set():
                return
            if not self._registered.is_set():
                self._register()
            if self._workers_stale.is_set():
                self._workers_stale.clear()
                self._queue.workers(self._on_workers)
                for job in self._queue.return_jobs_of_dead_workers():
                    log.warning("%s: %s; it is now %s", job.name, job.errors[-1], job.state)
            if self._listing_stale.is_set():
                self._listing_stale.clear()
                self._waiting.replace(self._queue.waiting(self._on_listing))

    def _register(self) -> None:
        """Register under a new id; an id is never used by two sessions."""
        host, pid = socket.gethostname(), os.getpid()
        about = json.dumps({"host": host, "pid": pid, "executors": len(self._executors)}).encode()
        while not self._registered.is_set():
            worker_id = f"{host}-{pid}-{uuid.uuid4().hex[:12]}"
            if self._queue.register(worker_id, about):
                self.worker_id = worker_id
                self._registered.set()
                log.info("registered as worker %s", worker_id)

    # --- Execution

    def _execute(self, number: int) -> None:
        while True:
            name = self._waiting.next_job(self._cache.held, self._locality_wait_s)
            self._registered.wait()
            if name is None or self._stopping.is_set():
                return
            worker_id = self.worker_id
            try:
                self._running[number] = self._queue.own_job(name.name, worker_id)
                self._work(number)
            except JobTakenError:
                continue
            except WorkerGoneError as error:
                log.warning("%s", error)
                self._listing_stale.set()
                if worker_id == self.worker_id:
                    self._unregister()
            except (OwnershipLostError, UnreadableJobError) as error:
                log.warning("%s", error)
            finally:
                self._running.pop(number, None)

    def _work(self, number: int) -> None:
        """Make one attempt at the job that this executor has, and record what came of it."""
        job = self._running[number]
        log.info("took %s, attempt %d", job.name, job.attempts + 1)
        try:
            result = self._attempt(number)
        except _AttemptFailedError as failed:
            after = self._queue.fail(self._running[number], str(failed))
            log.warning("%s failed and is now %s: %s", job.name, after.state, failed.summary)
        else:
            after = self._queue.finish(self._running[number], result)
            log.info("%s is now %s", job.name, after.state)

    def _attempt(self, number: int) -> Any:
        """Load the job's data, run its task, and return its result."""
        job = self._running[number]
        task = _attempting(load_function, job.task, TASKS)
        group, hit = _attempting(self._cache.get, job.dataset, job.groupid)
        job = self._queue.update_state(job, JobState.RUNNING, cache_hit=hit)
        self._running[number] = job
        # A copy, so that a task that changes its parameters does not change the job's record.
        return _attempting(task, group, copy.deepcopy(job.parameters))


class _AttemptFailedError(Exception):
    """What a task or a loader raised, as text."""

    def __init__(self, error: BaseException) -> None:
        super().__init__("".join(traceback.format_exception(error)))
        self.summary = "".join(traceback.format_exception_only(error)).strip()


def _attempting(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    # Whatever it raises, SystemExit too, is this attempt's error and nothing else's.
    except BaseException as error:
        raise _AttemptFailedError(error) from error
