"""CSV files with a header: each byte range is a group, loaded as a list of dicts of texts.

Fields may be quoted with ``"``, and may then have newlines, delimiters and doubled quotes (RFC
4180). Python's ``csv`` module finds the rows, both when the dataset is described and when a group
is loaded. This module imports `zoolet.jobs.errors` and other modules of its package.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoolet.jobs.errors import DatasetError, InvalidJobError
from zoolet.jobs.loaders.groups import DatasetGroup, checked_columns
from zoolet.jobs.loaders.line_ranges import Lines, Row, list_ranges, read_range


def list_groups(
    location: str, options: Mapping[str, Any], known: Sequence[DatasetGroup]
) -> list[DatasetGroup]:
    """Return the byte ranges of all files; changed files are read as a whole to find their rows."""
    if len(options["delimiter"]) != 1 or options["delimiter"] in '"\r\n':
        raise InvalidJobError(f"the delimiter {options['delimiter']!r} is not one character")
    return list_ranges(location, options, known, _scan)


def _scan(lines: Lines, options: Mapping[str, Any]) -> Iterator[Row]:
    reader = csv.reader(lines, delimiter=options["delimiter"], strict=True)
    is_header = True
    try:
        for row in reader:
            yield Row(lines.read_bytes, bool(row) and not is_header)
            is_header = is_header and not row
    except csv.Error as error:
        raise DatasetError(
            f"{lines.path} is not CSV before byte {lines.read_bytes}: {error}"
        ) from None


def load(
    position: Mapping[str, Any], columns: Sequence[str] | None, options: Mapping[str, Any]
) -> Any:
    """Return the rows of a range as dicts; a field that a row lacks is None."""
    path = position["path"]
    names = _header(path, options)
    wanted = [(name, names.index(name)) for name in checked_columns(columns, names, path)]
    text = io.StringIO(read_range(position, options), newline="")
    found = []
    try:
        for row in csv.reader(text, delimiter=options["delimiter"], strict=True):
            if len(row) > len(names):
                raise DatasetError(
                    f"{path} has a row with {len(row)} fields, but a header with {len(names)}: it"
                    f" begins with {row[0][:40]!r}"
                )
            if row:
                found.append({name: row[at] if at < len(row) else None for name, at in wanted})
    except csv.Error as error:
        raise DatasetError(f"{path} is not CSV: {error}") from None
    return found


def _header(path: str, options: Mapping[str, Any]) -> list[str]:
    with Path(path).open("rb") as file:
        lines = Lines(file, path, options["encoding"])
        for row in csv.reader(lines, delimiter=options["delimiter"], strict=True):
            if row:
                return row
    raise DatasetError(f"{path} has no header")
