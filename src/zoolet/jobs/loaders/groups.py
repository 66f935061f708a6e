"""The groups of a dataset, and the interface of a built-in loader.

A loader lists the groups of a location when the dataset is described, in the process of the user.
It loads a group in an executor. Invariants:

- Each row of the data is in exactly one group.
- The id of a group depends only on where the group is in the data, for example on its file and row
  group. If the content of the group changes, its version changes.

This module imports `zoolet.jobs.errors` and `zoolet.jobs.records`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from zoolet.jobs.errors import DatasetError
from zoolet.jobs.records.job_names import encoded_bytes

GROUPID_LIMIT_BYTES = 230
"""The most bytes of a group's id, as encoded in the name of a job. The rest of the 255 bytes is for
the hash of the version and the columns."""
_KEPT_CHARACTERS = 60
"""The most characters that are kept of the end of an id that is too long."""


class DatasetGroup(NamedTuple):
    """A group of a described dataset.

    Attributes:
        groupid: the id, a text that is unique in the dataset.
        version: a text that changes when the content of the group changes.
        rows: the number of rows; None if it is not known.
        size_bytes: the number of bytes in the file or database; None if it is not known.
        position: where the data is, a JSON object that only the loader understands.
    """

    groupid: str
    version: str
    rows: int | None
    size_bytes: int | None
    position: Mapping[str, Any]


class Option(NamedTuple):
    """An option of a loader.

    Attributes:
        default: the value if the option is not given; its type is the type of all values. None: the
            option is a text that must be given.
        meaning: what the option does, as a phrase for messages.
        least: the least value of a number.
        choices: the allowed texts; () if all texts are allowed.
    """

    default: bool | int | str | None
    meaning: str
    least: int = 0
    choices: tuple[str, ...] = ()


class Loader(Protocol):
    """What a loader does: the functions of a built-in loader's module, or a user's object.

    The description of a dataset names the loader of a user as ``module:function``. The function,
    which may be a class, is called without arguments and returns the object.
    """

    def list_groups(
        self, location: str, options: Mapping[str, Any], known: Sequence[DatasetGroup]
    ) -> list[DatasetGroup]:
        """Return the groups at a location, in their order.

        ``known`` are the groups that an earlier call returned with the same options. Groups of
        files that have not changed are taken from there.

        Raises:
            DatasetError: the location has no data, or the data cannot be read.
        """

    def load(
        self,
        position: Mapping[str, Any],
        columns: Sequence[str] | None,
        options: Mapping[str, Any],
    ) -> Any:
        """Return a group with these columns; None: with all columns.

        Raises:
            DatasetError: the group cannot be loaded.
        """


@dataclass(frozen=True, slots=True)
class LoaderInfo:
    """What is known about a loader before its module, and its package, are imported.

    Attributes:
        module: the name of the loader's module.
        package: the optional package that the loader needs; None: no package.
        has_columns: whether a task can name the columns that it needs.
        has_files: whether the groups are parts of files, which may change (`file_versions`).
        options: the options by name.
    """

    module: str
    package: str | None
    has_columns: bool
    has_files: bool
    options: Mapping[str, Option] = field(default_factory=dict)


def checked_columns(columns: Sequence[str] | None, names: Sequence[str], where: str) -> list[str]:
    """Return the columns to read; all names if ``columns`` is None.

    Raises:
        DatasetError: ``where`` does not have one of the columns.
    """
    if columns is None:
        return list(names)
    missing = [column for column in columns if column not in names]
    if missing:
        raise DatasetError(
            f"{where} has no column {missing[0]!r}; its columns are {', '.join(names)[:500]}"
        )
    return list(columns)


def group_id(text: str) -> str:
    """Return a group's id for a text; a text that is too long is shortened, with a hash of it."""
    if encoded_bytes(text) <= GROUPID_LIMIT_BYTES:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    end = text[-_KEPT_CHARACTERS:]
    while encoded_bytes(end) > GROUPID_LIMIT_BYTES - len(digest) - 3:
        end = end[1:]
    return f"{digest}..{end}"
