"""What holds for a whole queue, and is written down in it: its shards, limits, retention, store.

Everyone who works on a queue reads this from the queue, so that all go by the same. The number of
shards is fixed when the queue is created, since it says where a job stands. Imports the job
system's errors.
"""

import json
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Self

from zoolet.client.acls import AclError, parse_acl
from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.records.job_values import TIME_LIMIT_MS, is_text
from zoolet.jobs.records.json_values import decode_json
from zoolet.model.acl import AclList

SHARDS_MAX = 512
INLINE_MOST_BYTES = 2**40
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
        keep_done_jobs: about how many finished jobs are kept at most; None keeps all.
        acl: the ACL of all znodes of the queue, ``scheme:id:permissions[,...]``; None: everyone may
            do everything. It is fixed when the queue is created. The scheme ``auth`` stands for
            whoever creates the queue, and is replaced by that identity.
    """

    shards: int = 1
    inline_limit_bytes: int = INLINE_LIMIT_BYTES
    result_store: str | None = None
    keep_done_ms: int | None = None
    keep_done_jobs: int | None = None
    acl: str | None = None

    def __post_init__(self) -> None:
        if not _is_number(self.shards, 1, SHARDS_MAX):
            raise InvalidJobError(f"a queue has 1 to {SHARDS_MAX} shards, not {self.shards!r}")
        for name, most in _NUMBERS.items():
            value = getattr(self, name)
            is_null = value is None and name != "inline_limit_bytes"
            if not is_null and not _is_number(value, 0, most):
                raise InvalidJobError(f"{name} is {value!r}; it is a whole number, 0 to {most}")
        if self.result_store is not None and not is_text(self.result_store):
            raise InvalidJobError("result_store is not a text: it is a URL of SQLAlchemy, or null")
        if self.acl is not None:
            try:
                _read_acl(self.acl)
            except (AclError, TypeError) as error:
                raise InvalidJobError(f"acl is {self.acl!r}: {error}") from None

    @property
    def acl_entries(self) -> AclList | None:
        """The entries of ``acl``; None: the server's default, everyone may do everything."""
        return None if self.acl is None else _read_acl(self.acl)

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Return the settings that a queue's znode holds; unknown ones are passed over.

        Raises:
            UnreadableJobError: they are not settings.
        """
        try:
            found = decode_json(value)
            return cls(**{key: found[key] for key in found.keys() & _NAMES})
        except (ValueError, TypeError, AttributeError) as error:
            raise UnreadableJobError(
                f"the queue's settings cannot be read ({error}): look at its znode settings"
            ) from None

    def encode(self) -> bytes:
        """Return the value of the queue's znode."""
        return json.dumps(asdict(self)).encode()


def _is_number(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


_NUMBERS = {
    "inline_limit_bytes": INLINE_MOST_BYTES,
    "keep_done_ms": TIME_LIMIT_MS,
    "keep_done_jobs": 2**53,
}
"""The greatest value of each setting that is a number."""


@lru_cache
def _read_acl(text: str) -> AclList:
    return parse_acl(text)


_NAMES = frozenset(spec.name for spec in fields(QueueSettings))
