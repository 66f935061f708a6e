"""Whether files with secrets have changed: users, keys, certificates.

A replaced file has another inode, also if a symbolic link to it was replaced, as Kubernetes does it
with secrets. This module imports nothing of zoolet.
"""

from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[tuple[int, int, int] | None, ...]
"""A value that changes when one of several files is replaced, written or removed."""


def stamp_of(paths: Iterable[Path]) -> Stamp:
    """Return the stamp of files."""
    return tuple(map(_stamp_of, paths))


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
