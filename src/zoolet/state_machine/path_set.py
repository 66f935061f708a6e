"""Sets of paths that find their elements at or above a given path.

A path may have thousands of paths above it. So a search tries only the prefixes that have the
length of an element.
"""

from collections.abc import Iterator
from typing import final

from zoolet.model import paths


@final
class PathSet:
    """A set of paths; for each path, it stores the number of times that the path was added.

    Attributes:
        size: the number of different paths.
    """

    def __init__(self) -> None:
        self.size = 0
        self._counts: dict[str, int] = {}
        self._lengths: dict[int, int] = {}
        self._longest_first: list[int] = []

    def __contains__(self, path: str) -> bool:
        return path in self._counts

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def add(self, path: str) -> None:
        """Add a path one more time."""
        count = self._counts.get(path, 0)
        self._counts[path] = count + 1
        if count == 0:
            self.size += 1
            length = len(path)
            self._lengths[length] = self._lengths.get(length, 0) + 1
            if self._lengths[length] == 1:
                self._longest_first = sorted(self._lengths, reverse=True)

    def remove(self, path: str) -> None:
        """Undo one ``add`` of a path; do nothing if the path is not in the set."""
        count = self._counts.get(path, 0)
        if count > 1:
            self._counts[path] = count - 1
        elif count == 1:
            del self._counts[path]
            self.size -= 1
            length = len(path)
            self._lengths[length] -= 1
            if self._lengths[length] == 0:
                del self._lengths[length]
                self._longest_first = sorted(self._lengths, reverse=True)

    @property
    def longest(self) -> int:
        """The length of the longest path; 0 if there is none."""
        return self._longest_first[0] if self._longest_first else 0

    def deepest_above(self, path: str) -> str | None:
        """Return the deepest element that is ``path`` or above it; None if there is none."""
        for length in self._longest_first:
            found = self._with_length(path, length)
            if found is not None:
                return found
        return None

    def above(self, path: str) -> Iterator[str]:
        """Yield the elements that are ``path`` or above it, the deepest first."""
        for length in self._longest_first:
            found = self._with_length(path, length)
            if found is not None:
                yield found

    def _with_length(self, path: str, wanted: int) -> str | None:
        """Return the element of this length that is ``path`` or above it; None if there is none."""
        length = len(path)
        if wanted > length or wanted == 0:
            return None
        if wanted == length:
            found = path
        elif path[wanted] == "/":
            found = path[:wanted]
        elif wanted == 1:
            found = paths.ROOT
        else:
            return None
        return found if found in self._counts else None
