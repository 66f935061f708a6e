"""The pauses after failures: they double up to a limit.

They are random, so that many clients do not come at the same time. This module imports nothing of
zoolet, and not random, which takes 0.5 MB.
"""

import os
from typing import TYPE_CHECKING, Final, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:  # the creation of a Protocol takes 0.3 ms
    from typing import Protocol

    class Chance(Protocol):
        """Random decisions: the part of ``random.Random`` that is needed here."""

        def shuffle(self, x: list[T]) -> None:
            """Bring a list into random order."""
            ...

        def uniform(self, a: float, b: float) -> float:
            """Return a number between ``a`` and ``b``."""
            ...


_RANDOM_BYTES: Final = 8


class SystemChance:
    """Random decisions by the operating system."""

    def shuffle(self, x: list[T]) -> None:
        """Bring a list into random order."""
        x.sort(key=lambda _: os.urandom(_RANDOM_BYTES))

    def uniform(self, a: float, b: float) -> float:
        """Return a number between ``a`` and ``b``."""
        share = int.from_bytes(os.urandom(_RANDOM_BYTES), "big") / 256**_RANDOM_BYTES
        return a + (b - a) * share


class Backoff:
    """The pauses after one failure after another.

    Attributes:
        longest_s: the longest possible time of the next pause, in seconds; the shortest is half of
            it.
    """

    def __init__(self, first_s: float, limit_s: float, chance: "Chance | None" = None) -> None:
        """Begin; ``first_s`` limits the first pause, and ``limit_s`` all pauses."""
        self._first_s = min(first_s, limit_s)
        self._limit_s = limit_s
        self._chance = chance or SystemChance()
        self.longest_s = self._first_s

    def next_s(self) -> float:
        """Return the next pause, in seconds."""
        longest_s = self.longest_s
        self.longest_s = min(self._limit_s, 2 * longest_s)
        return longest_s * self._chance.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin again with the first pause, after a success."""
        self.longest_s = self._first_s
