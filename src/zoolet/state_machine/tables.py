"""Tables (dicts) that become small again."""

from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_SMALL: Final = 10_000


def shrunk(table: dict[K, V]) -> dict[K, V]:
    """Return a table of the size that it needs: a dict never gets smaller by itself.

    A large table is returned as it is, since a copy takes long.
    """
    return table.copy() if len(table) < _SMALL else table
