"""The form of a decorated task, as the executors see it.

An executor imports a function by the name of the task. If it finds a `DecoratedTask`, it calls the
task by `run`; any other function is called as ``function(group, parameters)``. This module imports
nothing of zoolet.
"""

from collections.abc import Mapping
from typing import Any


class DecoratedTask:
    """A function that was decorated with `zoolet.jobs.task`."""

    def run(self, group: object, parameters: Mapping[str, Any]) -> Any:
        """Call the function with the arguments in ``parameters``, by name; return its result."""
        raise NotImplementedError

    def run_in_loop(self, group: object, parameters: Mapping[str, Any]) -> Any:
        """Call the function in an event loop with other attempts; a coroutine may be returned."""
        return self.run(group, parameters)

    def is_retried(self, error: Exception) -> bool:
        """Return whether the job is tried again after the function raised this error."""
        raise NotImplementedError
