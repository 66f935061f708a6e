"""JSON lines: each byte range of a file is a group, loaded as a list of dicts.

This module imports `zoolet.jobs.errors` and other modules of its package.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoolet.jobs.errors import DatasetError
from zoolet.jobs.loaders.groups import DatasetGroup
from zoolet.jobs.loaders.line_ranges import Lines, Row, list_ranges, read_range


def list_groups(
    location: str, options: Mapping[str, Any], known: Sequence[DatasetGroup]
) -> list[DatasetGroup]:
    """Return the byte ranges of all files; changed files are read as a whole to count the rows."""
    return list_ranges(location, options, known, _scan)


def _scan(lines: Lines, options: Mapping[str, Any]) -> Iterator[Row]:
    del options
    for line in lines:
        yield Row(lines.read_bytes, is_data=bool(line.strip()))


def load(
    position: Mapping[str, Any], columns: Sequence[str] | None, options: Mapping[str, Any]
) -> Any:
    """Return the objects of a range; with ``columns``, a name that an object lacks is None."""
    found = []
    for line in read_range(position, options).split("\n"):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DatasetError(
                f"{position['path']} has a line that is not JSON: {error}: {line[:80]!r}"
            ) from None
        if not isinstance(value, dict):
            raise DatasetError(f"{position['path']} has a line that is no object: {line[:80]!r}")
        found.append(value if columns is None else {name: value.get(name) for name in columns})
    return found
