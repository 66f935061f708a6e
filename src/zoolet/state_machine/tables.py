"""Tables that grow, shrink and end in small steps.

A dict moves all its entries when it grows: at 2.8 million entries this takes 95 ms. So a table with
an entry for each znode is a ``PathTable``, which consists of many dicts.
"""

from collections.abc import Iterator
from typing import Final, Generic, TypeVar, final

from mypy_extensions import i64

K = TypeVar("K")
V = TypeVar("V")

_SMALL: Final = 10_000

PART_MOST: Final = 4000
"""The maximum mean number of entries of the parts of a PathTable. The largest part has about twice
as many: it takes less than a millisecond to split it."""

_PART_LEAST: Final = 1000
"""If the mean is less than this number, parts are joined."""

_COST_OF_A_PART: Final = 20
"""The cost of a part without entries, as a number of entries."""

_HASH_SHIFT: Final = 20
"""The bits of a hash from here select the part: a dict itself uses the lowest bits."""


def shrunk(table: dict[K, V]) -> dict[K, V]:
    """Return a copy of the table with the memory that it needs: a dict never shrinks by itself.

    A large table is returned unchanged, because copying it takes long.
    """
    return table.copy() if len(table) < _SMALL else table


@final
class PathTable(Generic[V]):
    """A table from path to value, in parts: dicts that grow and shrink independently.

    The hash of a path selects its part. If the table grows, one part after the other is split in
    two (linear hashing), so the number of parts always fits the number of entries. A small table is
    one dict, for which no hash is needed. The order of the paths has no meaning, and it may differ
    from process to process.

    Invariants: there are at least ``_round`` parts, and fewer than twice as many. Of each hash, the
    lower bits count: all bits below ``_round`` for a part that is not split yet in this round; one
    bit more for the others.

    Attributes:
        parts: the dicts; other modules only read them, as plain_znodes.h does.
    """

    __slots__ = (
        "_first",
        "_has_removed",
        "_next_to_shrink",
        "_num_parts",
        "_round",
        "_size",
        "parts",
    )

    def __init__(self) -> None:
        self._first: dict[str, V] = {}  # always the first of the parts; faster than parts[0]
        self.parts: list[dict[str, V]] = [self._first]
        self._num_parts: i64 = 1
        self._round: i64 = 1
        self._size: i64 = 0
        self._next_to_shrink: i64 = 0
        self._has_removed = False

    def __len__(self) -> int:
        """Count the entries."""
        return self._size

    def __bool__(self) -> bool:
        """Return whether the table has an entry."""
        return self._size > 0

    def __contains__(self, path: str) -> bool:
        return path in self._part_of(path)

    def get(self, path: str) -> V | None:
        """Return the value of a path; None if the table does not have the path."""
        if self._num_parts == 1:  # without the call of _part_of: every read comes here
            return self._first.get(path)
        return self._part_of(path).get(path)

    def __getitem__(self, path: str) -> V:
        return self._part_of(path)[path]

    def __setitem__(self, path: str, value: V) -> None:
        part = self._part_of(path)
        num_before: i64 = len(part)
        part[path] = value
        if i64(len(part)) != num_before:
            self._count_added()

    def add(self, path: str, value: V) -> bool:
        """Add a path, and return True; do nothing and return False if the table has it."""
        part = self._part_of(path)
        if path in part:
            return False
        part[path] = value
        self._count_added()
        return True

    def copy_to(self, path: str, other: "PathTable[V]") -> None:
        """Copy a path and its value to another table, if that does not have the path.

        Raises KeyError if this table does not have it.
        """
        other.add(path, self[path])

    def pop(self, path: str) -> V | None:
        """Remove a path and return its value; None if the table does not have the path."""
        value = self._part_of(path).pop(path, None)
        if value is not None:
            self._size -= 1
            self._has_removed = True
        return value

    def __delitem__(self, path: str) -> None:
        if self.pop(path) is None:
            raise KeyError(path)

    def _part_of(self, path: str) -> dict[str, V]:
        """Return the part that has a path if the table has it."""
        if self._num_parts == 1:
            return self._first
        number: i64 = hash(path)
        number = (number >> _HASH_SHIFT) & (2 * self._round - 1)
        if number >= self._num_parts:
            number -= self._round
        return self.parts[number]

    def _replace(self, at: i64, part: dict[str, V]) -> None:
        self.parts[at] = part
        if at == 0:
            self._first = part

    def _count_added(self) -> None:
        self._size += 1
        if self._size > PART_MOST * self._num_parts:
            self._split()

    def _split(self) -> None:
        """Split the next part; if an exception is raised, no entry has moved."""
        at = self._num_parts - self._round
        stay: dict[str, V] = {}
        leave: dict[str, V] = {}
        for path, value in self.parts[at].items():
            number: i64 = hash(path)
            if (number >> _HASH_SHIFT) & self._round:
                leave[path] = value
            else:
                stay[path] = value
        self.parts.append(leave)
        self._replace(at, stay)
        self._num_parts += 1
        if self._num_parts == 2 * self._round:
            self._round = self._num_parts

    def _join(self) -> None:
        """Undo the last split; if an exception is raised, no path is lost or in two places."""
        before = self._round if self._num_parts > self._round else self._round // 2
        at = self._num_parts - 1 - before
        joined = self.parts[at].copy()
        joined.update(self.parts[before + at])
        self._replace(at, joined)
        self._round = before
        self._num_parts -= 1
        self.parts.pop()

    # --- All entries

    def __iter__(self) -> Iterator[str]:
        for part in self.parts:
            yield from part

    def items(self) -> Iterator[tuple[str, V]]:
        """Yield each path and its value."""
        for part in self.parts:
            yield from part.items()

    def values(self) -> Iterator[V]:
        """Yield each value."""
        for part in self.parts:
            yield from part.values()

    # --- What only the table in C does (record_table.c): these do nothing, which is correct too

    def forget_marks(self) -> None:
        """Let no path be marked."""

    def mark(self, path: str) -> None:
        """Mark a path, or do nothing."""

    def change(self, _path: str, _value: V) -> bool:
        """Replace the value of a marked path, and return True; otherwise return False."""
        return False

    def fetch_ahead(self, data: bytes, position: int) -> None:
        """Tell the processor which memory to load."""

    def fetch_place(self, path: str) -> None:
        """Tell the processor which memory to load."""

    # --- Memory

    def shrink(self) -> None:
        """Reduce parts to the memory that their entries need, in one step of a limited length.

        If paths were removed, a number of calls reaches all parts.
        """
        room: i64 = _SMALL
        while self._num_parts > 1 and self._size < _PART_LEAST * self._num_parts and room > 0:
            room -= 2 * i64(len(self.parts[self._num_parts - 1])) + _COST_OF_A_PART
            self._join()
        if self._next_to_shrink >= self._num_parts:
            self._next_to_shrink = 0
        if self._next_to_shrink == 0:
            if not self._has_removed:
                return
            self._has_removed = False
        while room > 0 and self._next_to_shrink < self._num_parts:
            part = self.parts[self._next_to_shrink]
            room -= i64(len(part)) + _COST_OF_A_PART
            self._replace(self._next_to_shrink, part.copy())
            self._next_to_shrink += 1

    def drop_some(self) -> bool:
        """Drop some entries of a table that is not needed any more; return whether some remain.

        Freeing millions of entries together takes too long.
        """
        room: i64 = _SMALL
        while self.parts and room > 0:
            room -= i64(len(self.parts.pop())) + _COST_OF_A_PART
        if self.parts:
            return True
        self._first = {}
        self.parts = [self._first]
        self._num_parts = self._round = 1
        self._size = 0
        return False
