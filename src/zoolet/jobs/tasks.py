"""Tasks and loaders: functions found by name, never unpickled.

A name is ``module:function`` (attributes of attributes too: ``module:Class.method``), or that of
an entry point of an installed package. Imports the job system's errors.
"""

import importlib
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from zoolet.jobs.errors import FunctionNotFoundError, InvalidJobError

TASKS = "zoolet.tasks"
"""Entry point group of tasks, called as ``task(group, parameters)``; they return JSON."""
LOADERS = "zoolet.loaders"
"""Entry point group of loaders, called as ``loader(dataset, groupid)``; they return a group."""

STEPS = "zoolet.steps"
"""Entry point group of step hooks, called as ``hook(step, names)`` with the names of jobs."""


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


def load_function(name: str, group: str) -> Callable[..., Any]:
    """Return the function of this name; a plain name is looked up among the entry points.

    Raises:
        FunctionNotFoundError: it cannot be imported or called; the message says why.
    """
    kind = group.removeprefix("zoolet.").removesuffix("s")
    found = _import(kind, name) if ":" in name else _entry_point(kind, name, group)
    function: Callable[..., Any] = found
    if not callable(found):
        raise FunctionNotFoundError(
            f"the {kind} {name!r} is of type {type(found).__name__}, which cannot be called"
        )
    return function


def _import(kind: str, name: str) -> Any:
    module, _, attributes = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    # A module may raise anything while it is imported, and that is what there is to say.
    except (Exception, SystemExit) as error:
        raise FunctionNotFoundError(
            f"the {kind} {name!r} cannot be imported: {type(error).__name__}: {error}. Is its"
            " module installed, or in a directory given as --import-path?"
        ) from error
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise FunctionNotFoundError(
                f"the {kind} {name!r} cannot be imported: {error}"
            ) from error
    return found


def _entry_point(kind: str, name: str, group: str) -> Any:
    for point in entry_points(group=group, name=name):
        try:
            return point.load()
        except (Exception, SystemExit) as error:
            raise FunctionNotFoundError(
                f"the {kind} {name!r} ({point.value}) cannot be imported:"
                f" {type(error).__name__}: {error}"
            ) from error
    raise FunctionNotFoundError(
        f"the {kind} {name!r} is neither written module:function nor an entry point of the group"
        f" {group}"
    )
