"""The lists of the tasks and loaders that jobs may name: patterns, which the operator gives.

A job names the functions that run it: its task, the merging function of a reduction, and the loader
in its source. Invariant: a function that the lists do not allow is never imported because of a job.

A pattern has the form of a name: ``module:function``, or the name of an entry point or of a
built-in loader. ``*`` stands for any characters, with two exceptions, because a module also has the
names that it imports: in the part after the colon, ``*`` does not match a ``.``, and does not match
a ``_`` at the start. This module imports other modules of its package.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records.job_values import TASK_LIMIT_CHARACTERS, is_text
from zoolet.jobs.records.task_names import MERGE_TASK

PATTERNS_LIMIT = 1000
"""The most patterns of a list."""


@dataclass(frozen=True, slots=True)
class AllowLists:
    """The patterns of the functions that jobs may name.

    Attributes:
        tasks: the patterns of tasks and of merging functions; None: all are allowed.
        loaders: the patterns of loaders in descriptions of datasets. None: if ``tasks`` is None,
            all are allowed, and otherwise only the built-in loaders.
    """

    tasks: Sequence[str] | None = None
    loaders: Sequence[str] | None = None
    _is_open: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("tasks", "loaders"):
            patterns: Any = getattr(self, name)
            if patterns is not None:
                object.__setattr__(self, name, _checked(name, patterns))
        object.__setattr__(self, "_is_open", self.tasks is None and self.loaders is None)

    @property
    def is_open(self) -> bool:
        """Whether jobs may name all functions."""
        return self._is_open

    def refusal(
        self, task: str, parameters: Mapping[str, Any], source: Mapping[str, Any] | None
    ) -> str | None:
        """Return why a job may not name its functions; None if it may name all of them."""
        if self._is_open:
            return None
        if task != MERGE_TASK:
            refusal = self.of_task(task)
        else:
            # The task of zoolet that merges results imports the function that the job names.
            function = parameters.get("function")
            refusal = self.of_task(function) if isinstance(function, str) else None
        loader = None if source is None else source.get("loader")
        if refusal is None and isinstance(loader, str):
            refusal = self.of_loader(loader)
        return refusal

    def of_task(self, name: str) -> str | None:
        """Return why jobs may not name this task or merging function; None if they may."""
        if self.tasks is None or _matches(self.tasks, name):
            return None
        return f"the task {_short(name)} is not allowed by --tasks {_listed(self.tasks)}"

    def of_loader(self, name: str) -> str | None:
        """Return why jobs may not name this loader; None if they may."""
        if self.loaders is not None:
            if _matches(self.loaders, name):
                return None
            return f"the loader {_short(name)} is not allowed by --loaders {_listed(self.loaders)}"
        if self.tasks is None or ":" not in name:
            return None
        return (
            f"the loader {_short(name)} is not allowed: with --tasks and without --loaders, only"
            " built-in loaders are allowed"
        )

    def of_function(
        self, name: str, function: object, patterns: Sequence[str] | None
    ) -> str | None:
        """Return why a function that was imported under an allowed name may not be called.

        A pattern with ``*`` allows the functions that the module or its package defines. A function
        that the module has only imported needs its exact name in the list.
        """
        if patterns is None or name in patterns or ":" not in name:
            return None
        module = name.partition(":")[0]
        home = getattr(function, "__module__", None)
        if isinstance(home, str) and home.partition(".")[0] == module.partition(".")[0]:
            return None
        return (
            f"{_short(name)} is not defined in {_short(module)}, but in {home}: a pattern with *"
            " does not allow it. If jobs may call it, allow its exact name"
        )


def _checked(name: str, patterns: Any) -> tuple[str, ...]:
    is_list = isinstance(patterns, list | tuple) and len(patterns) <= PATTERNS_LIMIT
    if not is_list or not all(_is_pattern(pattern) for pattern in patterns):
        raise InvalidJobError(
            f"{name} {patterns!r:.200} are not a list of up to {PATTERNS_LIMIT} patterns like"
            " mail:*"
        )
    return tuple(patterns)


def _is_pattern(pattern: object) -> bool:
    return (
        isinstance(pattern, str)
        and is_text(pattern)
        and 0 < len(pattern) <= TASK_LIMIT_CHARACTERS
        and pattern.count(":") <= 1
    )


def _matches(patterns: Sequence[str], name: str) -> bool:
    return _regex(tuple(patterns)).fullmatch(name) is not None


@lru_cache(maxsize=100)
def _regex(patterns: tuple[str, ...]) -> re.Pattern[str]:
    # (?!) matches nothing: an empty list allows nothing.
    return re.compile("|".join([_one(pattern) for pattern in patterns]) or "(?!)")


def _one(pattern: str) -> str:
    module, colon, function = pattern.partition(":")
    before = _glob(module, "[^:]")
    if not colon:
        return before
    parts = []
    for part in function.split("."):
        hidden = "(?!_)" if part.startswith("*") else ""
        parts.append(hidden + _glob(part, "[^.:]"))
    return f"{before}:{'[.]'.join(parts)}"


def _glob(pattern: str, character: str) -> str:
    """Return a regular expression whose time is linear in the length of the name.

    Each text between two stars is matched where it first occurs: a later place is never needed.
    """
    first, *others = map(re.escape, pattern.split("*"))
    if not others:
        return first
    between = [f"(?>{character}*?{text})" for text in others[:-1]]
    return f"{first}{''.join(between)}{character}*{others[-1]}"


def _short(name: str) -> str:
    return ascii(name)[:100]


def _listed(patterns: Sequence[str]) -> str:
    return ", ".join(patterns)[:200] or "(nothing)"
