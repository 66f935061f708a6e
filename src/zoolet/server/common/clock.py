"""What time it is: the clock of this machine, or one that a test sets."""

import time
from collections.abc import Callable
from typing import Final, final


@final
class Clock:
    """What time it is, in milliseconds.

    Attributes:
        wall_ms: since the epoch; it may be set back.
        monotonic_ms: since some moment; it only rises.
    """

    __slots__ = ("monotonic_ms", "wall_ms")

    def __init__(self, wall_ms: Callable[[], int], monotonic_ms: Callable[[], int]) -> None:
        self.wall_ms = wall_ms
        self.monotonic_ms = monotonic_ms


def _wall_ms() -> int:
    return int(_time() * MS_PER_S)


def _monotonic_ms() -> int:
    return int(_monotonic() * MS_PER_S)


# Floats, which compiled code calculates with as they are; and looked up once.
MS_PER_S: Final = 1000.0
_time: Final = time.time
_monotonic: Final = time.monotonic

SYSTEM_CLOCK: Final = Clock(_wall_ms, _monotonic_ms)
"""This machine's time."""
