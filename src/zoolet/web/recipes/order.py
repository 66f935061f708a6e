"""Who holds a lock, and in which order the others get it. No I/O."""

from collections.abc import Iterable, Sequence

from zoolet.web.recipes.kinds import Library
from zoolet.web.recipes.names import Name, Role


def in_order(names: Iterable[Name]) -> list[Name]:
    """Return contenders or items in the order in which they get their turn.

    kazoo and Curator compare sequence numbers as text, zoolet compares numbers. Both are the same
    until the sequence of the parent has overflowed (`has_overflowed`).
    """
    found = list(names)
    if found and all(known.library is Library.ZOOLET for known in found):
        return sorted(found, key=lambda known: (known.sequence, known.role is Role.READ))
    return sorted(found, key=lambda known: (known.digits, known.role is Role.READ, known.name))


def has_overflowed(names: Iterable[Name]) -> bool:
    """Return whether a sequence number is negative: the libraries then differ about the order."""
    return any(known.sequence < 0 for known in names)


def num_holding(ordered: Sequence[Name]) -> int:
    """Return how many of the first contenders hold the lock: one, or readers together.

    A reader waits for the writers before it, a writer for all before it. In Curator, the holder of
    the write lock can also get the read lock, with the sequence number of its write lock.
    """
    if not ordered:
        return 0
    first = ordered[0]
    if first.role is not Role.READ:
        same = [known for known in ordered[1:] if known.digits == first.digits]
        return 1 + sum(known.role is Role.READ and first.role is Role.WRITE for known in same)
    for position, known in enumerate(ordered):
        if known.role is not Role.READ:
            return position
    return len(ordered)
