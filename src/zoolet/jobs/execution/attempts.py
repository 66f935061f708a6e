"""One attempt at a job: its data is loaded, its task run, and what comes of it is JSON or an error.

This is all that runs in an executor, in a thread of the worker or in a process of its own. Imports
the job system's cache, tasks and records, and nothing that talks to a server.
"""

import copy
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

from zoolet.jobs.errors import FunctionNotFoundError, InvalidJobError
from zoolet.jobs.execution.cache import GroupCache
from zoolet.jobs.execution.functions import LOADERS, TASKS, load_function
from zoolet.jobs.execution.logs import Label
from zoolet.jobs.records.error_texts import KEPT_CHARACTERS, describe
from zoolet.jobs.records.job_names import Group
from zoolet.jobs.records.json_values import EncodedJson, encode_json
from zoolet.jobs.records.texts import cut_middle

Task = Callable[..., Any]
"""Called with the group and the parameters; returns JSON."""

GO, SKIP = b"g", b"s"
"""What a worker tells a process of the next job it gave it: attempt it, or pass it over."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How executors are set up: what they load, and how much of it they keep.

    Attributes:
        loader: name of the function that loads a group; None where tasks get no data.
        cache_groups: how many loaded groups are kept.
        cache_bytes: how many bytes they have together; None is without a limit.
        import_paths: where to import from, as the worker does.
        log_level: records of ``logging`` below this level are left out.
        output_token: what frames in the output begin with (`zoolet.jobs.execution.capture`).
    """

    loader: str | None = None
    cache_groups: int = 8
    cache_bytes: int | None = None
    import_paths: tuple[str, ...] = ()
    log_level: int = logging.INFO
    output_token: str = ""

    def encode(self) -> bytes:
        """Return it as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read what `encode` wrote."""
        found = json.loads(value)
        return cls(**(found | {"import_paths": tuple(found["import_paths"])}))


@dataclass(frozen=True, slots=True)
class Work:
    """What an executor has to know of a job."""

    name: str
    task: str
    dataset: str | None
    groupid: str | None
    parameters: dict[str, Any]
    timeout_ms: int | None
    careful: bool = False
    attempt: int = 1

    @property
    def label(self) -> Label:
        """What records of the log about its attempt begin with."""
        return Label(self.name, self.task, self.attempt)

    @property
    def group(self) -> Group | None:
        """The data that the job is about; None for a job without data."""
        if self.dataset is None or self.groupid is None:
            return None
        return self.dataset, self.groupid

    def as_list(self) -> list[Any]:
        """Return its attributes in their order."""
        return [getattr(self, name) for name in self.__slots__]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        result: what the task returned. None if the attempt failed, or the result is stored.
        error: what the attempt failed with, as text; None if it did not fail.
        details: the error at more length, for the log.
        last_lines: the end of what the attempt printed and logged, if that is known.
        is_task_missing: whether the task could not be imported, so that it was not started.
    """

    result: EncodedJson | None = None
    error: str | None = None
    details: str = ""
    last_lines: str = ""
    is_task_missing: bool = False


class Listener(Protocol):
    """Is told how an attempt comes on."""

    def begun(self) -> None:
        """Its task, or its data, is about to be loaded; not told where both are there."""

    def started(self, cache_hit: bool | None, dropped: tuple[Group, ...]) -> None:
        """Its task is about to be called.

        ``cache_hit`` is whether its data was there, None where there is none; ``dropped`` are the
        groups that are not kept any more.
        """


class Attempter:
    """Makes attempts, with one cache; may be used by several threads.

    Raises:
        FunctionNotFoundError: the loader cannot be imported.
    """

    def __init__(self, setup: Setup) -> None:
        self.cache: GroupCache | None = None
        if setup.loader is not None:
            loader = load_function(setup.loader, LOADERS)
            self.cache = GroupCache(loader, setup.cache_groups, setup.cache_bytes)
        self._tasks: dict[str, Task] = {}

    def attempt(self, work: Work, listener: Listener) -> Outcome:
        """Make an attempt; whatever a task or loader raises, SystemExit too, is its error."""
        try:
            return self._attempt(work, listener)
        except BaseException as error:  # noqa: BLE001 -- it is the attempt's and nothing else's
            short, full = describe(error)
            return Outcome(error=short, details=full)

    def _attempt(self, work: Work, listener: Listener) -> Outcome:
        if not self._is_ready(work):
            listener.begun()
            if (missing := self._load_task(work.task)) is not None:
                return missing
        group: Any = None
        if self.cache is None or work.group is None:
            listener.started(None, ())
        else:
            group, cache_hit, dropped = self.cache.get(*work.group)
            listener.started(cache_hit, dropped)
        # A copy, so that a task that changes its parameters does not change the job's record.
        result = self._tasks[work.task](group, copy.deepcopy(work.parameters))
        try:
            # Once, and here, where what the result's own classes do can fail only this attempt.
            return Outcome(encode_json("the result", result))
        except InvalidJobError as error:
            return Outcome(error=f"the task's result cannot be kept: {error}"[:KEPT_CHARACTERS])

    def _load_task(self, name: str) -> Outcome | None:
        """Import a task if that was not done; return the outcome of the attempt if it cannot be."""
        if name in self._tasks:
            return None
        try:
            self._tasks[name] = load_function(name, TASKS)
        except FunctionNotFoundError as error:
            _, full = describe(error)
            return Outcome(
                error=cut_middle(str(error), KEPT_CHARACTERS), details=full, is_task_missing=True
            )
        return None

    def _is_ready(self, work: Work) -> bool:
        if work.task not in self._tasks:
            return False
        return self.cache is None or work.group is None or work.group in self.cache.held()
