"""`Worker`, the class that users start and stop.

`zoolet.jobs.worker.run.WorkerRun` does the work. This module imports `zoolet.jobs.dispatcher`,
`zoolet.jobs.execution`, `zoolet.jobs.queue` and other modules of its package, and never
`zoolet.server`.
"""

import logging
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.console.os_errors import needs_posix
from zoolet.jobs.dispatcher.in_tasks import OPENER, queue_as_json
from zoolet.jobs.errors import ExecutorError, InvalidJobError, JobError
from zoolet.jobs.execution import memory_limit
from zoolet.jobs.execution.attempts import Setup
from zoolet.jobs.execution.functions import STEPS, absolute_paths, load_function
from zoolet.jobs.execution.memory_limit import bytes_of
from zoolet.jobs.hooks.job_hooks import JobHooks
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.allow_lists import AllowLists
from zoolet.jobs.records.job_values import TAG_LIMIT_CHARACTERS, TAGS_LIMIT, are_tags
from zoolet.jobs.records.progress import Progress
from zoolet.jobs.results.urls import StoreUrls
from zoolet.jobs.signing.keys import KeysPath
from zoolet.jobs.worker.executor_control import IDLE_S, ExecutorLimits
from zoolet.jobs.worker.health import WorkerHealth
from zoolet.jobs.worker.run import WorkerOptions, WorkerRun
from zoolet.jobs.worker.screening import Security
from zoolet.jobs.worker.served_queues import (
    ServedQueue,
    WorkerQueue,
    options_by_root,
    served_queues,
)
from zoolet.jobs.znodes.forks import HomeProcess
from zoolet.model import paths

log = logging.getLogger(__name__)

GRACE_MS = 7_000
"""Default grace period of a stop, in ms. Docker kills a container 10 s after SIGTERM, so the worker
has 3 s to give its jobs back to the queue."""


