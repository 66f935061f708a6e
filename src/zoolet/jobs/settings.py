"""What holds for a whole queue, and is written down in it: its shards, limits, retention, store.

Everyone who works on a queue reads this from the queue, so that all go by the same. The number of
shards is fixed when the queue is created, since it says where a job stands. Imports the job
system's errors.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Self

from zoolet.jobs.errors import InvalidJobError, UnreadableJobError

SHARDS_MAX = 512
INLINE_LIMIT_BYTES = 32 * 1024
"""Largest result that stands in the done znode; larger ones go to the result store."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """The settings of a queue.

    Attributes:
        shards: into how many parts what waits is split; 1 is the flat layout.
        inline_limit_bytes: results of more bytes of JSON go to the result store.
        result_store: where they go, as a URL of SQLAlchemy; None is a file of this machine.
        keep_done_ms: finished jobs are removed this long after their end; None keeps them.
        keep_done_jobs: at most about so many finished jobs are kept, the oldest go; None keeps all.
    """

    shards: int = 1
    inline_limit_bytes: int = INLINE_LIMIT_BYTES
    result_store: str | None = None
    keep_done_ms: int | None = None
    keep_done_jobs: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.shards <= SHARDS_MAX:
            raise InvalidJobError(f"a queue has 1 to {SHARDS_MAX} shards, not {self.shards}")
        for name in ("inline_limit_bytes", "keep_done_ms", "keep_done_jobs"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise InvalidJobError(f"{name} is {value}; it cannot be less than 0")

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Return the settings that a queue's znode holds; unknown ones are passed over.

        Raises:
            UnreadableJobError: they are not settings.
        """
        try:
            found = json.loads(value)
            return cls(**{key: found[key] for key in found.keys() & _NAMES})
        except (ValueError, TypeError, AttributeError) as error:
            raise UnreadableJobError(
                f"the queue's settings cannot be read ({error}): look at its znode settings"
            ) from None

    def encode(self) -> bytes:
        """Return the value of the queue's znode."""
        return json.dumps(asdict(self)).encode()


_NAMES = frozenset(spec.name for spec in fields(QueueSettings))
