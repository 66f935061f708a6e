"""Files with secrets: users, passwords, keys.

Invariants: the reading ends, whatever the path names: a pipe or a device is refused without a wait,
and a file that is too long is not read to its end. A message has the path, never the content.
"""

import logging
import os
import stat
import sys
from pathlib import Path
from typing import Final, NamedTuple

log = logging.getLogger(__name__)

_MODE_OF_OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP


class SecretFileError(ValueError):
    """The file cannot be read; the message has the path and the reason."""


class SecretFile(NamedTuple):
    """A file that was read.

    Attributes:
        path: the file.
        content: its content.
        found: its owner and mode.
    """

    path: Path
    content: bytes
    found: os.stat_result

    def __repr__(self) -> str:
        """Return nothing of the content."""
        return f"SecretFile({self.path})"

    @property
    def is_open(self) -> bool:
        """Whether other users can read or change the file. On Windows, the mode does not say it."""
        return sys.platform != "win32" and bool(self.found.st_mode & _MODE_OF_OTHERS)

    @property
    def mode(self) -> str:
        """The permissions of the file as octal digits."""
        return f"{stat.S_IMODE(self.found.st_mode):04o}"

    def warn(self) -> None:
        """Write a warning to the log if other users can read or change the file."""
        if self.is_open:
            log.warning(
                "other users can read or change %s, a file with secrets (its mode is %s): chmod"
                " 0600 %s",
                *(self.path, self.mode, self.path),
            )

    def text(self) -> str:
        """Return the content as text; raises SecretFileError."""
        try:
            return self.content.decode()
        except UnicodeDecodeError:
            raise SecretFileError(f"{self.path} cannot be read: it is not UTF-8") from None


def read_secret_file(path: Path, limit_bytes: int) -> SecretFile:
    """Return a file of at most this length.

    Raises:
        SecretFileError: it cannot be read, is no regular file, or is too long.
    """
    try:
        with open(path, "rb", opener=_open_without_wait) as file:
            found = os.fstat(file.fileno())
            is_file = stat.S_ISREG(found.st_mode)
            content = file.read(limit_bytes + 1) if is_file else b""
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise SecretFileError(f"{path} cannot be read: {reason}") from None
    except ValueError:
        raise SecretFileError(f"{path} cannot be read: the path has a zero byte") from None
    if not is_file:
        raise SecretFileError(f"{path} cannot be read: it is a pipe or a device, not a file")
    if len(content) > limit_bytes:
        most = f"{limit_bytes >> 20} MiB" if limit_bytes >> 20 else f"{limit_bytes >> 10} KiB"
        raise SecretFileError(f"{path} is longer than {most}")
    return SecretFile(path, content, found)


def _open_without_wait(path: str, flags: int) -> int:
    """Open a file; a pipe without a writer is opened at once."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
