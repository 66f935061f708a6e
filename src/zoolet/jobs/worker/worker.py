"""`Worker`, the class that users start and stop.

`zoolet.jobs.worker.run.WorkerRun` does the work. This module imports `zoolet.jobs.dispatcher`,
`zoolet.jobs.execution`, `zoolet.jobs.queue` and other modules of its package, and never
`zoolet.server`.
"""

import logging
import sys
import threading
import uuid
from typing import Self

from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.console.os_errors import needs_posix
from zoolet.jobs.dispatcher.in_tasks import OPENER, queue_as_json
from zoolet.jobs.errors import ExecutorError, InvalidJobError, JobError
from zoolet.jobs.execution.attempts import Setup
from zoolet.jobs.execution.functions import STEPS, absolute_paths, load_function
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.worker.run import WorkerOptions, WorkerRun
from zoolet.jobs.znodes.forks import HomeProcess

GRACE_MS = 7_000
"""Default grace period of a stop, in ms. Docker kills a container 10 s after SIGTERM, so the worker
has 3 s to give its jobs back to the queue."""


class Worker:
    """A worker of a queue; it creates the queue if the queue does not exist. A context manager.

    Args:
        hosts: the ZooKeeper servers, ``host:port[,host:port...]``; or `ConnectionSettings`, which
            also have the timeouts, TLS and the login.
        root: the path of the queue's root.
        loader: the name of the function that loads a group (`zoolet.jobs.execution.functions`);
            None if tasks need no data: they get None as their group.
        executors: the number of executors, each of which runs one job at a time.
        threads: whether tasks run in threads of this process instead of processes of their own.
            Threads share one cache, and their tasks cannot be ended.
        cache_groups: the number of loaded groups that each executor's cache keeps.
        cache_bytes: the limit, in bytes, of all groups in a cache; None for no limit.
        locality_wait_ms: the longest time, in ms, for which this worker passes over a job, or
            leaves the job to other workers, because it has not loaded the job's data. With 0, the
            worker takes jobs in their order, whatever data it has loaded.
        session_timeout_ms: the requested session timeout, in ms. If the worker dies, other workers
            can take its jobs after this time.
        connect_timeout_ms: the time, in ms, that the worker waits for a server at its start.
        result_store: the URL of the store of large results; None for the URL in the queue's
            settings.
        on_step: the name of a function that is called after each step of jobs ("taken", "started",
            "ended" and others), for tests and tracing; None for no calls. Its arguments are the
            name of the step and the names of the jobs that have reached it.

    Raises:
        ExecutorError: tasks cannot run in processes on this system.
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
            raise InvalidJobError("a worker needs at least 1 executor and room for 1 group")
        if sys.platform == "win32" and not threads:
            raise ExecutorError(f"{needs_posix('a worker')} A Worker with threads=True does, too.")
        if isinstance(hosts, str):
            hosts = ConnectionSettings(
                hosts,
                session_timeout_ms=session_timeout_ms,
                connect_timeout_ms=connect_timeout_ms,
            )
        connection, root = hosts.moving_chroot(root)
        self._options = WorkerOptions(
            connection,
            root,
            Setup(
                loader,
                cache_groups,
                cache_bytes,
                absolute_paths(sys.path),
                log_level=logging.getLogger().getEffectiveLevel(),
                output_token=uuid.uuid4().hex,
                opener=OPENER,
                queue=queue_as_json(connection, root, result_store),
            ),
            executors,
            threads,
            locality_wait_ms / 1000 if loader is not None else 0.0,
            result_store,
            None if on_step is None else load_function(on_step, STEPS),
        )
        self._home = HomeProcess()
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._run: WorkerRun | None = None

    def start(self) -> None:
        """Get the executors ready, connect, register, and begin to take jobs.

        Raises:
            FunctionNotFoundError: the loader cannot be imported.
            ExecutorError: an executor cannot be started, or ends before it is ready.
            TimeoutError: no server replied in time.
        """
        self._home = HomeProcess()
        self._run = WorkerRun(self._options, self._fail)
        try:
            self._run.start()
        except BaseException:
            self.stop(0)
            raise

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the worker ends; return False if it has not ended within ``timeout_s``.

        Raises:
            Exception: the failure that ended the worker.
        """
        self._home.check()
        has_ended = self._ended.wait(timeout_s)
        if self._failure is not None:
            raise self._failure
        return has_ended

    def stop(self, grace_ms: int = GRACE_MS) -> None:
        """Take no more jobs, let running jobs finish within ``grace_ms``, give all others back.

        Another thread can end the grace period with `cut_grace`. This method does nothing in a
        forked child of the process that started the worker.
        """
        if not self._home.is_here:
            return
        if self._run is not None:
            self._run.stop(grace_ms)
        self._ended.set()

    def cut_grace(self) -> None:
        """End the grace period: `stop` gives all unfinished jobs back without delay."""
        if self._run is not None:
            self._run.hands.stop_waiting()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _fail(self, failure: BaseException) -> None:
        """Let `wait` raise the failure; the caller of `wait` must then stop the worker."""
        if self._failure is None:
            self._failure = failure
        self._ended.set()

    @property
    def failure(self) -> BaseException | None:
        """The failure that ended the worker; None if there was none."""
        return self._failure

    @property
    def has_ended(self) -> bool:
        """Whether the worker has stopped or failed."""
        return self._ended.is_set()

    @property
    def worker_id(self) -> str:
        """The id under which the worker is registered; it changes after each lost session."""
        return "" if self._run is None else self._run.registration.worker_id

    @property
    def queue(self) -> JobQueue:
        """The worker's queue, which uses the worker's connection; JobError before `start`."""
        if self._run is None:
            raise JobError("the worker is not started: call start() first")
        return self._run.queue

    @property
    def in_hand(self) -> int:
        """The number of jobs that are taken and not recorded as ended."""
        return 0 if self._run is None else len(self._run.hands.all())

    def tally(self) -> dict[str, float]:
        """Return the counts of the worker's work since its start, by name."""
        return {} if self._run is None else self._run.recorder.tally.as_dict()
