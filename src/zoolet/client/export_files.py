"""Files of exports: a new file gets its name when it is complete, and never replaces another file.

Imports ``model``, the format of exports, and what copies of subtrees have in common.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from zoolet.client.transfers import is_system, moved
from zoolet.exports.lines import ExportedZnode, ExportError, read_export
from zoolet.model import paths

_HAS_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""The errors of a file system without hard links, such as FAT and some network drives."""


class NewFile:
    """A new file of lines, which has its name only after the block has ended without an error.

    Until then, the name has the suffix ``.unfinished``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._unfinished = self._path.with_name(f"{self._path.name}.unfinished")

    def write(self, line: str) -> None:
        """Write a line, which is given without its line feed."""
        self._output.write(f"{line}\n")

    def __enter__(self) -> Self:
        """Create the file.

        Raises:
            FileExistsError: there is a file with this name already.
        """
        if self._path.exists():
            raise _exists(self._path)
        try:
            self._output = self._unfinished.open("x", encoding="utf-8")
        except FileExistsError:
            raise _exists(self._unfinished) from None
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the file its name, or delete it after an error.

        Raises:
            FileExistsError: another program has created a file with this name meanwhile.
        """
        try:
            self._output.close()
            if exc is None:
                self._give_name()
        finally:
            self._unfinished.unlink(missing_ok=True)

    def _give_name(self) -> None:
        try:
            os.link(self._unfinished, self._path)  # unlike a rename, a link never replaces a file
        except FileExistsError:
            raise _exists(self._path) from None
        except OSError as error:
            if error.errno not in _HAS_NO_LINKS:
                raise
            try:
                self._path.open("x").close()
            except FileExistsError:
                raise _exists(self._path) from None
            self._unfinished.replace(self._path)


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def imported_znodes(
    file: str | os.PathLike[str], target: str, *, most_characters: int | None = None
) -> Iterator[ExportedZnode]:
    """Yield the znodes of an export with their paths below ``target``.

    Args:
        file: the file.
        target: the path of the root.
        most_characters: the length of the longest line that is read; None is any length.

    Raises:
        ExportError: a line is not a line of an export; the message begins with the file's name.
        OSError: the file cannot be read.
    """
    try:
        with Path(file).open(encoding="utf-8") as lines:
            header, znodes = read_export(_lines_of(lines, most_characters))
            for znode in znodes:
                is_own = header.root == paths.ROOT and is_system(znode.path)
                if not is_own and (znode.path, target) != (paths.ROOT, paths.ROOT):
                    yield moved(znode, header.root, target)
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, str(error), str(file)) from error
    except ExportError as error:
        raise ExportError(f"{file}:{error}") from error


def _lines_of(file: TextIO, most_characters: int | None) -> Iterator[str]:
    """Yield the lines of a file; raises ExportError for one that is too long."""
    number = 0
    while line := file.readline(-1 if most_characters is None else most_characters + 1):
        number += 1
        if most_characters is not None and len(line) > most_characters:
            raise ExportError(f"{number}: the line has more than {most_characters:,} characters")
        yield line
