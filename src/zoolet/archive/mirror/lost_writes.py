"""Finds the write because of which the target closes the connection, for example a large znode.

A server closes the connection if a request is longer than ``jute.maxbuffer``, and gives no reason.
So the writes of a multi that was lost are sent one by one afterwards. Invariant: the memory is that
of one multi. This module imports nothing of zoolet.
"""

from collections.abc import Sequence
from typing import Final

MOST_LOST: Final = 3
"""How often one write is lost, alone in its multi, before the mirror ends."""


class LostWrites:
    """The writes of the last multi whose connection was lost."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def is_alone(self, relative: str) -> bool:
        """Whether the next write of this znode must be alone in its multi."""
        return relative in self._times

    def lose(self, together: Sequence[str]) -> bool:
        """Note the znodes of a multi that was lost; return whether their only one is the cause."""
        is_single = len(together) == 1
        self._times = {path: self._times.get(path, 0) + is_single for path in together}
        return is_single and self._times[together[0]] >= MOST_LOST

    def write(self, together: Sequence[str]) -> None:
        """Note the znodes of a multi with a reply."""
        for relative in together:
            self._times.pop(relative, None)
