"""Files that may change while the server runs: users, certificates.

A file is looked at once in a while, on a thread that may wait for the disk. A replaced file has
another inode, also if a symbolic link to it was replaced, as Kubernetes does it with secrets.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from zoolet.server.common.disk_thread import DiskThread

log = logging.getLogger(__name__)

LOOK_INTERVAL_MS: Final = 1000
"""The time between two looks; a change is found after this time."""

Stamp = tuple[tuple[int, int, int] | None, ...]
"""A value that changes when one of several files is replaced, written or removed."""


def stamp_of(paths: Iterable[Path]) -> Stamp:
    """Return the stamp of files."""
    return tuple(_stamp_of(path) for path in paths)


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def looks_on(thread: DiskThread, look: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls ``look`` on the thread; errors go to the log."""

    def submit() -> None:
        thread.submit(look, _looked)

    return submit


def _looked(failure: Exception | None) -> None:
    if failure is not None:
        log.error("changed files cannot be read; the settings stay as they are: %r", failure)
