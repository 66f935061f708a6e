"""The server's clock: the clock of this machine, or a clock that a test sets."""

import time
from collections.abc import Callable
from typing import Final, final


@final
class Clock:
    """A pair of clocks; both are functions that return milliseconds.

    Attributes:
        wall_ms: returns the time since the epoch; the administrator can set this clock back.
        monotonic_ms: returns the time of the monotonic clock, which is never set back.
    """

    __slots__ = ("monotonic_ms", "wall_ms")

    def __init__(self, wall_ms: Callable[[], int], monotonic_ms: Callable[[], int]) -> None:
        self.wall_ms = wall_ms
        self.monotonic_ms = monotonic_ms


def _wall_ms() -> int:
    return int(_time() * MS_PER_S)


def _monotonic_ms() -> int:
    return int(_monotonic() * MS_PER_S)


# A float, so that compiled code need not convert it. Module constants are faster than attributes.
MS_PER_S: Final = 1000.0
_time: Final = time.time
_monotonic: Final = time.monotonic

SYSTEM_CLOCK: Final = Clock(_wall_ms, _monotonic_ms)
"""The clock of this machine."""
