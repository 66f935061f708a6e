"""What all tasks that the decorator makes have in common.

This module imports `zoolet.jobs.context`, `zoolet.jobs.dispatcher`, `zoolet.jobs.records` and other
modules of its package.
"""

import copy
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, Unpack

from zoolet.jobs.context.current_dispatcher import current_dispatcher
from zoolet.jobs.context.decorated_task import DecoratedTask
from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.tasks.arguments import Arguments
from zoolet.jobs.tasks.options import SubmitOptions, is_one_of

if TYPE_CHECKING:
    from zoolet.jobs.dispatcher.batch import Batch
    from zoolet.jobs.dispatcher.dispatcher import Dispatcher

_NOT_IN_REQUEST = ("name", "retry_for", "no_retry_for", "reuse")
_TEXTS = ("dataset", "groupid", "idempotency_key", "limit_key")


class BaseTask(DecoratedTask):
    """A decorated function, without the methods that have its signature.

    Attributes:
        function: the function that was decorated.
        options: the options.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        options: Mapping[str, Any],
        *,
        has_group: bool,
        signature_of: Callable[..., Any] | None = None,
    ) -> None:
        self._name_like(function)
        self.function = function
        self.options = dict(options)
        self._has_group = has_group
        self._arguments = Arguments(signature_of or function, has_group=has_group)
        self._arguments.name = getattr(function, "__qualname__", repr(function))
        for option in _TEXTS:
            self._arguments.check_template(option, options.get(option))

    def _name_like(self, function: Callable[..., Any]) -> None:
        wrapper: Any = self
        functools.update_wrapper(wrapper, function)

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same function; `task_name` compares tasks."""
        return isinstance(other, BaseTask) and other.function is self.function

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
