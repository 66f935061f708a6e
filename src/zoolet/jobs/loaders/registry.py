"""The table of the loaders: their names, their modules, the packages they need, their options.

This module imports no optional package. It imports `zoolet.console`, `zoolet.jobs.errors`,
`zoolet.jobs.records` and other modules of its package.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from zoolet.console.extras import advice, missing
from zoolet.jobs.errors import DatasetError, InvalidJobError
from zoolet.jobs.loaders.groups import Loader, LoaderInfo, Option
from zoolet.jobs.records.job_values import TASK_LIMIT_CHARACTERS
from zoolet.jobs.records.json_values import plain_json

VERSION = "version"
BY_CONTENT = "content"
_OF_FILES: Final = {
    VERSION: Option(
        "stat",
        "what a group's version is made of: stat (size and time of change) or content (a hash)",
        choices=("stat", BY_CONTENT),
    )
}
_OF_LINES: Final = _OF_FILES | {
    "bytes_per_group": Option(
        64 * 1024 * 1024,
        "the size of a group, in bytes; 0: one group for each file",
    ),
    "encoding": Option("utf-8", "the encoding of the files"),
}
_PACKAGE: Final = "zoolet.jobs.loaders"
_PATTERN: Final = Option("*", "the names of the files in a directory, as a glob pattern")

LOADERS: Final[Mapping[str, LoaderInfo]] = {
    "parquet": LoaderInfo(
        f"{_PACKAGE}.parquet",
        "pyarrow",
        has_columns=True,
        has_files=True,
        options=_OF_FILES | {"pattern": _PATTERN._replace(default="*.parquet")},
    ),
    "csv": LoaderInfo(
        f"{_PACKAGE}.csv_files",
        None,
        has_columns=True,
        has_files=True,
        options=_OF_LINES
        | {
            "pattern": _PATTERN._replace(default="*.csv"),
            "delimiter": Option(",", "the character between two fields"),
        },
    ),
    "jsonl": LoaderInfo(
        f"{_PACKAGE}.json_lines",
        None,
        has_columns=True,
        has_files=True,
        options=_OF_LINES | {"pattern": _PATTERN._replace(default="*.jsonl")},
    ),
    "files": LoaderInfo(
        f"{_PACKAGE}.whole_files",
        None,
        has_columns=False,
        has_files=True,
        options=_OF_FILES | {"pattern": _PATTERN},
    ),
    "root": LoaderInfo(
        f"{_PACKAGE}.root_files",
        "uproot",
        has_columns=True,
        has_files=True,
        options=_OF_FILES
        | {
            "pattern": _PATTERN._replace(default="*.root"),
            "tree": Option(None, "the name of the tree in each file"),
            "entries_per_group": Option(1_000_000, "the number of entries of a group", least=1),
        },
    ),
    "sql": LoaderInfo(
        f"{_PACKAGE}.sql_query",
        "sqlalchemy",
        has_columns=True,
        has_files=False,
        options={
            "table": Option(None, "the name of the table or view, schema.name or name"),
            "key": Option(None, "the column whose ranges are the groups; it should have an index"),
            "rows_per_group": Option(100_000, "the number of rows of a group", least=1),
            "version_column": Option("", "a column whose greatest value changes with the rows"),
        },
    ),
}
"""The built-in loaders by name."""
_OF_USERS: Final = LoaderInfo("", None, has_columns=True, has_files=False)
FindLoader = Callable[[str], Loader]
"""Returns the loader of a user by its name, and imports it if necessary."""


def loader_info(name: str) -> LoaderInfo:
    """Return what is known about the loader of this name, built-in or ``module:function``.

    Raises:
        InvalidJobError: there is no such loader.
    """
    if is_of_user(name):
        return _OF_USERS
    if name not in LOADERS:
        raise InvalidJobError(
            f"there is no loader {name!r:.200}; the loaders are {', '.join(LOADERS)}, and those of"
            " users have the form module:function"
        )
    return LOADERS[name]


def is_of_user(name: str) -> bool:
    """Return whether a name is that of a user's loader: ``module:function``."""
    return ":" in name and len(name) <= TASK_LIMIT_CHARACTERS


def checked_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a loader, with the defaults of those that are not given.

    Raises:
        InvalidJobError: an option is unknown, missing or has an invalid value.
    """
    known = loader_info(name).options
    if is_of_user(name):
        # Only the loader knows its options.
        return dict(plain_json("options", options))
    for given in options:
        if given not in known:
            raise InvalidJobError(
                f"the loader {name} has no option {given!r}; its options are {', '.join(known)}"
            )
    return {option: _checked(name, option, options, known[option]) for option in known}


def _checked(name: str, option: str, options: Mapping[str, Any], known: Option) -> Any:
    value = options.get(option, known.default)
    wanted = str if known.default is None else type(known.default)
    if value is None:
        raise InvalidJobError(f"the loader {name} needs the option {option}: {known.meaning}")
    if type(value) is not wanted or (isinstance(value, int) and value < known.least):
        raise InvalidJobError(f"the option {option} is {value!r}; it is {known.meaning}")
    if known.choices and value not in known.choices:
        raise InvalidJobError(
            f"the option {option} is {value!r}, which is not one of {', '.join(known.choices)}"
        )
    return value


def import_loader(name: str, find: FindLoader) -> Loader:
    """Return the module of a loader, or the object of a user's loader, which ``find`` returns.

    Raises:
        DatasetError: the package that the loader needs is not installed.
    """
    info = loader_info(name)
    if is_of_user(name):
        return find(name)
    if info.package is not None and missing(info.package) is not None:
        raise DatasetError(f"the loader {name} cannot be used: {advice(info.package)}")
    return cast("Loader", importlib.import_module(info.module))
