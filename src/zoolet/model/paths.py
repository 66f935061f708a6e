"""The paths of znodes: absolute, separated by ``/``, without empty or relative parts.

The root is ``/``. Snapshots and some requests also write it as the empty string.
"""

import re
from typing import Final, final

from mypy_extensions import i64

_FIRST_PRINTABLE: Final = 0x20
_LAST_PRINTABLE: Final = 0x7E

ROOT: Final = "/"
SYSTEM: Final = "/zookeeper"
QUOTA: Final = "/zookeeper/quota"
CONFIG: Final = "/zookeeper/config"

SYSTEM_PATHS: Final = frozenset({"", ROOT, SYSTEM, QUOTA, CONFIG})
"""The znodes that clients cannot delete (``DataTree.isSpecialPath``)."""

# ZooKeeper's PathUtils checks UTF-16 units, and it forbids the surrogates from U+D800. So a client
# that follows its rules must also forbid every character above U+FFFF.
_INVALID_CHARACTER = re.compile(r"[\u0000-\u001f\u007f-\u009f\ud800-\uf8ff\ufff0-\uffff]")
_ASTRAL_CHARACTER = re.compile("[\U00010000-\U0010ffff]")


def reason_invalid(path: str) -> str | None:
    """Return why ``path`` is not a valid path; None if it is valid.

    Source of the rules: ZooKeeper's ``PathUtils.validatePath`` and the section "The ZooKeeper Data
    Model" of the programmer's guide.
    """
    if not path:
        return "a path has at least one character"
    if path[0] != "/":
        return "a path starts with /"
    if path == ROOT:
        return None
    if path[-1] == "/":
        return "a path does not end with /"
    for part in path[1:].split("/"):
        if not part:
            return "a path has no empty part (//)"
        if part in {".", ".."}:
            return "a path has no relative part (. or ..)"
    if (found := _INVALID_CHARACTER.search(path) or _ASTRAL_CHARACTER.search(path)) is not None:
        return f"a path does not hold the character {found.group()!r}"
    return None


def ends_plainly(path: str, start: i64) -> bool:
    """Return whether the last part of a path, from ``start``, is certainly valid.

    This is so if it has only printable ASCII characters and no dot at its start. If the result is
    False, call ``reason_invalid``.
    """
    size: i64 = len(path)
    if start == size or path[start] == ".":
        return False
    position = start
    while position < size:
        if not _FIRST_PRINTABLE <= ord(path[position]) <= _LAST_PRINTABLE:
            return False
        position += 1
    return True


def parent_of(path: str) -> str:
    """Return the parent's path; the parent of the root is the root.

    ``path`` must contain at least one ``/``.
    """
    return path[: path.rfind("/")] or ROOT


@final
class Parents:
    """Computes parents as ``parent_of`` does, for sequences of paths with the same parent.

    For such a sequence, the result is the same string object, whose hash is already computed. This
    makes look-ups faster.
    """

    def __init__(self) -> None:
        self._last = ROOT

    def of(self, path: str) -> str:
        """Return the parent's path; ``path`` must contain at least one ``/``."""
        return self.at(path, path.rfind("/"))

    def at(self, path: str, end: i64) -> str:
        """Return the parent's path; the last ``/`` of ``path`` is at ``end``."""
        last = self._last
        if end != len(last) or not path.startswith(last):
            last = self._last = path[:end] or ROOT
        return last


def size_bytes(path: str) -> int:
    """Return the number of bytes of a path in UTF-8."""
    return len(path) if path.isascii() else len(path.encode())


def name_of(path: str) -> str:
    """Return the last part of ``path``."""
    return path[path.rfind("/") + 1 :]


def join(parent: str, name: str) -> str:
    """Return the path of the child ``name`` of ``parent``."""
    return f"{parent}/{name}" if parent != ROOT else f"/{name}"
