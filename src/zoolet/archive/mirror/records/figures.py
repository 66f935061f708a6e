"""What a mirror reports of its work. Imports nothing of zoolet."""

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Figures:
    """The figures of a mirror since its start.

    Attributes:
        copied: the number of znodes that were created or set.
        deleted: the number of znodes that were deleted.
        overwritten: the number of changes of other clients that were overwritten.
        comparisons: the number of comparisons of the subtrees.
        compared: the number of znodes that the running comparison has read.
        is_comparing: whether a comparison runs.
        ephemerals: the number of ephemerals that the last comparison left out.
        ephemeral_examples: the paths of some of them.
        unreached: the counters above the limit of steps, by their paths at the source.
        copied_lag_ms: the lag of the last batch of changes, in ms.
    """

    copied: int = 0
    deleted: int = 0
    overwritten: int = 0
    comparisons: int = 0
    compared: int = 0
    is_comparing: bool = False
    ephemerals: int = 0
    ephemeral_examples: list[str] = field(default_factory=list)
    unreached: dict[str, int] = field(default_factory=dict)
    copied_lag_ms: float = 0.0

    def now_s(self) -> float:
        """Return the time of the clock that measures lags, in seconds."""
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class Report:
    """The state of a mirror at a moment.

    Attributes:
        figures: the figures.
        waiting: the number of changed paths that are not copied.
        lag_ms: the age of the oldest change that is not copied; 0 if all are copied. Without a
            connection, and until the comparison after it ends, the age of the loss.
        is_connected_from: whether the source answers.
        is_connected_to: whether the target answers.
    """

    figures: Figures
    waiting: int
    lag_ms: float
    is_connected_from: bool
    is_connected_to: bool
