"""Loads a group from the source of a job, in an executor.

A source is a JSON object: ``loader``, ``options`` and ``columns`` of the dataset, and ``version``
and ``position`` of the group. Any program may have written it. This module imports
`zoolet.jobs.errors` and other modules of its package. The module of a loader is imported when the
loader is first used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from zoolet.jobs.errors import DatasetError
from zoolet.jobs.loaders.file_lists import check_unchanged
from zoolet.jobs.loaders.groups import DatasetGroup
from zoolet.jobs.loaders.registry import FindLoader, checked_options, import_loader, loader_info
from zoolet.jobs.records.job_values import is_text


def make_source(
    loader: str, options: Mapping[str, Any], group: DatasetGroup, columns: Sequence[str] | None
) -> dict[str, Any]:
    """Return the source of the jobs for a group (`zoolet.jobs.records.job.Job.source`)."""
    return {
        "loader": loader,
        "options": dict(options),
        "columns": None if columns is None else list(columns),
        "version": group.version,
        "position": dict(group.position),
    }


def load_source(dataset: str, groupid: str, source: Mapping[str, Any], find: FindLoader) -> Any:
    """Return the group of a job with this source; ``find`` returns loaders of users.

    Raises:
        DatasetError: the source is invalid, or the data cannot be read.
        DatasetChangedError: the data has changed since the dataset was described.
        InvalidJobError: the source has an invalid loader or option.
    """
    loader, options, columns, position = (
        source.get(key) for key in ("loader", "options", "columns", "position")
    )
    if (
        not isinstance(loader, str)
        or not isinstance(options, dict)
        or not isinstance(position, dict)
        or not _are_columns(columns)
        or (loader_info(loader).has_files and not _is_file_position(position))
    ):
        raise DatasetError(f"the source of the group {groupid} of {dataset} is invalid: {source}")
    options = checked_options(loader, options)
    module = import_loader(loader, find)
    try:
        group = module.load(position, columns, options)
    except (LookupError, TypeError, ValueError, AttributeError, OSError, DatasetError) as error:
        if loader_info(loader).has_files:
            # A changed file is the most probable reason, and the clearest message.
            check_unchanged(position, source.get("version"), options)
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"the group {groupid} of {dataset} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    # The file may have changed while it was read.
    if loader_info(loader).has_files:
        check_unchanged(position, source.get("version"), options)
    return group


def _are_columns(columns: object) -> bool:
    return columns is None or (
        isinstance(columns, list) and all(isinstance(column, str) for column in columns)
    )


def _is_file_position(position: Mapping[str, Any]) -> bool:
    path = position.get("path")
    return is_text(path) and "\0" not in str(path) and isinstance(position.get("stat"), str)
