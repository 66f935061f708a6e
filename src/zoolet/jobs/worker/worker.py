"""`Worker`: what users start and stop. One `zoolet.jobs.worker.run.WorkerRun` does the work.

Imports the other parts of a worker, and never a server.
"""

import logging
import sys
import threading
import uuid
from typing import Self

from zoolet.client.settings import ConnectionSettings
from zoolet.jobs.errors import InvalidJobError, JobError
from zoolet.jobs.execution.attempts import Setup
from zoolet.jobs.execution.child_process import absolute_paths
from zoolet.jobs.execution.functions import STEPS, load_function
from zoolet.jobs.worker.run import WorkerOptions, WorkerRun
from zoolet.jobs.znodes.forks import HomeProcess
from zoolet.jobs.znodes.queue import JobQueue

GRACE_MS = 7_000
"""Default grace period of a stop, in ms. Docker kills a container 10 s after SIGTERM: 3 s are
left to return jobs."""


class Worker:
    """A worker on a queue, which it creates where there is none; also a context manager.

    Args:
        hosts: ZooKeeper servers, ``host:port[,host:port...]``; or `ConnectionSettings`, which have
            the timeouts, TLS and the login too.
        root: the queue's root.
        loader: the function that loads a group, by its name (`zoolet.jobs.execution.functions`);
            without one, tasks get None for a group.
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
            TimeoutError: no server answered in time.
        """
        self._home = HomeProcess()
        self._run = WorkerRun(self._options, self._fail)
        try:
            self._run.start()
        except BaseException:
            self.stop(0)
            raise

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the worker ends; False if it has not within ``timeout_s``.

        Raises:
            Exception: what ended the worker, if that was a failure.
        """
        self._home.check()
        has_ended = self._ended.wait(timeout_s)
        if self._failure is not None:
            raise self._failure
        return has_ended

    def stop(self, grace_ms: int = GRACE_MS) -> None:
        """Take no more jobs, finish those that run within ``grace_ms``, and return the rest.

        `cut_grace` ends the grace period from another thread. It does nothing in a process that was
        forked from the one that started the worker.
        """
        if not self._home.is_here:
            return
        if self._run is not None:
            self._run.stop(grace_ms)
        self._ended.set()

    def cut_grace(self) -> None:
        """Let `stop` return the jobs at once that have not ended."""
        if self._run is not None:
            self._run.hands.stop_waiting()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _fail(self, failure: BaseException) -> None:
        """Let `wait` raise, so that whoever waits stops the worker, which returns its jobs."""
        if self._failure is None:
            self._failure = failure
        self._ended.set()

    @property
    def failure(self) -> BaseException | None:
        """What ended the worker, if that was a failure."""
        return self._failure

    @property
    def has_ended(self) -> bool:
        """Whether the worker has stopped or failed."""
        return self._ended.is_set()

    @property
    def worker_id(self) -> str:
        """Under which id it is registered; another one after each lost session."""
        return "" if self._run is None else self._run.registration.worker_id

    @property
    def queue(self) -> JobQueue:
        """Its queue, over its own connection; raises JobError before `start`."""
        if self._run is None:
            raise JobError("the worker is not started: call start() first")
        return self._run.queue

    @property
    def in_hand(self) -> int:
        """How many jobs it has that are not recorded as ended."""
        return 0 if self._run is None else len(self._run.hands.all())

    def tally(self) -> dict[str, float]:
        """Return what it has done since its start, by name."""
        return {} if self._run is None else self._run.recorder.tally.as_dict()
