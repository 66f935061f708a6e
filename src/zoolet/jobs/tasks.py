"""Tasks and loaders: functions found by name, never unpickled.

A name is ``module:function`` (attributes of attributes too: ``module:Class.method``), or that of
an entry point of an installed package. Imports the job system's errors.
"""

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from zoolet.jobs.errors import FunctionNotFoundError

TASKS = "zoolet.tasks"
"""Entry point group of tasks, called as ``task(group, parameters)``; they return JSON."""
LOADERS = "zoolet.loaders"
"""Entry point group of loaders, called as ``loader(dataset, groupid)``; they return a group."""

STEPS = "zoolet.steps"
"""Entry point group of step hooks, called as ``hook(step, names)`` with the names of jobs."""


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
