"""What a mirror has to look at: changed paths, each once, and when the first change came.

Invariants: the memory is bounded. Above the most paths, the set is emptied, and the mirror compares
the subtrees instead. A path is taken out before it is read, so a later change adds it again. This
module imports nothing of zoolet.
"""

from itertools import islice
from typing import Final

MOST_PATHS: Final = 100_000


class Changes:
    """The paths that changed in the source, in the order of the first change of each.

    Attributes:
        needs_comparison: whether changes may be missing, so that the subtrees must be compared.
    """

    def __init__(self, most: int = MOST_PATHS) -> None:
        self._most = most
        self._changed: dict[str, float] = {}
        self._parents: dict[str, None] = {}
        self._taken_since_s: float | None = None
        self._missing_since_s: float | None = None
        self.needs_comparison = False

    def __len__(self) -> int:
        return len(self._changed)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be read and nothing is to be compared."""
        return not (self._changed or self._parents or self.needs_comparison)

    def add(self, relative: str, since_s: float) -> None:
        """Note that a znode may have changed at a moment."""
        if self.needs_comparison or relative in self._changed:
            return
        if len(self._changed) >= self._most:
            self.miss(min(self._changed.values()))
            return
        self._changed[relative] = since_s

    def add_parent(self, relative: str) -> None:
        """Note that the counter of a znode may have risen."""
        if self.needs_comparison:
            return
        if len(self._parents) >= self._most:
            self.miss(min(self._changed.values(), default=0.0))
            return
        self._parents[relative] = None

    def miss(self, since_s: float) -> None:
        """Note that changes since a moment may be missing: a comparison finds all of them."""
        self.needs_comparison = True
        since_s = min([since_s, *self._changed.values()])
        if self._missing_since_s is None or since_s < self._missing_since_s:
            self._missing_since_s = since_s
        self._changed.clear()
        self._parents.clear()

    def begin_comparison(self) -> None:
        """Note that a comparison begins, which finds all changes until now."""
        self.needs_comparison = False
        self._changed.clear()
        self._parents.clear()

    def end_comparison(self) -> None:
        """Note that the differences of the comparison are copied, or added."""
        if not self.needs_comparison:
            self._missing_since_s = None

    def take(self, most: int) -> dict[str, float]:
        """Remove and return up to ``most`` paths with their moments, the oldest first."""
        taken = dict(islice(self._changed.items(), most))
        for relative in taken:
            del self._changed[relative]
        self._taken_since_s = min(taken.values(), default=None)
        return taken

    def take_parents(self, most: int) -> list[str]:
        """Remove and return up to ``most`` znodes whose counters may have risen."""
        taken = list(islice(self._parents, most))
        for relative in taken:
            del self._parents[relative]
        return taken

    def end_taken(self) -> None:
        """Note that the paths that were taken are copied, or added again."""
        self._taken_since_s = None

    def since_s(self) -> float | None:
        """Return the moment of the oldest change that is not copied; None if there is none."""
        # A copy, because the thread of the metrics calls this too.
        waiting = min(list(self._changed.values()), default=None)
        moments = [self._missing_since_s, self._taken_since_s, waiting]
        return min((moment for moment in moments if moment is not None), default=None)


class CopyEvents:
    """The paths of the target with events, which the mirror itself or another client caused.

    Attributes:
        needs_comparison: whether events may be missing.
    """

    def __init__(self, most: int = MOST_PATHS) -> None:
        self._most = most
        self._zxids: dict[str, int] = {}
        self.needs_comparison = False

    def __len__(self) -> int:
        return len(self._zxids)

    def add(self, relative: str, zxid: int) -> None:
        """Note an event; the zxid is -1 if the server does not send it."""
        if self.needs_comparison:
            return
        if len(self._zxids) >= self._most:
            self.miss()
            return
        known = self._zxids.setdefault(relative, zxid)
        if known != zxid:
            self._zxids[relative] = -1

    def miss(self) -> None:
        """Note that events may be missing."""
        self.needs_comparison = True
        self._zxids.clear()

    def begin_comparison(self) -> None:
        """Note that a comparison begins, which finds all changes until now."""
        self.needs_comparison = False
        self._zxids.clear()

    def take(self) -> dict[str, int]:
        """Remove and return the paths with the zxid of their only txn; -1 if it is not known."""
        taken, self._zxids = self._zxids, {}
        return taken
