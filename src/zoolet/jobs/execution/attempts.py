"""One attempt at a job: its data is loaded, and its task is run; the outcome is JSON or an error.

Executors run this code in a thread of the worker or in a process of their own. This module imports
`zoolet.console`, `zoolet.jobs.context`, `zoolet.jobs.errors`, `zoolet.jobs.records` and other
modules of its package, and nothing that sends requests to a server.
"""

import copy
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from json.encoder import encode_basestring_ascii
from types import CoroutineType
from typing import Any, NamedTuple, Protocol, Self

from zoolet.jobs.context.current_job import CurrentJob, begin_job, end_job
from zoolet.jobs.context.decorated_task import DecoratedTask
from zoolet.jobs.context.task_dispatcher import TaskDispatcher
from zoolet.jobs.errors import FunctionNotFoundError, InvalidJobError, Retry
from zoolet.jobs.execution.cache import GroupCache, Loader
from zoolet.jobs.execution.functions import LOADERS, OPENERS, TASKS, load_function
from zoolet.jobs.execution.logs import Label
from zoolet.jobs.execution.soft_timeouts import soft_timeout
from zoolet.jobs.execution.work_names import job_name_of, tag_of
from zoolet.jobs.records.allow_lists import AllowLists
from zoolet.jobs.records.error_texts import KEPT_CHARACTERS, describe
from zoolet.jobs.records.job_names import Group
from zoolet.jobs.records.json_values import EncodedJson, encode_json
from zoolet.jobs.records.progress import Progress
from zoolet.jobs.records.small_values import is_plain_object, small_object_text
from zoolet.jobs.records.task_names import MERGE_TASK
from zoolet.jobs.records.texts import cut_middle

Task = Callable[..., Any]
"""A task is called with the group and the parameters, and returns JSON."""

GO, SKIP = b"g", b"s"
"""The turns: a worker tells an executor's process to attempt the next sent job, or to skip it."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings of an executor.

    Attributes:
        loader: the name of the function that loads a group; None if tasks get no data.
        cache_groups: the number of loaded groups that the cache keeps.
        cache_bytes: the limit, in bytes, of all groups in the cache; None for no limit.
        import_paths: the directories to import from, as in the worker's `sys.path`.
        log_level: the least level of ``logging`` records that are sent to the worker.
        output_token: the token at the beginning of each frame in the output
            (`zoolet.jobs.execution.capture`).
        opener: the name of the function that opens the dispatcher of tasks, called with a value of
            ``queues``; None if tasks have no dispatcher.
        queues: what the opener needs to open the dispatcher of a queue, as a JSON object, by the
            tag of the queue (`zoolet.jobs.execution.work_names`).
        queue_loaders: the names of other loaders than ``loader``, by the tag of their queue.
        async_concurrency: the number of attempts that the executor makes at the same time.
        tasks, loaders: the patterns of the functions that jobs may name (`AllowLists`). The worker
            checks jobs before the executor gets them; the executor checks again, also what it has
            imported.
        attempt_memory_bytes: the limit of the memory of the executor's processes during an attempt;
            None for no limit.
    """

    loader: str | None = None
    cache_groups: int = 8
    cache_bytes: int | None = None
    import_paths: tuple[str, ...] = ()
    log_level: int = logging.INFO
    output_token: str = ""
    opener: str | None = None
    queues: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    queue_loaders: dict[str, str] = field(default_factory=dict)
    attempt_memory_bytes: int | None = None
    async_concurrency: int = 1
    tasks: tuple[str, ...] | None = None
    loaders: tuple[str, ...] | None = None

    @property
    def allowed(self) -> AllowLists:
        """The lists of the tasks and loaders that jobs may name."""
        return AllowLists(self.tasks, self.loaders)

    def encode(self) -> bytes:
        """Return the settings as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Return the settings that `encode` has written."""
        found = json.loads(value)
        return cls(**(found | {"import_paths": tuple(found["import_paths"])}))


class Work(NamedTuple):
    """The parts of a job that an executor needs.

    ``name`` begins with the tag of the job's queue (`zoolet.jobs.execution.work_names`).
    A ``careful`` job may start only after the worker has recorded it as RUNNING and permits it.
    """

    name: str
    task: str
    dataset: str | None
    groupid: str | None
    parameters: dict[str, Any]
    timeout_ms: int | None
    careful: bool = False
    attempt: int = 1
    soft_timeout_ms: int | None = None
    source: dict[str, Any] | None = None

    @property
    def job_name(self) -> str:
        """The name of the job in its queue."""
        return job_name_of(self.name)

    @property
    def label(self) -> Label:
        """The label of log records about the attempt."""
        return Label(job_name_of(self.name), self.task, self.attempt)

    @property
    def group(self) -> Group | None:
        """The group of data of the job, as caches name it; None for a job without data."""
        if self.dataset is None or self.groupid is None:
            return None
        return tag_of(self.name) + self.dataset, self.groupid

    @property
    def first_timeout_ms(self) -> int | None:
        """The soft or the hard timeout, whichever is earlier; None without both."""
        return self.timeout_ms if self.soft_timeout_ms is None else self.soft_timeout_ms

    def encode(self) -> str:
        """Return the JSON list of the attributes, in their order."""
        (
            name, task, dataset, groupid, parameters, timeout_ms, careful, attempt, soft_ms, source,
        ) = self  # fmt: skip
        last = "" if source is None else f",{_to_json(source)}"
        return (
            f"[{_text(name)},{_text(task)},{_text(dataset)},{_text(groupid)}"
            f",{small_object_text(parameters) or _to_json(parameters)}"
            f",{'null' if timeout_ms is None else timeout_ms}"
            f",{'true' if careful else 'false'},{attempt}"
            f",{'null' if soft_ms is None else soft_ms}{last}]"
        )


