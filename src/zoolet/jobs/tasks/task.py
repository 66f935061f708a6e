"""`task`, the decorator that makes a function a task whose jobs are submitted like a call.

A decorated function is still called as a function, and then runs here. Its method ``submit`` has
the same arguments, and submits a job. This module imports `zoolet.jobs.context`,
`zoolet.jobs.dispatcher`, `zoolet.jobs.records` and other modules of its package.
"""

from collections.abc import Callable
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    overload,
)

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.tasks.base import BaseTask
from zoolet.jobs.tasks.batched import BatchedTask
from zoolet.jobs.tasks.options import TaskOptions, Text

if TYPE_CHECKING:
    from zoolet.jobs.dispatcher.batch import Batch
    from zoolet.jobs.dispatcher.dispatcher import Dispatcher

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
G = TypeVar("G")
G_contra = TypeVar("G_contra", contravariant=True)


class Task(BaseTask, Generic[P, R_co]):
    """A decorated function without a group; see `task`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function here."""
        result: R_co = self.function(*args, **kwargs)
        return result

    def request(self, *args: P.args, **kwargs: P.kwargs) -> JobRequest:
        """Return the request for a job with these arguments, for `Dispatcher.submit_batch`.

        Raises:
            TypeError: the function cannot be called with these arguments.
            InvalidJobError: an argument is not JSON; the message names the argument.
        """
        return self._request(args, kwargs)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> "Batch":
        """Submit a job with the current dispatcher; return a batch that has only this job.

        The current dispatcher is the one of the innermost ``with Dispatcher(...):`` in the same
        thread. In a task, it is `CurrentJob.dispatcher` unless there is such a ``with``.

        Raises:
            TypeError: the function cannot be called with these arguments.
            InvalidJobError: an argument is not JSON; the message names the argument.
            JobError: there is no current dispatcher.
            JobTimeoutError: the server did not reply in time.
        """
        return self._submit(None, args, kwargs)

    def submit_to(self, dispatcher: "Dispatcher", /, *args: P.args, **kwargs: P.kwargs) -> "Batch":
        """Submit a job with this dispatcher; see `submit`."""
        return self._submit(dispatcher, args, kwargs)


class GroupTask(BaseTask, Generic[G_contra, P, R_co]):
    """A decorated function whose first argument is the loaded group; see `task`.

    Its methods are those of `Task`. Only a call passes the group.
    """

    def __call__(self, group: G_contra, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function here, with a group."""
        result: R_co = self.function(group, *args, **kwargs)
        return result

    def request(self, *args: P.args, **kwargs: P.kwargs) -> JobRequest:
        """Return the request for a job with these arguments; see `Task.request`."""
        return self._request(args, kwargs)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> "Batch":
        """Submit a job with the current dispatcher; see `Task.submit`."""
        return self._submit(None, args, kwargs)

    def submit_to(self, dispatcher: "Dispatcher", /, *args: P.args, **kwargs: P.kwargs) -> "Batch":
        """Submit a job with this dispatcher; see `Task.submit`."""
        return self._submit(dispatcher, args, kwargs)


class _TaskDecorator(Protocol):
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


class _GroupTaskDecorator(Protocol):
    def __call__(self, function: Callable[Concatenate[G, P], R], /) -> GroupTask[G, P, R]: ...


class _BatchedTaskDecorator(Protocol):
    def __call__(self, function: Callable[[list[G]], R], /) -> BatchedTask[G, R]: ...


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *, dataset: Text, groupid: Text, **options: Unpack[TaskOptions]
) -> _GroupTaskDecorator: ...
@overload
def task(*, with_group: Literal[True], **options: Unpack[TaskOptions]) -> _GroupTaskDecorator: ...
@overload
def task(
    *, batch: int, batch_wait_ms: int = 0, **options: Unpack[TaskOptions]
) -> _BatchedTaskDecorator: ...
@overload
def task(**options: Unpack[TaskOptions]) -> _TaskDecorator: ...
def task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a task: ``@task`` or ``@task(option=value, ...)``.

    The function stays callable. ``submit(...)`` has the same arguments and submits a job;
    ``request(...)`` returns the `JobRequest`. The arguments must be JSON. docs/jobs-tasks.md
    describes the options.

    With ``dataset`` and ``groupid``, or ``with_group=True``, the first argument of the function is
    the loaded group. The worker passes it; ``submit`` and ``request`` do not have it. In the texts
    ``dataset``, ``groupid`` and ``idempotency_key``, ``{name}`` stands for the argument ``name``.
    Instead of a text, a function is possible, which gets the arguments that it names.

    With ``batch``, the function gets a list with the items of up to ``batch`` jobs, and returns a
    list of results or exceptions in their order. The jobs are those that came within
    ``batch_wait_ms``. ``submit`` and ``request`` have one item: `BatchedTask`.

    Raises:
        InvalidJobError: an option is invalid.
    """
    unknown = sorted(options.keys() - _NAMES)
    if unknown:
        raise InvalidJobError(
            f"task() has no option {unknown[0]}; it has {', '.join(sorted(_NAMES))}"
        )
    if ("dataset" in options) != ("groupid" in options):
        raise InvalidJobError("give task() both dataset= and groupid=, or neither")
    has_group = bool(options.pop("with_group", False)) or "dataset" in options
    batch, wait_ms = options.pop("batch", None), options.pop("batch_wait_ms", 0)
    if batch is not None and has_group:
        raise InvalidJobError(
            "a task with batch= gets no group: its jobs may have different groups"
        )
    kind: Any = GroupTask if has_group else Task

    def decorate(function: Callable[..., Any]) -> Any:
        if batch is not None:
            return BatchedTask(function, options, batch, wait_ms)
        return kind(function, options, has_group=has_group)

    return decorate if function is None else decorate(function)


_NAMES = {
    *TaskOptions.__annotations__, "batch", "batch_wait_ms", "dataset", "groupid", "with_group"
}  # fmt: skip
