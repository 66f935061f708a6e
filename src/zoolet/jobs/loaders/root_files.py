"""ROOT files: each range of entries of a tree is a group, loaded as a dict of NumPy arrays.

This module imports uproot, `zoolet.jobs.errors` and other modules of its package.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import uproot

from zoolet.jobs.errors import DatasetError
from zoolet.jobs.loaders.file_lists import DataFile, groups_by_file
from zoolet.jobs.loaders.groups import DatasetGroup, checked_columns, group_id


def list_groups(
    location: str, options: Mapping[str, Any], known: Sequence[DatasetGroup]
) -> list[DatasetGroup]:
    """Return the ranges of entries of all files; only the metadata of changed files is read."""
    return groups_by_file(location, options, known, lambda file: _groups_of(file, options))


def _groups_of(file: DataFile, options: Mapping[str, Any]) -> list[DatasetGroup]:
    per_group = options["entries_per_group"]
    try:
        with uproot.open(file.path) as opened:
            entries = int(opened[options["tree"]].num_entries)
    except Exception as error:
        # uproot has no common base class of its errors.
        raise DatasetError(_message(file.path, options, error)) from error
    return [
        DatasetGroup(
            group_id(f"{file.name}:{number}"),
            file.version,
            min(per_group, entries - start),
            file.size_bytes * min(per_group, entries - start) // entries,
            file.position(start=start, stop=min(start + per_group, entries)),
        )
        for number, start in enumerate(range(0, entries, per_group))
    ]


def load(
    position: Mapping[str, Any], columns: Sequence[str] | None, options: Mapping[str, Any]
) -> Any:
    """Return a range of entries as a dict of arrays, one for each column."""
    path = position["path"]
    try:
        with uproot.open(path) as opened:
            tree = opened[options["tree"]]
            names = checked_columns(columns, tree.keys(), path)
            return tree.arrays(
                names,
                entry_start=position["start"],
                entry_stop=position["stop"],
                library="np",
            )
    except DatasetError:
        raise
    except Exception as error:
        raise DatasetError(_message(path, options, error)) from error


def _message(path: str, options: Mapping[str, Any], error: Exception) -> str:
    return f"the tree {options['tree']} of {path} cannot be read: {type(error).__name__}: {error}"
