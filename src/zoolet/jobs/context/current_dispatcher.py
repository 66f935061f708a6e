"""The current dispatcher, which ``task.submit(...)`` uses.

It is the dispatcher of the innermost ``with`` block of the running code. In a task outside of such
a block, it is `CurrentJob.dispatcher`. Imports `zoolet.jobs.errors` and its own package.
"""

from contextvars import ContextVar
from typing import Any

from zoolet.jobs.context.current_job import running_job
from zoolet.jobs.errors import JobError

_entered: ContextVar[tuple[object, ...]] = ContextVar("zoolet_dispatchers", default=())


def enter_dispatcher(dispatcher: object) -> None:
    """Make a dispatcher the current one, in this thread or asynchronous task."""
    _entered.set((*_entered.get(), dispatcher))


def leave_dispatcher(dispatcher: object) -> None:
    """Undo `enter_dispatcher`."""
    _entered.set(tuple(other for other in _entered.get() if other is not dispatcher))


def current_dispatcher() -> Any:
    """Return the current dispatcher.

    Raises:
        JobError: there is none.
    """
    if entered := _entered.get():
        return entered[-1]
    if (job := running_job()) is not None:
        return job.dispatcher
    raise JobError(
        "there is no current dispatcher: call submit inside of `with Dispatcher(...):` and in the"
        " same thread, or call submit_to(dispatcher, ...)"
    )
