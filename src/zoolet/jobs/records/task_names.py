"""Names of tasks: ``module:function``, as a job has them. Imports the job system's errors."""

import sys

from zoolet.jobs.errors import InvalidJobError


def task_name(task: object) -> str:
    """Return the name of a task: a function's is ``module:function``, a text is a name already.

    Raises:
        InvalidJobError: it is neither, or workers cannot import the function by its name.
    """
    if isinstance(task, str):
        return task
    module, name = getattr(task, "__module__", None), getattr(task, "__qualname__", None)
    if not callable(task) or not isinstance(module, str) or not isinstance(name, str):
        raise InvalidJobError(
            f"task {task!r} is neither a function nor a name like module:function; of an object"
            " that can be called (as functools.partial makes), pass a function that calls it"
        )
    if "<lambda>" in name:
        raise InvalidJobError(
            f"the task is a lambda of {module}, which no worker can import: write it as a function"
            " with def at the top level of a module"
        )
    if "<locals>" in name:
        raise InvalidJobError(
            f"the task {name} is a function inside a function, which no worker can import: move it"
            f" to the top level of {module}"
        )
    if module == "__main__":
        raise InvalidJobError(
            f"the task {name} is in the program that was started (__main__), which workers do not"
            " import: move it to a module of its own, and import it from there"
        )
    found: object = sys.modules.get(module)
    for attribute in name.split("."):
        found = getattr(found, attribute, None)
    if found is not task and found != task:
        raise InvalidJobError(
            f"the task {module}:{name} is another object than the one that was passed: pass the"
            " function under the name that its module has for it"
        )
    return f"{module}:{name}"
