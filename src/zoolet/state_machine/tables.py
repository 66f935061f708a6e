"""Dicts that are copied to return memory after entries were deleted."""

from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_SMALL: Final = 10_000


def shrunk(table: dict[K, V]) -> dict[K, V]:
    """Return a copy of the table with the memory that it needs: a dict never shrinks by itself.

    A large table is returned unchanged, because copying it takes long.
    """
    return table.copy() if len(table) < _SMALL else table
