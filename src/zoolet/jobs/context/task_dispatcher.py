"""The dispatcher that all tasks of an executor share. Imports `zoolet.jobs.errors`."""

import threading
from collections.abc import Callable
from typing import Any

from zoolet.jobs.errors import JobError

CLOSE_S = 1.0


class TaskDispatcher:
    """Opens a dispatcher when a task uses it first, and keeps it for the next tasks.

    Args:
        open_it: opens the dispatcher; None if the tasks have no queue.
    """

    def __init__(self, open_it: Callable[[], Any] | None = None) -> None:
        self._open_it = open_it
        self._lock = threading.Lock()
        self._dispatcher: Any = None

    def get(self) -> Any:
        """Return the dispatcher.

        Raises:
            JobError: the job runs outside of a worker.
        """
        with self._lock:
            if self._dispatcher is None:
                if self._open_it is None:
                    raise JobError("the job runs without a worker, so it has no dispatcher")
                self._dispatcher = self._open_it()
            return self._dispatcher

    def close(self) -> None:
        """Close the dispatcher if a task has used it."""
        with self._lock:
            dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            dispatcher.close(timeout_s=CLOSE_S)
