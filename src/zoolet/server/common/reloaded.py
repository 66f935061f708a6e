"""A value that is read from files, and read again when they change."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from zoolet.passwords.file_stamps import stamp_of
from zoolet.server.common.errors import ServerError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Reloaded(Generic[T]):
    """The value of files. If changed files cannot be used, the value stays as it is.

    Attributes:
        value: the value.
    """

    def __init__(self, what: str, files: Iterable[Path | None], read: Callable[[], T]) -> None:
        """Read the value; raises ServerError.

        Args:
            what: the name of the value in the log.
            files: the files; None are left out.
            read: reads the value, on any thread; raises ServerError.
        """
        self._what = what
        self._files = tuple(path for path in files if path is not None)
        self._read = read
        self._stamp = stamp_of(self._files)
        self.value = read()

    def current(self) -> T:
        """Return the value, for code that calls a function for it."""
        return self.value

    def look(self) -> None:
        """Read the value again if a file has changed; runs on a thread that may wait for a disk."""
        stamp = stamp_of(self._files)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.value = self._read()
        except ServerError as error:
            log.error("%s stay as they are: %s", self._what, error)  # noqa: TRY400 -- no bug
            return
        log.info("read %s again", self._what)
