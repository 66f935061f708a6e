"""The copy of a long list of children without the deleted ones, in steps.

A list of a million children takes 100 ms to copy, and no other request is processed meanwhile. So
each change of the list copies a part. Later changes free the old list in parts, too.

Invariants:

- Until the copy is complete, the old list and the set of deleted paths show the children.
- A step copies the more entries, the longer the changed path is. So the bytes of deleted paths stay
  limited by the number of entries.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

ENTRIES_AT_ONCE: Final = 128
"""The number of entries that a step copies or frees, for a short path."""

CHARACTERS_PER_ENTRY: Final = 20
"""A step copies or frees one more entry for each of these characters of the changed path."""


@final
@mypyc_attr(acyclic=True)
class Compaction:
    """A copy of a list of children that is being made.

    Attributes:
        kept: the copy.
        later: the paths that were deleted since the beginning, without those that the copy has left
            out. The directory adds them until the copy is complete: then these are the deleted
            paths in it.
        is_copied: whether the copy is complete. The next steps free the old list.
    """

    __slots__ = ("_again", "_gone", "_position", "_source", "is_copied", "kept", "later")

    def __init__(self, source: list[str], gone: set[str]) -> None:
        """Begin the copy of ``source``, of which the paths in ``gone`` are deleted.

        ``source`` may grow, and ``gone`` may change, until the copy is complete.
        """
        self.kept: list[str] = []
        self.later: set[str] = set()
        self.is_copied = False
        self._source = source
        self._gone = gone
        self._again: set[str] = set()
        """The paths that were created again and added to the copy: their old place is left out."""
        self._position: i64 = 0

    def create_again(self, path: str) -> None:
        """Note, until the copy is complete, that a child was created again and left ``gone``."""
        if path in self.later:
            # The copy has the path, or gets it when its place is reached.
            self.later.remove(path)
        else:
            self.kept.append(path)
            self._again.add(path)

    def copy_some(self, path: str) -> bool:
        """Copy a part of the list, after a change of ``path``; return whether all is copied."""
        start: i64 = self._position
        end: i64 = min(start + _size(path), i64(len(self._source)))
        part = self._source[start:end]
        again = self._again
        if again:
            part = [entry for entry in part if entry not in again]
        gone = self._gone.intersection(part)
        if gone:
            self.later -= gone
            part = [entry for entry in part if entry not in gone]
        self.kept += part
        self._position = end
        self.is_copied = end == i64(len(self._source))
        return self.is_copied

    def free_some(self, path: str) -> bool:
        """Free a part of the old list, after a change of ``path``; return whether all is free.

        No reader may have the old list. A list of a million paths takes 10 ms to free.
        """
        size = _size(path)
        for _ in range(min(size, i64(len(self._gone)))):
            self._gone.pop()
        del self._source[-size:]
        return not self._source


def _size(path: str) -> i64:
    """Return the number of entries of a step after a change of ``path``."""
    return ENTRIES_AT_ONCE + i64(len(path)) // CHARACTERS_PER_ENTRY
