"""A disk in memory on which the machine stops before or after any chosen operation."""

import random

from zoolet.testing.servers.memory_disk import DiskStep, MemoryDisk


class StoppedError(BaseException):
    """The machine stops here; nothing may catch it but the test."""


class StoppingDisk(MemoryDisk):
    """Counts its operations, and stops the machine at one of them.

    Attributes:
        count: the number of operations so far; before and after a sync are two.
        stop_at: the number of the operation at which the machine stops; None for never.
    """

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.count = 0
        self.stop_at: int | None = None
        self._chance = chance

    def before(self, step: DiskStep) -> None:
        del step
        self._next()

    def after(self, step: DiskStep) -> None:
        del step
        self._next()

    def part_of(self, size_bytes: int) -> int:
        return self._chance.randrange(size_bytes + 1)

    def restart(self) -> None:
        """Start the machine again: a random part of what was not synced is lost."""
        self.stop_at = None
        self.lose_unsynced(self._chance)

    def _next(self) -> None:
        self.count += 1
        if self.count == self.stop_at:
            raise StoppedError
