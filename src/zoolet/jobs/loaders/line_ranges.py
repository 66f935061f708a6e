"""Byte ranges of text files: each range begins at the start of a row and ends at the end of a row.

The ranges are found when the dataset is described, by a read of the whole file. So a row is never
cut, also if one of its fields has a newline. This module imports `zoolet.jobs.errors` and other
modules of its package.
"""

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from zoolet.console.os_errors import explain
from zoolet.jobs.errors import DatasetError, InvalidJobError
from zoolet.jobs.loaders.file_lists import DataFile, groups_by_file
from zoolet.jobs.loaders.groups import DatasetGroup, group_id

_READ_BYTES = 1024 * 1024


class Row(NamedTuple):
    """The end of a row, in bytes from the start of the file; ``is_data`` is false for a header."""

    end: int
    is_data: bool


Scan = Callable[["Lines", Mapping[str, Any]], Iterator[Row]]
"""A function that yields the rows of a file, in their order."""


class Lines:
    """The lines of a file as texts, with the number of bytes that were read.

    Raises:
        DatasetError: a line is not in the encoding.
    """

    def __init__(self, file: BinaryIO, path: str, encoding: str) -> None:
        self._file = file
        self._decode = codecs.getdecoder(encoding)
        self._encoding = encoding
        self.path = path
        self.read_bytes = 0

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            raise StopIteration
        try:
            text, _ = self._decode(line)
        except UnicodeDecodeError as error:
            raise DatasetError(
                f"{self.path} is not in {self._encoding} at byte"
                f" {self.read_bytes + error.start}: set the option encoding"
            ) from None
        if not self.read_bytes and text.startswith("\ufeff"):
            text = text[1:]
        self.read_bytes += len(line)
        return text


def list_ranges(
    location: str, options: Mapping[str, Any], known: Sequence[DatasetGroup], scan: Scan
) -> list[DatasetGroup]:
    """Return the groups of all files; ``scan`` finds the rows of a file."""
    _check_encoding(options["encoding"])
    return groups_by_file(location, options, known, lambda file: _ranges_of(file, options, scan))


def _check_encoding(encoding: str) -> None:
    try:
        newline = "\n".encode(encoding)
    except (LookupError, UnicodeEncodeError):
        newline = b""
    if newline != b"\n":
        raise InvalidJobError(
            f"the encoding {encoding!r} is unknown, or its newline is not the byte 0x0A"
        )


def _ranges_of(file: DataFile, options: Mapping[str, Any], scan: Scan) -> list[DatasetGroup]:
    most_bytes = options["bytes_per_group"] or file.size_bytes + 1
    groups: list[DatasetGroup] = []
    start, rows, end = None, 0, 0
    try:
        with Path(file.path).open("rb", buffering=_READ_BYTES) as opened:
            before = 0
            for end, is_data in scan(Lines(opened, file.path, options["encoding"]), options):
                if is_data:
                    start = before if start is None else start
                    rows += 1
                if start is not None and end - start >= most_bytes:
                    groups.append(_range(file, len(groups), rows, start, end))
                    start, rows = None, 0
                before = end
    except OSError as error:
        raise DatasetError(f"{file.path} cannot be read: {explain(error)}") from error
    if start is not None:
        groups.append(_range(file, len(groups), rows, start, end))
    return groups


def _range(file: DataFile, number: int, rows: int, start: int, end: int) -> DatasetGroup:
    return DatasetGroup(
        group_id(f"{file.name}:{number}"),
        file.version,
        rows,
        end - start,
        file.position(start=start, end=end),
    )


def read_range(position: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Return the text of a range.

    Raises:
        DatasetError: the file ends before the range, or is not in the encoding.
    """
    path, start, end = position["path"], position["start"], position["end"]
    with Path(path).open("rb") as file:
        file.seek(start)
        data = file.read(end - start)
    if len(data) != end - start:
        raise DatasetError(f"{path} ends before byte {end}: refresh the dataset")
    try:
        text = data.decode(options["encoding"])
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path} is not in {options['encoding']} at byte {start + error.start}"
        ) from None
    return text.removeprefix("\ufeff") if start == 0 else text
