"""The options of a task, which `zoolet.jobs.task` and ``with_options`` accept.

This module imports nothing of zoolet.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

Text = str | Callable[..., str | int]
"""A text in which ``{name}`` stands for the argument of this name, or a function that returns the
text; its arguments are those arguments of the task that have the same names."""
Errors = type[Exception] | tuple[type[Exception], ...]


class SubmitOptions(TypedDict, total=False):
    """The options of the jobs of a task; `zoolet.jobs.JobRequest` describes the others.

    Attributes:
        idempotency_key: the text that identifies the work.
        limit_key: the key by which limits of the queue count the job.
        reuse: as in `Dispatcher.submit_batch`.
    """

    priority: int
    max_attempts: int
    backoff_ms: int
    jitter_percent: int
    timeout_ms: int | None
    soft_timeout_ms: int | None
    not_before_ms: int | None
    expires_ms: int | None
    idempotency_key: Text | None
    limit_key: Text | None
    tags: Sequence[str]
    reuse: bool | None


class TaskOptions(SubmitOptions, total=False):
    """The options of a task.

    Attributes:
        name: the name of the task; the default is ``module:function``. Workers must find the
            decorated function under this name.
        retry_for: if given, the job is tried again only after these exceptions.
        no_retry_for: the job is not tried again after these exceptions.
    """

    name: str
    retry_for: Errors
    no_retry_for: Errors


def is_one_of(error: Exception, errors: Any) -> bool:
    """Return whether an error is of one of these classes; False if there are no classes."""
    return errors is not None and isinstance(error, errors)
