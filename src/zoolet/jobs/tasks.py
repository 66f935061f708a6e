"""Tasks and loaders: importable functions, named and never pickled."""

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from zoolet.jobs.errors import TaskError

Task = Callable[[Any, dict[str, Any]], Any]
"""``task(group, parameters)`` returns a JSON value."""

Loader = Callable[[str, str], Any]
"""``loader(dataset, groupid)`` returns the group, which tasks may read and must not change."""

TASK_ENTRY_POINTS = "zoolet.tasks"
LOADER_ENTRY_POINTS = "zoolet.loaders"


def find_task(name: str) -> Task:
    """Return the task that ``module:function``, or an entry point, names; raises TaskError."""
    return _find(name, TASK_ENTRY_POINTS)


def find_loader(name: str) -> Loader:
    """Return the loader that ``module:function``, or an entry point, names; raises TaskError."""
    return _find(name, LOADER_ENTRY_POINTS)


def _find(name: str, entry_point_group: str) -> Callable[..., Any]:
    for entry_point in entry_points(group=entry_point_group, name=name):
        return _callable(name, _imported(name, entry_point.load))
    module, colon, function = name.partition(":")
    if not colon or not module or not function:
        raise TaskError(
            f"{name!r} names no function: write module:function, or the name of an entry point of"
            f" the group {entry_point_group}"
        )
    found = _imported(name, lambda: importlib.import_module(module))
    for attribute in function.split("."):
        if not hasattr(found, attribute):
            raise TaskError(f"{name!r} cannot be imported: {module} has no {function}")
        found = getattr(found, attribute)
    return _callable(name, found)


def _imported(name: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:
        raise TaskError(
            f"{name!r} cannot be imported: {error or type(error).__name__}. Is its module on this"
            " worker's import path (zoolet worker --import-path)?"
        ) from error


def _callable(name: str, found: Any) -> Callable[..., Any]:
    if not callable(found):
        raise TaskError(f"{name!r} is a {type(found).__name__}, not a function")
    result: Callable[..., Any] = found
    return result