class Worker:
    """A worker of one or several queues. A context manager.

    It creates a queue that does not exist. Its queues share its executors, in proportion to their
    weights. If only some of the queues have waiting jobs, these queues share all executors.

    Args:
        hosts: the ZooKeeper servers, ``host:port[,host:port...]``; or `ConnectionSettings`, which
            also have the timeouts, TLS and the login.
        root: the path of the queue's root, if the worker has one queue.
        queues: the queues, if the worker has several: the weight of each queue, or a `WorkerQueue`,
            by the path of its root.
        loader: the name of the function that loads a group (`zoolet.jobs.execution.functions`);
            None: only jobs of described datasets get a group, other tasks get None.
        executors: the number of executors, each of which runs one job at a time.
        min_executors, max_executors: the number of executors follows the number of waiting jobs
            between these limits, of which each is ``executors`` by default. The worker starts with
            the minimum.
        executor_idle_s: the time, in seconds, after which an executor without a job is stopped, if
            there are more than ``min_executors``.
        max_jobs_per_executor: the number of jobs after which the process of an executor is
            replaced; None for no limit.
        max_executor_mib: the process of an executor is replaced after a job if its resident memory
            is greater, in MiB; None for no limit.
        attempt_memory_mib: the limit of the memory of an executor's processes during an attempt, in
            MiB. An attempt that exceeds it fails, and its processes are ended. None for no limit.
        async_concurrency: the number of jobs that an executor runs at the same time. More than 1
            is for ``async def`` tasks: other tasks stop all jobs of their executor while they run.
        threads: whether tasks run in threads of this process instead of processes of their own.
            Threads share one cache, and their tasks cannot be ended.
        cache_groups: the number of loaded groups that each executor's cache keeps.
        cache_bytes: the limit, in bytes, of all groups in a cache; None for no limit.
        locality_wait_ms: the longest time, in ms, for which this worker passes over a job, or
            leaves the job to other workers, because it has not loaded the job's data. With 0, the
            worker takes jobs in their order, whatever data it has loaded.
        tags: texts that say what this worker has, such as ``gpu``. Only a worker that has all tags
            of a job takes the job (`JobRequest.tags`).
        session_timeout_ms: the requested session timeout, in ms. If the worker dies, other workers
            can take its jobs after this time.
        connect_timeout_ms: the time, in ms, that the worker waits for a server at its start.
        result_stores: the SQLAlchemy URLs of result stores by name; the queue's settings have the
            name of the queue's store, or it is ``default``.
        on_step: the name of a function that is called after each step of jobs ("taken", "started",
            "ended" and others), for tests and tracing; None for no calls. Its arguments are the
            name of the step and the names of the jobs that have reached it.
        hooks: objects whose methods `JobHooks.started`, `JobHooks.ended` and `JobHooks.job_failed`
            are called, in threads of the worker.
        tasks: patterns of the tasks that jobs may name, like ``mail:*``; None: all tasks. Jobs of
            other tasks are left to other workers, and nothing of them is imported.
        loaders: patterns of the loaders that jobs may name. None: with ``tasks``, the built-in
            loaders, and otherwise all.
        signing_keys: a file of keys. The worker then refuses jobs without a valid signature, and
            signs the jobs of schedules and those that tasks submit. None: it does neither.
        accept_unsigned: whether jobs without a signature run although there are keys.

    Raises:
        ExecutorError: tasks cannot run in processes on this system.
        InvalidJobError: an option is out of range.
    """

    _failure: BaseException | None = None

    def __init__(
        self,
        hosts: str | ConnectionSettings,
        root: str = "/",
        *,
        queues: Mapping[str, int | WorkerQueue] | None = None,
        loader: str | None = None,
        executors: int = 1,
        min_executors: int | None = None,
        max_executors: int | None = None,
        executor_idle_s: float = IDLE_S,
        max_jobs_per_executor: int | None = None,
        max_executor_mib: int | None = None,
        attempt_memory_mib: int | None = None,
        async_concurrency: int = 1,
        threads: bool = False,
        cache_groups: int = 8,
        cache_bytes: int | None = None,
        locality_wait_ms: int = 200,
        tags: Sequence[str] = (),
        session_timeout_ms: int = 10_000,
        connect_timeout_ms: int = 10_000,
        result_stores: Mapping[str, str] | None = None,
        on_step: str | None = None,
        hooks: Sequence[JobHooks] = (),
        tasks: Sequence[str] | None = None,
        loaders: Sequence[str] | None = None,
        signing_keys: KeysPath | None = None,
        accept_unsigned: bool = False,
    ) -> None:
        _check_options(
            {"executors": executors, "cache_groups": cache_groups},
            threads=threads,
            max_jobs_per_executor=max_jobs_per_executor,
            max_executor_mib=max_executor_mib,
            attempt_memory_mib=attempt_memory_mib,
            async_concurrency=None if async_concurrency == 1 else async_concurrency,
        )
        settings = _settings_of(hosts, session_timeout_ms, connect_timeout_ms)
        options = options_by_root(root, queues)
        connection, served = _place(settings, options, loader)
        security = _security(tasks, loaders, signing_keys, accept_unsigned=accept_unsigned)
        stores = StoreUrls(result_stores).as_dict()
        setup = Setup(
            loader,
            cache_groups,
            cache_bytes,
            **_of_this_process(),
            **_of_queues(connection, served, options, stores, security),
            attempt_memory_bytes=bytes_of(attempt_memory_mib),
            async_concurrency=async_concurrency,
        )
        counts = (executors, min_executors, max_executors, max_jobs_per_executor, max_executor_mib)
        limits = ExecutorLimits.of(*counts).stopping_idle_after(executor_idle_s)
        first = (connection, served, setup, limits, threads, locality_wait_ms / 1000)
        more = (_checked_tags(tags), stores, _step_of(on_step), tuple(hooks), security)
        self._options = WorkerOptions(*first, *more)
        self._home = HomeProcess()
        self._ended = threading.Event()
        self._run: WorkerRun | None = None

    def start(self) -> None:
        """Get the executors ready, connect, register, and begin to take jobs.

        Raises:
            FunctionNotFoundError: the loader cannot be imported.
            SigningKeyError: the file of keys cannot be used.
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
            self._run.cut_grace()

    def reload(self) -> None:
        """Load new code: replace each executor by a new process when its jobs have ended.

        The worker keeps its session. If the loader cannot be imported any more, the worker logs
        the error and keeps the old executors. Executors in threads cannot be replaced.
        """
        self._home.check()
        if self._options.threads:
            log.warning("executors in threads cannot load new code: restart the worker instead")
        elif self._run is not None:
            self._run.control.reload()

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
        """The id of the worker in its (first) queue; it changes after each lost session.

        The worker has another id in each queue (`worker_ids`).
        """
        return "" if self._run is None else self._run.places[0].worker_id

    @property
    def worker_ids(self) -> dict[str, str]:
        """The id of the worker in each queue, by the path of the queue; {} before `start`."""
        places = [] if self._run is None else self._run.places
        return {place.served.root: place.worker_id for place in places}

    @property
    def queue(self) -> JobQueue:
        """The worker's (first) queue, which uses the worker's connection.

        Raises:
            JobError: the worker is not started.
        """
        return next(iter(self.queues.values()))

    @property
    def queues(self) -> dict[str, JobQueue]:
        """The worker's queues by path, which use the worker's connection.

        Raises:
            JobError: the worker is not started.
        """
        if self._run is None:
            raise JobError("the worker is not started: call start() first")
        return {place.served.root: place.first.queue for place in self._run.places}

    @property
    def in_hand(self) -> int:
        """The number of jobs that are taken and not recorded as ended."""
        return 0 if self._run is None else self._run.health().jobs_in_hand

    def health(self) -> WorkerHealth:
        """Return the worker's health. This call sends no request, and any thread may make it."""
        if self._failure is not None:
            reason = str(self._failure) or repr(self._failure)
            return WorkerHealth("failed", is_live=False, is_ready=False, reason=reason)
        if self.has_ended:
            return WorkerHealth("ended", is_live=False, is_ready=False, reason="it has stopped")
        if self._run is None:
            return WorkerHealth("starting", is_live=True, is_ready=False, reason="it starts")
        return self._run.health()

    @property
    def executor_count(self) -> int:
        """The current number of executors; 0 before `start`."""
        return 0 if self._run is None else self._run.executor_count

    def progress(self) -> dict[str, list[Progress]]:
        """Return the progress that the jobs in hand have reported, by the names of their tasks."""
        found: dict[str, list[Progress]] = {}
        for run in [] if self._run is None else self._run.runs:
            for held in run.hands.all():
                if held.progress is not None:
                    found.setdefault(held.job.task, []).append(held.progress)
        return found

    def tally(self) -> dict[str, float]:
        """Return the counts of the worker's work in all queues since its start, by name."""
        found: dict[str, float] = {}
        for tally in self.tallies().values():
            for name, count in tally.items():
                found[name] = found.get(name, 0) + count
        return found

    def tallies(self) -> dict[str, dict[str, float]]:
        """Return the counts of the worker's work in each queue, by the path of the queue."""
        places = [] if self._run is None else self._run.places
        return {place.served.root: place.tally.as_dict() for place in places}