def _text(value: str | None) -> str:
    return "null" if value is None else encode_basestring_ascii(value)


_to_json = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt.

    Attributes:
        result: the result that the task returned; None if the attempt failed, or if the result is
            in the result store.
        error: the error of the attempt, as text; None if the attempt succeeded.
        details: the error with its traceback, for the log; "" if there is none.
        last_lines: the last lines that the attempt printed and logged; "" if they are not known.
        is_task_missing: whether the task could not be imported and was therefore not started.
        is_final: whether the job is not tried again after this error.
        retry_in_ms: the delay before the next attempt, if the task has raised `Retry`.
    """

    result: EncodedJson | None = None
    error: str | None = None
    details: str = ""
    last_lines: str = ""
    is_task_missing: bool = False
    is_final: bool = False
    retry_in_ms: int | None = None


class Listener(Protocol):
    """Receives the progress of an attempt."""

    def begun(self) -> None:
        """The task or its data is about to be loaded; not called if both are loaded already."""

    def started(self, cache_hit: bool | None, dropped: tuple[Group, ...]) -> None:
        """The task is about to be called.

        ``cache_hit`` is whether the data was in the cache, None for a job without data. ``dropped``
        are the groups that the cache has dropped.
        """

    def progressed(self, progress: Progress) -> None:
        """The task has reported its progress."""

    def is_wanted(self) -> bool:
        """Return whether the worker still wants the result of the attempt."""


def _open_dispatcher(opener: str, queue: dict[str, Any]) -> Any:
    """Open the dispatcher of tasks; the import of the client takes 0.15 s of processor time."""
    return load_function(opener, OPENERS)(queue)


def _dispatchers_of(setup: Setup) -> dict[str, TaskDispatcher]:
    """Return the dispatcher of each queue, which is opened when a task uses it."""
    opener = setup.opener
    if opener is None:
        return {tag: TaskDispatcher() for tag in setup.queues or ("",)}
    return {
        tag: TaskDispatcher(partial(_open_dispatcher, opener, queue))
        for tag, queue in setup.queues.items()
    }


def _loaders_of(setup: Setup) -> dict[str, Loader]:
    """Import the loaders, and return that of each queue that has one."""
    tags = setup.queues or ("",)
    names = {} if setup.loader is None else dict.fromkeys(tags, setup.loader)
    names |= setup.queue_loaders
    return {tag: load_function(name, LOADERS) for tag, name in names.items()}


def _outcome_of(error: Exception, task: DecoratedTask | None) -> Outcome:
    """Return the outcome of an attempt whose task has raised an error."""
    if isinstance(error, Retry):
        text = f"{error}: to be tried again in {error.in_s:g} s"
        retry_in_ms = int(error.in_s * 1000)
        return Outcome(error=cut_middle(text, KEPT_CHARACTERS), retry_in_ms=retry_in_ms)
    short, full = describe(error)
    is_final = task is not None and not task.is_retried(error)
    return Outcome(error=short, details=full, is_final=is_final)


def encoded(result: Any) -> Outcome:
    """Return the outcome of an attempt whose task has returned this result."""
    try:
        # The result is encoded here, so an error in the code of its classes fails only this
        # attempt.
        return Outcome(encode_json("the result", result))
    except InvalidJobError as error:
        return Outcome(error=f"the task's result cannot be kept: {error}"[:KEPT_CHARACTERS])


class Attempter:
    """Makes attempts with one cache; several threads may use it.

    Raises:
        FunctionNotFoundError: the loader cannot be imported.
    """

    def __init__(self, setup: Setup) -> None:
        self._dispatchers = _dispatchers_of(setup)
        self._allowed = setup.allowed
        self.cache = GroupCache(
            _loaders_of(setup), setup.cache_groups, setup.cache_bytes, self._allowed
        )
        self._tasks: dict[str, Task] = {}
        self._decorated: dict[str, DecoratedTask] = {}
        """The tasks that were decorated with `zoolet.jobs.task`."""

    def close(self) -> None:
        """Close the dispatchers that tasks have used."""
        for dispatcher in self._dispatchers.values():
            dispatcher.close()

    def attempt(self, work: Work, listener: Listener) -> Outcome:
        """Make an attempt; each exception of a task or loader, even SystemExit, is its error."""
        try:
            return self._attempt(work, listener)
        except BaseException as error:  # noqa: BLE001 -- the error belongs to the attempt only
            short, full = describe(error)
            return Outcome(error=short, details=full)

    def _attempt(self, work: Work, listener: Listener) -> Outcome:
        group, missing = self.load(work, listener)
        if missing is not None:
            return missing
        token = begin_job(self.current_job(work, listener))
        try:
            result = self.call(work, group)
            if isinstance(result, CoroutineType):
                # The import of asyncio takes 40 ms.
                from zoolet.jobs.execution.async_calls import run_alone  # noqa: PLC0415

                result = run_alone(result, work.soft_timeout_ms)
        except Exception as error:  # noqa: BLE001 -- the error belongs to the attempt only
            return self.outcome_of(error, work)
        finally:
            end_job(token)
        return encoded(result)

    def load(self, work: Work, listener: Listener) -> tuple[Any, Outcome | None]:
        """Load the task and the group; return the group, or the outcome of a failed import."""
        if not self._allowed.is_open and (refused := self._refused(work)) is not None:
            return None, refused
        if not self._is_ready(work):
            listener.begun()
            if (missing := self._load_task(work.task)) is not None:
                return None, missing
        group: Any = None
        tag = tag_of(work.name)
        dataset, groupid = work.dataset, work.groupid
        if dataset is None or groupid is None or not self.cache.can_load(work.source, tag):
            listener.started(None, ())
        else:
            group, cache_hit, dropped = self.cache.get(dataset, groupid, work.source, tag)
            listener.started(cache_hit, dropped)
        return group, None

    def current_job(self, work: Work, listener: Listener) -> CurrentJob:
        """Return what the task can find out about its job."""
        has_group = work.dataset is not None and work.groupid is not None
        return CurrentJob(
            work.job_name,
            work.task,
            (work.dataset or "", work.groupid or "") if has_group else None,
            work.attempt,
            work.first_timeout_ms,
            self._dispatchers[tag_of(work.name)],
            listener,
            work_name=work.name,
        )

    def call(self, work: Work, group: Any, *, in_loop: bool = False) -> Any:
        """Call a loaded task; return its result, which is a coroutine for ``async def``."""
        # The task gets a copy: if it changes its parameters, the job's record stays the same. The
        # values of a small object cannot be changed, and copy.deepcopy takes three times as long.
        given = work.parameters
        parameters = dict(given) if is_plain_object(given) else copy.deepcopy(given)
        task = self._tasks[work.task]
        if in_loop and work.task in self._decorated:
            task = self._decorated[work.task].run_in_loop
        if work.soft_timeout_ms is None:
            return task(group, parameters)
        with soft_timeout(work.soft_timeout_ms):
            return task(group, parameters)

    def outcome_of(self, error: Exception, work: Work) -> Outcome:
        """Return the outcome of an attempt whose task has raised an error."""
        return _outcome_of(error, self._decorated.get(work.task))

    def _refused(self, work: Work) -> Outcome | None:
        """Return the outcome of a job whose functions the lists do not allow."""
        refusal = self._allowed.refusal(work.task, work.parameters, work.source)
        if refusal is None and work.task == MERGE_TASK:
            name = str(work.parameters.get("function"))
            try:
                function = load_function(name, TASKS)
            except FunctionNotFoundError:
                return None  # the task raises the same error, which fails the attempt
            refusal = self._allowed.of_function(name, function, self._allowed.tasks)
        return None if refusal is None else Outcome(error=refusal, is_final=True)

    def _load_task(self, name: str) -> Outcome | None:
        """Import a task if necessary; return the outcome if it cannot be imported, else None."""
        if name in self._tasks:
            return None
        try:
            function: Any = load_function(name, TASKS)
        except FunctionNotFoundError as error:
            _, full = describe(error)
            return Outcome(
                error=cut_middle(str(error), KEPT_CHARACTERS), details=full, is_task_missing=True
            )
        refusal = self._allowed.of_function(name, function, self._allowed.tasks)
        if refusal is not None:
            return Outcome(error=refusal, is_final=True)
        if isinstance(function, DecoratedTask):
            self._decorated[name] = function
            self._tasks[name] = function.run
        else:
            self._tasks[name] = function
        return None

    def _is_ready(self, work: Work) -> bool:
        if work.task not in self._tasks:
            return False
        tag = tag_of(work.name)
        dataset, groupid = work.dataset, work.groupid
        if dataset is None or groupid is None or not self.cache.can_load(work.source, tag):
            return True
        return self.cache.has(dataset, groupid, work.source, tag)
