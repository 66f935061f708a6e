"""The worker: takes jobs, loads their groups, runs their tasks and commits what came of them.

One thread watches (what waits, which workers are there, whether the session lives); each executor
is a thread that chooses a job, takes it and runs it. Nothing polls: executors sleep until the
watching thread has seen a change. The worker's only heartbeat is its ZooKeeper session.

Invariant: what an executor commits carries the id under which it took the job. A worker whose
session has ended gets another id, so that whatever it still runs is refused.
"""

import logging
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.protocol.states import KazooState

from zoolet.jobs.cache import GroupCache
from zoolet.jobs.choice import Choice, WaitingJob, choose, in_order
from zoolet.jobs.errors import OwnershipLostError, UnreadableJobError
from zoolet.jobs.queue import JobQueue, OwnedJob
from zoolet.jobs.records import JobState
from zoolet.jobs.tasks import Loader, find_task

log = logging.getLogger(__name__)

DEFAULT_LOCALITY_WAIT_S = 0.2
DEFAULT_MAX_GROUPS = 16
DEFAULT_GRACE_S = 30.0

_TRACEBACK_LINES = 12


class Worker:
    """Runs the jobs of one queue until it is stopped.

    Attributes:
        worker_id: the id of this session of the worker; None while it has none.
    """

    def __init__(
        self,
        client: KazooClient,
        root: str,
        loader: Loader,
        *,
        executors: int = 1,
        max_groups: int = DEFAULT_MAX_GROUPS,
        locality_wait_s: float = DEFAULT_LOCALITY_WAIT_S,
        grace_s: float = DEFAULT_GRACE_S,
    ) -> None:
        """Set a worker up on a started client.

        Args:
            client: only this worker uses it, since its session is the worker's life.
            root: the path of the queue.
            loader: loads the groups that jobs name.
            executors: how many jobs run at a time.
            max_groups: how many loaded groups are kept.
            locality_wait_s: how long an executor that finds no job whose group is held waits for
                one, before it takes the first of all. It waits once: not again before it has had
                such a job.
            grace_s: how long running jobs may go on once the worker is stopped.
        """
        self.worker_id: str | None = None
        self._client: Any = client
        self._queue = JobQueue(client, root)
        self._cache = GroupCache(lambda key: loader(key.dataset, key.groupid), max_groups)
        self._executors = executors
        self._locality_wait_s = locality_wait_s
        self._grace_s = grace_s
        self._stopping = threading.Event()
        # What the watching thread waits for. Watches and listeners set flags and do nothing else.
        self._wake = threading.Event()
        self._waiting_changed = True
        self._workers_changed = True
        self._session_is_new = True
        # What the executors wait for, under its lock.
        self._changed = threading.Condition()
        self._waiting: list[WaitingJob] = []
        self._being_taken: set[str] = set()
        self._unreadable: set[str] = set()
        self._expects_local = True
        self._running: dict[str, OwnedJob] = {}

    def run(self) -> None:
        """Take and run jobs until ``stop`` is called; then finish what runs, or give it back."""
        self._queue.create()
        self._client.add_listener(self._session_changed)
        threads = [
            threading.Thread(target=self._execute_jobs, name=f"executor-{number}", daemon=True)
            for number in range(self._executors)
        ]
        try:
            self._watch(threads)
        finally:
            self._client.remove_listener(self._session_changed)
        self._end(threads)

    def stop(self) -> None:
        """Take nothing more; ``run`` returns once what runs is finished or given back.

        May be called from any thread, but not from a signal handler: it takes locks.
        """
        self._stopping.set()
        self._wake.set()

    # -- watching ----------------------------------------------------------------------------------

    def _watch(self, threads: list[threading.Thread]) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self._look()
            except KazooException as error:
                if self._stopping.is_set():
                    break
                log.warning("cannot look at the queue, trying again: %r", error)
                self._waiting_changed = self._workers_changed = True
                self._wake.wait(1.0)
                continue
            for thread in threads:
                if thread.ident is None:
                    thread.start()
            self._wake.wait()

    def _look(self) -> None:
        """Bring up to date what has changed."""
        if self._session_is_new:
            self._session_is_new = False
            self.worker_id = self._register()
            self._waiting_changed = self._workers_changed = True
        if self._workers_changed:
            self._workers_changed = False
            self._queue.workers(self._note("_workers_changed"))
            for job in self._queue.return_jobs_of_lost_workers():
                log.warning("%s: %s", job.name, job.errors[-1].error)
        if self._waiting_changed:
            self._waiting_changed = False
            waiting = in_order(self._queue.unowned(self._note("_waiting_changed")))
            with self._changed:
                self._waiting = waiting
                self._changed.notify_all()

    def _note(self, flag: str) -> Callable[[Any], None]:
        """Return a watch that sets ``flag`` and wakes the watching thread."""

        def note(_event: Any) -> None:
            setattr(self, flag, True)
            self._wake.set()

        return note

    def _session_changed(self, state: str) -> None:
        if state == KazooState.LOST:
            self.worker_id = None
            self._session_is_new = True
        elif state == KazooState.CONNECTED:
            # Watches may have been lost with the connection.
            self._waiting_changed = self._workers_changed = True
            self._wake.set()

    def _register(self) -> str:
        label = socket.gethostname().partition(".")[0]
        description = {"host": socket.gethostname(), "pid": os.getpid()}
        worker_id = self._queue.register_worker(
            {**description, "executors": self._executors}, f"{label}-{os.getpid()}"
        )
        log.info("registered as %s", worker_id)
        return worker_id

    # -- executing ---------------------------------------------------------------------------------

    def _execute_jobs(self) -> None:
        while (choice := self._next_choice()) is not None:
            try:
                self._take_and_run(choice)
            except OwnershipLostError as error:
                log.warning("%s; what it did is not committed", error)
            except UnreadableJobError as error:
                log.error("%s; it is left where it is", error)  # noqa: TRY400 -- it says it all
                self._unreadable.add(choice.name)
            except KazooException:
                log.exception("%s: cannot record what came of it", choice.name)
                self._change_id()
            finally:
                with self._changed:
                    self._being_taken.discard(choice.name)
                    self._running.pop(choice.name, None)

    def _next_choice(self) -> Choice | None:
        """Return the job to take next, once there is one; None when the worker stops."""
        deadline: float | None = None
        with self._changed:
            while not self._stopping.is_set():
                held = self._cache.keys()
                choice = choose(self._waiting, held, self._being_taken | self._unreadable)
                if choice is None:
                    deadline = None
                    self._changed.wait()
                    continue
                if held and not choice.is_local and self._expects_local:
                    now = time.monotonic()
                    deadline = deadline or now + self._locality_wait_s
                    if now < deadline:
                        self._changed.wait(deadline - now)
                        continue
                # A round that was waited for nothing is not waited again until a job was local: a
                # stream of jobs on ever new groups is not slowed down by the hope for old ones.
                self._expects_local = choice.is_local or not held
                self._being_taken.add(choice.name)
                return choice
        return None

    def _take_and_run(self, choice: Choice) -> None:
        """Take a job, load its group, run its task, and commit what came of it.

        Only the task's and the loader's own errors are attempts that failed; those of the queue go
        on to the caller.
        """
        name = choice.name
        worker_id = self.worker_id
        owned = None if worker_id is None else self._queue.own_job(name, worker_id)
        with self._changed:
            self._waiting = [job for job in self._waiting if job.name != name]
            if owned is None:
                return
            self._running[name] = owned
        began = time.perf_counter()
        try:
            task = find_task(owned.job.task)
            group, cached = self._cache.get(owned.job.group)
        except BaseException as error:  # noqa: BLE001 -- a loader may raise anything, or exit
            self._fail(owned, error)
            return
        owned = self._queue.update_state(owned, JobState.RUNNING)
        with self._changed:
            self._running[name] = owned
        try:
            result = task(group, owned.job.parameters)
            now_ms = time.time_ns() // 1_000_000
            done = owned.job.succeeded(result, cached=cached, now_ms=now_ms)
        except BaseException as error:  # noqa: BLE001 -- a task may raise anything, or exit
            self._fail(owned, error)
            return
        self._queue.finish(owned, done)
        log.info("%s: done in %.3f s", name, time.perf_counter() - began)

    def _fail(self, owned: OwnedJob, error: BaseException) -> None:
        """Record a failed attempt."""
        after = self._queue.fail(owned, _describe(error))
        log.warning(
            "%s: attempt %d of %d failed, now %s: %r",
            after.name,
            after.attempts,
            after.max_attempts,
            after.state,
            error,
        )

    def _change_id(self) -> None:
        """Register anew, so that jobs which this worker can neither run nor return are taken."""
        worker_id, self.worker_id = self.worker_id, None
        if worker_id is not None:
            self._queue.unregister_worker(worker_id)
        self._session_is_new = True
        self._wake.set()

    # -- the end -----------------------------------------------------------------------------------

    def _end(self, threads: list[threading.Thread]) -> None:
        """Let running jobs finish within the grace, give the others back, and go."""
        with self._changed:
            self._changed.notify_all()
        deadline = time.monotonic() + self._grace_s
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            unfinished = list(self._running.values())
        for owned in unfinished:
            try:
                self._queue.give_back(owned)
                log.warning("%s: not finished in time, given back", owned.job.name)
            except OwnershipLostError as error:
                log.info("%s", error)
        if self.worker_id is not None:
            self._queue.unregister_worker(self.worker_id)


def _describe(error: BaseException) -> str:
    """Return what an operator needs of an exception: its message and where it was raised."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join([f"{type(error).__name__}: {error}", *lines[-_TRACEBACK_LINES:]])