def _settings_of(
    hosts: str | ConnectionSettings, session_timeout_ms: int, connect_timeout_ms: int
) -> ConnectionSettings:
    if isinstance(hosts, ConnectionSettings):
        return hosts
    return ConnectionSettings(
        hosts, session_timeout_ms=session_timeout_ms, connect_timeout_ms=connect_timeout_ms
    )


def _place(
    hosts: ConnectionSettings, options: Mapping[str, WorkerQueue], loader: str | None
) -> tuple[ConnectionSettings, tuple[ServedQueue, ...]]:
    """Return the settings of the connection, without a chroot, and the queues."""
    served = served_queues(options, loader, lambda path: hosts.moving_chroot(path)[1])
    return hosts.moving_chroot(paths.ROOT)[0], served


def _of_this_process() -> dict[str, Any]:
    """Return the settings of executors that are the same for all workers of this process."""
    return {
        "import_paths": absolute_paths(sys.path),
        "log_level": logging.getLogger().getEffectiveLevel(),
        "output_token": uuid.uuid4().hex,
        "opener": OPENER,
    }


def _step_of(name: str | None) -> Callable[[str, list[str]], object] | None:
    return None if name is None else load_function(name, STEPS)


def _security(
    tasks: Sequence[str] | None,
    loaders: Sequence[str] | None,
    signing_keys: KeysPath | None,
    *,
    accept_unsigned: bool,
) -> Security:
    if accept_unsigned and signing_keys is None:
        raise InvalidJobError("accept_unsigned is only for a worker with signing_keys")
    return Security(AllowLists(tasks, loaders), signing_keys, accept_unsigned)


def _of_queues(
    connection: ConnectionSettings,
    served: Sequence[ServedQueue],
    options: Mapping[str, WorkerQueue],
    stores: Mapping[str, str],
    security: Security,
) -> dict[str, Any]:
    """Return what executors need for the jobs of each queue, and to check jobs again."""
    allowed = security.allowed
    loader_of = {one.tag: options[one.path].loader for one in served}
    queues = {
        one.tag: queue_as_json(
            connection,
            one.root,
            result_stores=stores,
            signing_keys=security.signing_keys,
            loaders=allowed.loaders,
        )
        for one in served
    }
    return {
        "queues": queues,
        "queue_loaders": {tag: name for tag, name in loader_of.items() if name is not None},
        "tasks": allowed.tasks,
        "loaders": allowed.loaders,
    }


def _checked_tags(tags: Sequence[str]) -> frozenset[str]:
    if not are_tags(tags):
        raise InvalidJobError(
            f"tags {tags!r} are not a list of up to {TAGS_LIMIT} texts of up to"
            f" {TAG_LIMIT_CHARACTERS} characters"
        )
    return frozenset(tags)


def _check_options(counts: dict[str, int], *, threads: bool, **options: int | None) -> None:
    """Check counts, and the options that are only for executors in processes, by name.

    Raises:
        InvalidJobError: an option is out of range, or the executors are threads.
        ExecutorError: tasks cannot run in processes on this system, or the system does not report
            the memory of processes.
    """
    if min(counts.values()) < 1:
        raise InvalidJobError("a worker needs at least 1 executor and room for 1 group")
    if options["async_concurrency"] is not None and options["attempt_memory_mib"] is not None:
        raise InvalidJobError(
            "attempt_memory_mib needs async_concurrency=1: attempts that run at the same time"
            " share the memory of one process"
        )
    if sys.platform == "win32" and not threads:
        raise ExecutorError(f"{needs_posix('a worker')} A Worker with threads=True does, too.")
    for name, value in options.items():
        if value is None:
            continue
        if value < 1:
            raise InvalidJobError(f"{name} is {value}: it must be at least 1")
        if threads:
            raise InvalidJobError(f"{name} is only for executors in processes, not for threads")
        if name.endswith("_mib") and not memory_limit.is_supported():
            raise ExecutorError(f"{name} needs Linux, with the processes' children in /proc")
