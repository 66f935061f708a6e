"""The settings of a queue, the value of its znode ``settings``: shards, limits, retention, store.

All programs that use a queue read its settings from this znode, so they use the same settings. The
number of shards is fixed when the queue is created, because the paths of jobs depend on it. This
module imports `zoolet.jobs.errors`, `zoolet.model` and other modules of its package.
"""

import json
import re
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Final, Self

from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.records.job_values import TIME_LIMIT_MS, is_text
from zoolet.jobs.records.json_values import decode_json
from zoolet.model.acl import AclList
from zoolet.model.acl_texts import AclError, parse_acl

SHARDS_MAX = 512
INLINE_MOST_BYTES = 2**40
DEFAULT_STORE: Final = "default"
"""The name of the result store of a queue whose settings name no store. A program without a URL for
this name uses a SQLite file in the home directory."""
IGNORED_URL: Final = "url-ignored"
"""The name of the result store if the setting is a URL, which an earlier version wrote."""
_STORE_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
INLINE_LIMIT_BYTES = 32 * 1024
"""The default of the largest result, in bytes of JSON, that is stored in the job's znode."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """The settings of a queue.

    Attributes:
        shards: the number of shards of the jobs; 1: the queue has no shards and no pages.
        inline_limit_bytes: the largest result, in bytes of JSON, that is stored in the job's znode;
            larger results are stored in the result store.
        result_store: the name of the result store, for which each program has a URL; None: the
            store `DEFAULT_STORE`. An earlier version stored the URL here: it is not used, and the
            name is `IGNORED_URL`.
        keep_done_ms: how long a job is kept after it has ended, in ms; None: for ever.
        keep_done_jobs: about how many ended jobs are kept at most; None: all are kept.
        keep_failed_ms: how long a FAILED job is kept after it has ended, in ms. ``keep_done_ms``
            and ``keep_done_jobs`` then apply only to SUCCESSFUL jobs. None: they apply to all.
        history: whether the attempts and times of a job are written to the database of the result
            store before the job is removed; None: only if ``result_store`` is set.
        max_waiting_jobs: the most jobs that may wait in unowned and deferred; a submission that
            would exceed it is refused. None: no limit.
        oldest_share_percent: of 100 jobs that a worker takes, this number are the oldest waiting
            jobs, whatever their priority, so that no job waits for ever. 0: priorities decide.
        acl: the ACL of all znodes of the queue, ``scheme:id:permissions[,...]``; None: everyone
            has all permissions. It is fixed when the queue is created. The scheme ``auth`` stands
            for the user who creates the queue, and is replaced by this user's identity.
    """

    shards: int = 1
    inline_limit_bytes: int = INLINE_LIMIT_BYTES
    result_store: str | None = None
    keep_done_ms: int | None = None
    keep_done_jobs: int | None = None
    keep_failed_ms: int | None = None
    history: bool | None = None
    max_waiting_jobs: int | None = None
    oldest_share_percent: int = 0
    acl: str | None = None

    def __post_init__(self) -> None:
        if not _is_number(self.shards, 1, SHARDS_MAX):
            raise InvalidJobError(f"a queue has 1 to {SHARDS_MAX} shards, not {self.shards!r}")
        for name, most in _NUMBERS.items():
            value = getattr(self, name)
            is_null = value is None and name not in _NEVER_NULL
            if not is_null and not _is_number(value, 0, most):
                raise InvalidJobError(
                    f"{name} is {value!r}; it must be a whole number from 0 to {most}"
                )
        if self.result_store is not None and not is_store_name(self.result_store):
            raise InvalidJobError(
                "result_store is not a name of up to 100 letters, digits and . _ -. The queue has"
                " only the name of the store: give its URL to each program, with"
                " --result-store-url NAME=URL"
            )
        if self.history is not None and not isinstance(self.history, bool):
            raise InvalidJobError(f"history is {self.history!r}; it must be true, false or null")
        if self.acl is not None:
            try:
                _read_acl(self.acl)
            except (AclError, TypeError) as error:
                raise InvalidJobError(f"acl is {self.acl!r}: {error}") from None

    @property
    def store_name(self) -> str:
        """The name of the result store."""
        return self.result_store or DEFAULT_STORE

    @property
    def keeps_history(self) -> bool:
        """Whether jobs are recorded in the history before they are removed."""
        return self.result_store is not None if self.history is None else self.history

    @property
    def acl_entries(self) -> AclList | None:
        """The entries of ``acl``; None if everyone has all permissions."""
        return None if self.acl is None else _read_acl(self.acl)

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Decode the value of a queue's znode ``settings``; unknown settings are ignored.

        Raises:
            UnreadableJobError: the value is not valid settings.
        """
        try:
            found = decode_json(value)
            if is_text(found.get("result_store")) and "://" in found["result_store"]:
                found["result_store"] = IGNORED_URL
            return cls(**{key: found[key] for key in found.keys() & _NAMES})
        except (ValueError, TypeError, AttributeError) as error:
            raise UnreadableJobError(
                f"the queue's settings are invalid ({error}): correct the value of the queue's"
                " znode settings"
            ) from None

    def encode(self) -> bytes:
        """Return the value of the znode ``settings``."""
        return json.dumps(asdict(self)).encode()


def is_store_name(value: object) -> bool:
    """Return whether a value is the name of a result store."""
    return isinstance(value, str) and _STORE_NAME.fullmatch(value) is not None


def _is_number(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


_NUMBERS = {
    "inline_limit_bytes": INLINE_MOST_BYTES,
    "keep_done_ms": TIME_LIMIT_MS,
    "keep_done_jobs": 2**53,
    "max_waiting_jobs": 2**53,
    "keep_failed_ms": TIME_LIMIT_MS,
    "oldest_share_percent": 100,
}
"""The greatest value of each setting that is a number."""
_NEVER_NULL = frozenset({"inline_limit_bytes", "oldest_share_percent"})


@lru_cache
def _read_acl(text: str) -> AclList:
    return parse_acl(text)


_NAMES = frozenset(spec.name for spec in fields(QueueSettings))
