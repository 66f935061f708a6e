"""Whether a version is slower than another one, by the ratios of paired measurements."""

import math
import statistics
from typing import NamedTuple

LEAST_PAIRS = 9
SLOWER_BELOW = 0.97
_OUTSIDE = 0.025


class Verdict(NamedTuple):
    """The median of the ratios (above 1 is faster) and its 95% confidence interval."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ratios: list[float]) -> "Verdict":
        """Judge ratios: the interval of their median goes between two of them, by their order."""
        ordered = sorted(ratios)
        size = len(ordered)
        below, rank = 0.5**size, 0
        while rank < size // 2 and below <= _OUTSIDE:
            rank += 1
            below += math.comb(size, rank) * 0.5**size
        low = max(0, rank - 1)
        return cls(statistics.median(ordered), ordered[low], ordered[size - 1 - low])

    @property
    def is_slower(self) -> bool:
        """Whether the median is below 0.97 and the whole interval below 1."""
        return self.median < SLOWER_BELOW and self.high < 1.0
