"""The loaders of users that descriptions of datasets name: ``module:function``.

The function, which may be a class, is called without arguments, and returns an object with the
methods of `zoolet.jobs.loaders.groups.Loader`. Invariant: a loader that is not allowed is not
imported. This module imports `zoolet.jobs.errors`, `zoolet.jobs.loaders`, `zoolet.jobs.records` and
other modules of its package.
"""

import threading
from typing import cast

from zoolet.jobs.errors import DatasetError
from zoolet.jobs.execution.functions import LOADERS, load_function
from zoolet.jobs.loaders.groups import Loader
from zoolet.jobs.records.allow_lists import AllowLists


class UserLoaders:
    """Finds loaders, and calls each function one time. Any thread may use it."""

    def __init__(self, allowed: AllowLists) -> None:
        self._allowed = allowed
        self._lock = threading.Lock()
        self._found: dict[str, Loader] = {}

    def check(self, name: str) -> None:
        """Raise DatasetError if a loader, of a user or built-in, is not allowed."""
        refusal = self._allowed.of_loader(name)
        if refusal is not None:
            raise DatasetError(refusal)

    def find(self, name: str) -> Loader:
        """Return the loader of this name.

        Raises:
            DatasetError: the loader is not allowed, or lacks a method.
            FunctionNotFoundError: the function cannot be imported.
        """
        self.check(name)
        with self._lock:
            if name not in self._found:
                self._found[name] = self._load(name)
            return self._found[name]

    def _load(self, name: str) -> Loader:
        function = load_function(name, LOADERS)
        refusal = self._allowed.of_function(name, function, self._allowed.loaders)
        if refusal is not None:
            raise DatasetError(refusal)
        loader = function()
        for method in ("list_groups", "load"):
            if not callable(getattr(loader, method, None)):
                raise DatasetError(
                    f"the loader {name} has no method {method}: the function must return an object"
                    " with the methods list_groups and load"
                )
        return cast("Loader", loader)
