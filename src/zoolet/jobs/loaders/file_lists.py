"""Finds the files of a dataset, and detects that a file has changed.

A location is a file, a directory, whose files are also searched in its subdirectories, or a glob
pattern. Names that begin with ``.`` or ``_`` are skipped in directories: other programs use such
names for files that are not data, or not complete. This module imports `zoolet.console`,
`zoolet.jobs.errors` and other modules of its package.
"""

import glob
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zoolet.console.os_errors import explain
from zoolet.jobs.errors import DatasetChangedError, DatasetError
from zoolet.jobs.loaders.groups import DatasetGroup
from zoolet.jobs.loaders.registry import BY_CONTENT, VERSION
from zoolet.jobs.records.job_values import is_text

_BLOCK_BYTES = 1024 * 1024
_WILD = frozenset("*?[")


class DataFile(NamedTuple):
    """A file of a dataset.

    Attributes:
        name: the path relative to the location, the first part of the ids of the file's groups.
        path: the absolute path.
        size_bytes: the size of the file.
        stat: the size and the time of change, as a text.
        version: the version of the file's groups: ``stat``, or a hash of the content.
    """

    name: str
    path: str
    size_bytes: int
    stat: str
    version: str

    def position(self, **more: Any) -> dict[str, Any]:
        """Return the position of a group in this file (`DatasetGroup`)."""
        return {"path": self.path, "stat": self.stat, **more}


def groups_by_file(
    location: str,
    options: Mapping[str, Any],
    known: Sequence[DatasetGroup],
    list_file: Callable[[DataFile], list[DatasetGroup]],
) -> list[DatasetGroup]:
    """Return the groups of all files of a location, sorted by the paths of the files.

    ``known`` are groups that an earlier call returned with the same arguments. If a file has not
    changed since then, its groups are taken from there; else ``list_file`` returns its groups.

    Raises:
        DatasetError: the location has no file, or a file cannot be read.
    """
    before: dict[tuple[object, object], list[DatasetGroup]] = {}
    for group in known:
        key = (group.position.get("path"), group.position.get("stat"))
        before.setdefault(key, []).append(group)
    found = []
    for name, path in _find_files(location, options):
        try:
            groups = before.get((str(path), stat_text(str(path))))
            found += groups or list_file(_data_file(name, path, options))
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {explain(error)}") from error
    return found


def _find_files(location: str, options: Mapping[str, Any]) -> list[tuple[str, Path]]:
    where = Path(os.path.abspath(location))  # noqa: PTH100 -- resolve() would follow links
    try:
        if where.is_dir():
            pattern = options["pattern"]
            found = [
                (path.relative_to(where).as_posix(), path)
                for path in sorted(where.rglob(pattern))
                if path.is_file() and not _is_skipped(path.relative_to(where))
            ]
            what = f"the directory {where} has no file {pattern}"
        elif where.is_file():
            found = [(where.name, where)]
            what = ""
        else:
            base = _base(where)
            paths = sorted(Path(path) for path in glob.glob(str(where), recursive=True))  # noqa: PTH207 -- the pattern is absolute
            found = [(path.relative_to(base).as_posix(), path) for path in paths if path.is_file()]
            what = f"{where} is neither a file, a directory nor a pattern of existing files"
    except OSError as error:
        raise DatasetError(f"the files of {where} cannot be read: {explain(error)}") from error
    if not found:
        raise DatasetError(what)
    return found


def check_unchanged(
    position: Mapping[str, Any], version: object, options: Mapping[str, Any]
) -> None:
    """Raise DatasetChangedError if the file of a group has changed since it was described."""
    path = str(position["path"])
    try:
        if stat_text(path) == position["stat"]:
            return
        if options[VERSION] == BY_CONTENT and content_hash(path) == version:
            return
    except OSError as error:
        raise DatasetChangedError(
            f"{path} cannot be read: {explain(error)}. If the file is not needed any more, refresh"
            " the dataset; if this machine lacks it, use a directory that all workers share"
        ) from None
    raise DatasetChangedError(
        f"{path} has changed since the dataset was described: refresh the dataset, and submit the"
        " job again"
    )


def stat_text(path: str) -> str:
    """Return the size and the time of change of a file, as a text."""
    found = Path(path).stat()
    return f"{found.st_size:x}.{found.st_mtime_ns:x}"


def content_hash(path: str) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _data_file(name: str, path: Path, options: Mapping[str, Any]) -> DataFile:
    if not is_text(str(path)):
        raise DatasetError(f"the name of the file {str(path)!r} is not UTF-8: rename the file")
    stat = stat_text(str(path))
    version = content_hash(str(path)) if options[VERSION] == BY_CONTENT else stat
    return DataFile(name, str(path), path.stat().st_size, stat, version)


def _is_skipped(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _base(pattern: Path) -> Path:
    """Return the directories of a pattern before its first part with a wildcard."""
    base = Path(pattern.anchor)
    for part in pattern.parts[1:-1]:
        if _WILD & set(part):
            break
        base /= part
    return base
