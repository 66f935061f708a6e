"""Finds tasks and loaders: functions are found by name, and never unpickled.

A name is ``module:function`` (also ``module:Class.method``), or the name of an entry point of an
installed package. This module imports `zoolet.jobs.errors`.
"""

import importlib
import os
import sys
import sysconfig
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import zoolet
from zoolet.jobs.errors import FunctionNotFoundError

TASKS = "zoolet.tasks"
"""Entry point group of tasks, called as ``task(group, parameters)``; they return JSON."""
LOADERS = "zoolet.loaders"
"""Entry point group of loaders, called as ``loader(dataset, groupid)``; they return a group."""

OPENERS = "zoolet.openers"
"""Entry point group of functions that open the dispatcher of tasks; zoolet has one of its own."""

HOOKS = "zoolet.hooks"
"""Entry point group of classes of hooks, called without arguments (`zoolet.jobs.JobHooks`)."""
STEPS = "zoolet.steps"
"""Entry point group of step hooks, called as ``hook(step, names)``; ``names`` are names of jobs."""


def absolute_paths(paths: Sequence[str]) -> tuple[str, ...]:
    """Return entries of `sys.path` as absolute paths, including the directory of zoolet."""
    found = [os.path.abspath(path) for path in paths]  # noqa: PTH100 -- "" is the working directory
    own = str(Path(zoolet.__file__).absolute().parents[1])
    return tuple(dict.fromkeys([*found, own]))


def load_function(name: str, group: str) -> Callable[..., Any]:
    """Return the function of this name; a name without ":" is looked up in the entry points.

    Raises:
        FunctionNotFoundError: the function cannot be imported or called; the message says why.
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
    # The import system caches the contents of directories.
    importlib.invalidate_caches()
    before = set(sys.modules)
    try:
        imported = importlib.import_module(module)
    # A module may raise any exception while it is imported. The message quotes the exception.
    except _IMPORT_ERRORS as error:
        _forget(set(sys.modules) - before)
        raise FunctionNotFoundError(
            f"the {kind} {name!r} cannot be imported: {type(error).__name__}: {error}. Is its"
            " module installed, or in a directory given as --import-path?"
        ) from error
    try:
        return _attribute(imported, attributes)
    except AttributeError as error:
        try:
            return _attribute(_import_again(module), attributes)
        except _IMPORT_ERRORS:
            raise FunctionNotFoundError(
                f"the {kind} {name!r} cannot be imported: {error}"
            ) from error


_IMPORT_ERRORS = (Exception, SystemExit)


def _attribute(found: Any, attributes: str) -> Any:
    for attribute in attributes.split("."):
        found = getattr(found, attribute)
    return found


def _import_again(name: str) -> Any:
    """Import a module again, because its file may have changed since the first import.

    Functions that were loaded from the older version stay as they are. Modules of Python itself,
    and modules that are not Python files, are not imported again.
    """
    old = sys.modules[name]
    file = getattr(old, "__file__", None) or ""
    if not file.endswith(".py") or file.startswith(_STDLIB):
        return old
    del sys.modules[name]
    try:
        return importlib.import_module(name)
    except BaseException:
        sys.modules[name] = old
        raise


_STDLIB = sysconfig.get_paths()["stdlib"]


def _forget(names: Collection[str]) -> None:
    """Remove modules from `sys.modules` that a failed import has loaded; a retry reloads them."""
    for name in names:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None) or ""
        if file.endswith(".py") and not file.startswith(_STDLIB):
            del sys.modules[name]


def _entry_point(kind: str, name: str, group: str) -> Any:
    from importlib.metadata import entry_points  # noqa: PLC0415 -- takes 20 ms, is rarely needed

    for point in entry_points(group=group, name=name):
        try:
            return point.load()
        except (Exception, SystemExit) as error:
            raise FunctionNotFoundError(
                f"the {kind} {name!r} ({point.value}) cannot be imported:"
                f" {type(error).__name__}: {error}"
            ) from error
    raise FunctionNotFoundError(
        f"the {kind} {name!r} is neither of the form module:function nor an entry point of the"
        f" group {group}"
    )
