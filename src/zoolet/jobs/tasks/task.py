"""`task`, the decorator that makes a function a task whose jobs are submitted like a call.

A decorated function is still called as a function, and then runs here. Its method ``submit`` has
the same arguments, and submits a job. This module imports `zoolet.jobs.context`,
`zoolet.jobs.dispatcher`, `zoolet.jobs.records` and other modules of its package.
"""

import copy
import functools
from collections.abc import Callable, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    Unpack,
    overload,
)

from zoolet.jobs.context.current_dispatcher import current_dispatcher
from zoolet.jobs.context.decorated_task import DecoratedTask
from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.tasks.arguments import Arguments
from zoolet.jobs.tasks.options import SubmitOptions, TaskOptions, Text, is_one_of

if TYPE_CHECKING:
    from zoolet.jobs.dispatcher.batch import Batch
    from zoolet.jobs.dispatcher.dispatcher import Dispatcher

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
G = TypeVar("G")
G_contra = TypeVar("G_contra", contravariant=True)

_NOT_IN_REQUEST = ("name", "retry_for", "no_retry_for", "reuse")
_TEXTS = ("dataset", "groupid", "idempotency_key")


class _Task(DecoratedTask):
    """What tasks with and without a group have in common.

    Attributes:
        function: the function that was decorated.
        options: the options.
    """

    def __init__(
        self, function: Callable[..., Any], options: Mapping[str, Any], *, has_group: bool
    ) -> None:
        self._name_like(function)
        self.function = function
        self.options = dict(options)
        self._has_group = has_group
        self._arguments = Arguments(function, has_group=has_group)
        for option in _TEXTS:
            self._arguments.check_template(option, options.get(option))

    def _name_like(self, function: Callable[..., Any]) -> None:
        wrapper: Any = self
        functools.update_wrapper(wrapper, function)

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same function; `task_name` compares tasks."""
        return isinstance(other, _Task) and other.function is self.function

    def __hash__(self) -> int:
        return hash(self.function)

    def with_options(self, **options: Unpack[SubmitOptions]) -> Self:
        """Return the same task with other options for its jobs."""
        other = copy.copy(self)
        other.options = self.options | options
        return other

    def run(self, group: object, parameters: Mapping[str, Any]) -> Any:
        """Call the function with the arguments in ``parameters``, by name; return its result."""
        args, kwargs = self._arguments.of(parameters)
        return (
            self.function(group, *args, **kwargs)
            if self._has_group
            else self.function(*args, **kwargs)
        )

    def is_retried(self, error: Exception) -> bool:
        """Return whether the job is tried again after the function raised this error."""
        if is_one_of(error, self.options.get("no_retry_for")):
            return False
        wanted = self.options.get("retry_for")
        return wanted is None or is_one_of(error, wanted)

    def _request(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> JobRequest:
        fields = {name: v for name, v in self.options.items() if name not in _NOT_IN_REQUEST}
        parameters = self._arguments.parameters(args, kwargs)
        for option in _TEXTS:
            if option in fields:
                fields[option] = self._arguments.text(fields[option], args, kwargs)
        if self._has_group and "dataset" not in fields:
            raise InvalidJobError(
                f"the task {self._arguments.name} gets a group, and nothing says which: decorate it"
                " with dataset= and groupid=, or pass the task to Dispatcher.map"
            )
        name: Any = self.options.get("name") or self
        return JobRequest(name, parameters=parameters, **fields)

    def _submit(
        self, dispatcher: "Dispatcher | None", args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> "Batch":
        request = self._request(args, kwargs)
        found: Dispatcher = current_dispatcher() if dispatcher is None else dispatcher
        return found.submit_request(request, reuse=self.options.get("reuse"))


class Task(_Task, Generic[P, R_co]):
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


class GroupTask(_Task, Generic[G_contra, P, R_co]):
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


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *, dataset: Text, groupid: Text, **options: Unpack[TaskOptions]
) -> _GroupTaskDecorator: ...
@overload
def task(*, with_group: Literal[True], **options: Unpack[TaskOptions]) -> _GroupTaskDecorator: ...
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

    Raises:
        InvalidJobError: an option is invalid.
    """
    unknown = sorted(options.keys() - _NAMES)
    if unknown:
        raise InvalidJobError(f"task() has no option {unknown[0]}; it has {', '.join(_NAMES)}")
    if ("dataset" in options) != ("groupid" in options):
        raise InvalidJobError("give task() both dataset= and groupid=, or neither")
    has_group = bool(options.pop("with_group", False)) or "dataset" in options
    kind: Any = GroupTask if has_group else Task

    def decorate(function: Callable[..., Any]) -> Any:
        return kind(function, options, has_group=has_group)

    return decorate if function is None else decorate(function)


_NAMES = {**TaskOptions.__annotations__, "dataset": Text, "groupid": Text, "with_group": bool}
