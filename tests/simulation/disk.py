"""The disk in memory, failing by chance: it tears writes, loses what was not synced, and rots."""

import random

from zoolet.storage.files import by_zxid
from zoolet.testing.servers.memory_disk import Content, DiskStep, MemoryDisk

NO_SPACE = OSError(28, "No space left on device")
BROKEN = OSError(5, "Input/output error")


class CrashError(BaseException):
    """The machine stops here; nothing may catch it but the simulation."""


BEFORE: dict[DiskStep, tuple[float, tuple[OSError, ...]]] = {
    DiskStep.CREATE: (0.01, ()),
    DiskStep.RENAME: (0.01, ()),
    DiskStep.SYNC_DIRECTORY: (0.01, ()),
    DiskStep.WRITE: (0.02, (NO_SPACE,)),
    DiskStep.PREALLOCATE: (0.02, (NO_SPACE,)),
    DiskStep.TRUNCATE: (0.02, ()),
    DiskStep.SYNC: (0.02, (BROKEN,)),
}
"""How probable it is that a step fails, and with what instead of a crash."""

AFTER = {DiskStep.SYNC_DIRECTORY: 0.01, DiskStep.TRUNCATE: 0.02, DiskStep.SYNC: 0.02}
"""How probable it is that the machine stops behind a step."""


class SimulatedDisk(MemoryDisk):
    """A disk all of whose faults come from ``chance``.

    Attributes:
        faults: whether anything may fail now.
        can_preallocate: whether the file system can reserve room; some cannot.
        rotten: the file of which a bit was flipped, and what it was before.
    """

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.faults = True
        self.rotten: tuple[Content, bytes] | None = None
        self._chance = chance
        self.can_preallocate = chance.random() < 0.75

    def before(self, step: DiskStep) -> None:
        probability, errors = BEFORE[step]
        self._may_fail(probability, *errors)

    def after(self, step: DiskStep) -> None:
        self._may_fail(AFTER[step])

    def preallocate(self, content: Content, size_bytes: int) -> bool:
        return self.can_preallocate and super().preallocate(content, size_bytes)

    def part_of(self, size_bytes: int) -> int:
        return self._chance.randrange(size_bytes + 1)

    def rot(self) -> None:
        """Flip a bit of a file; not of the newest log.

        A flipped bit in the last record of all looks just like a write that was never finished, and
        no check could tell the two apart.
        """
        logs = by_zxid([path.name for path in self._names], "log")
        spared = logs[-1][1] if logs else ""
        filled = [
            content
            for path, content in sorted(self._names.items())
            if content.durable and path.name != spared
        ]
        if filled:
            content = self._chance.choice(filled)
            self.rotten = (content, bytes(content.durable))
            flipped = self._chance.randrange(len(content.durable))
            content.durable[flipped] ^= 1 << self._chance.randrange(8)

    def unrot(self) -> None:
        """Put the flipped bit back."""
        if self.rotten is not None:
            content, before = self.rotten
            content.durable[:], self.rotten = before, None

    def _may_fail(self, probability: float, *errors: OSError) -> None:
        """Stop the machine here, or raise one of the errors, or go on."""
        if self.faults and self._chance.random() < probability:
            raise self._chance.choice([CrashError(), *errors])
