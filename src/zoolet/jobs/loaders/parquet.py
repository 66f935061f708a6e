"""Parquet files: each row group of a file is a group, loaded as a ``pyarrow.Table``.

This module imports pyarrow, `zoolet.jobs.errors` and other modules of its package.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from zoolet.jobs.errors import DatasetError
from zoolet.jobs.loaders.file_lists import DataFile, groups_by_file
from zoolet.jobs.loaders.groups import DatasetGroup, checked_columns, group_id


def list_groups(
    location: str, options: Mapping[str, Any], known: Sequence[DatasetGroup]
) -> list[DatasetGroup]:
    """Return a group for each row group; only the metadata of changed files is read."""
    return groups_by_file(location, options, known, _groups_of)


def _groups_of(file: DataFile) -> list[DatasetGroup]:
    try:
        metadata = pq.read_metadata(file.path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{file.path} cannot be read as Parquet: {error}") from error
    groups = []
    for number in range(metadata.num_row_groups):
        part = metadata.row_group(number)
        groups.append(
            DatasetGroup(
                group_id(f"{file.name}:{number}"),
                file.version,
                part.num_rows,
                part.total_byte_size,
                file.position(row_group=number),
            )
        )
    return groups


def load(
    position: Mapping[str, Any], columns: Sequence[str] | None, options: Mapping[str, Any]
) -> Any:
    """Return a row group as a ``pyarrow.Table``, in one thread: executors share the cores."""
    del options
    path = position["path"]
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            names = checked_columns(columns, file.schema_arrow.names, path)
            return file.read_row_group(position["row_group"], columns=names, use_threads=False)
    except pa.ArrowException as error:
        raise DatasetError(f"{path} cannot be read as Parquet: {error}") from error
