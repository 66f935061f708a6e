"""Returns the name of a task, ``module:function``. Imports `zoolet.jobs.errors`."""

import sys

from zoolet.jobs.errors import InvalidJobError

MERGE_TASK = "zoolet.jobs.execution.merging:merge_results"
"""The task of zoolet that calls a merging function; the parameter ``function`` has its name."""


def task_name(task: object) -> str:
    """Return the name of a task: ``module:function`` for a function; a text is returned unchanged.

    Raises:
        InvalidJobError: the task is neither a function nor a text, or workers cannot import
            the function by its name.
    """
    if isinstance(task, str):
        return task
    module, name = getattr(task, "__module__", None), getattr(task, "__qualname__", None)
    if not callable(task) or not isinstance(module, str) or not isinstance(name, str):
        raise InvalidJobError(
            f"task {task!r} is neither a function nor a name like module:function; if it is"
            " another callable object, such as a functools.partial object, pass a function that"
            " calls the object"
        )
    if "<lambda>" in name:
        raise InvalidJobError(
            f"the task is a lambda of {module}, which no worker can import: define a function with"
            " def at the top level of a module"
        )
    if "<locals>" in name:
        raise InvalidJobError(
            f"the task {name} is a function inside a function, which no worker can import: move the"
            f" function to the top level of {module}"
        )
    if module == "__main__":
        raise InvalidJobError(
            f"the task {name} is in the main program (__main__), which workers do not import: move"
            " the function to a module, and import it from there"
        )
    found: object = sys.modules.get(module)
    for attribute in name.split("."):
        found = getattr(found, attribute, None)
    if found is not task and found != task:
        raise InvalidJobError(
            f"the name {module}:{name} does not lead to the function that was passed as the task:"
            " pass the function that the module has under this name"
        )
    return f"{module}:{name}"
