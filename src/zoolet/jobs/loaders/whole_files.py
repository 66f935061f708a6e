"""The files of a directory: each file is a group, loaded as its path, a ``pathlib.Path``.

This module imports other modules of its package.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoolet.jobs.loaders.file_lists import DataFile, groups_by_file
from zoolet.jobs.loaders.groups import DatasetGroup, group_id


def list_groups(
    location: str, options: Mapping[str, Any], known: Sequence[DatasetGroup]
) -> list[DatasetGroup]:
    """Return a group for each file."""
    return groups_by_file(location, options, known, _groups_of)


def _groups_of(file: DataFile) -> list[DatasetGroup]:
    name = group_id(file.name)
    return [DatasetGroup(name, file.version, None, file.size_bytes, file.position())]


def load(
    position: Mapping[str, Any], columns: Sequence[str] | None, options: Mapping[str, Any]
) -> Any:
    """Return the path of the file."""
    del columns, options
    return Path(position["path"])
