"""The values of the znodes of a batch: its record, the names of its jobs, the entries of its log.

`zoolet.jobs.znodes.batch_log` describes the znodes. This module imports the job system's
records and errors.
"""

import json
from dataclasses import dataclass
from typing import Any, Self

from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.records import job_names
from zoolet.jobs.records.dependencies import Dependencies
from zoolet.jobs.records.job_values import TIME_LIMIT_MS, is_znode_name
from zoolet.jobs.records.json_values import decode_json, decode_object
from zoolet.jobs.records.transitions import JobState
from zoolet.model import paths

CHUNK_JOBS = 50
"""The number of jobs of a batch that one multi submits, and that one znode ``jobs-<n>`` names."""


NAME_LIMIT = 200


BATCH_JOBS_LIMIT = 10_000_000
"""The greatest number of jobs in a batch. A follower reads one znode for every fifty jobs."""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """The value of a batch's znode.

    Attributes:
        name: the batch's name.
        jobs: the number of requests in the batch.
        submitted_ms: the time of submission, in milliseconds since the epoch.
        dependencies: what must end before this batch starts; None: nothing.
    """

    name: str
    jobs: int
    submitted_ms: int
    dependencies: Dependencies | None = None

    @classmethod
    def decode(cls, name: str, value: bytes) -> Self:
        """Decode the value of a batch's znode, which any program may have written.

        Raises:
            UnreadableJobError: the value is not the record of a batch.
        """
        try:
            found = decode_json(value)
        except ValueError as error:
            raise UnreadableJobError(f"the record of batch {name} is not JSON: {error}") from None
        fields = found if isinstance(found, dict) else {}
        jobs, submitted_ms = (fields.get(key) for key in ("jobs", "submitted_ms"))
        try:
            dependencies = _dependencies(fields)
        except ValueError:
            jobs, dependencies = None, None
        if (
            type(jobs) is int
            and 0 <= jobs <= BATCH_JOBS_LIMIT
            and type(submitted_ms) is int
            and 0 <= submitted_ms <= TIME_LIMIT_MS
        ):
            return cls(name, jobs, submitted_ms, dependencies)
        raise UnreadableJobError(
            f"the record of batch {name} is invalid: correct the batch's znode, or delete it"
        )

    def encode(self) -> bytes:
        """Return the znode's value."""
        value: dict[str, Any] = {"jobs": self.jobs, "submitted_ms": self.submitted_ms}
        if self.dependencies is not None and self.dependencies.is_simple:
            value["after"] = self.dependencies.after[0]
        elif self.dependencies is not None:
            value["dependencies"] = self.dependencies.as_json()
        return json.dumps(value).encode()

    @property
    def chunks(self) -> int:
        """The number of znodes ``jobs-<n>`` that name the batch's jobs."""
        return -(-self.jobs // CHUNK_JOBS)


def _dependencies(fields: dict[str, Any]) -> Dependencies | None:
    """Return the dependencies in a record; raise ValueError if they are invalid."""
    if fields.get("dependencies") is not None:
        return Dependencies.from_json(fields["dependencies"])
    after = fields.get("after")
    if after is None:
        return None
    if not is_batch_name(after):
        raise ValueError("after is not the name of a batch")
    return Dependencies((after,))


ORIGINS = ("NEW", "JOINED", "STORED")
"""The possible origins of a batch's jobs (`zoolet.jobs.submit.submission.Origin`)."""


_ENDED = (JobState.SUCCESSFUL, JobState.FAILED)


def is_batch_name(name: object) -> bool:
    """Return whether a value, which any program may have written, is a valid batch name."""
    return isinstance(name, str) and len(name) <= NAME_LIMIT and is_znode_name(name)


def check_name(name: str) -> None:
    """Raise InvalidJobError if ``name`` is not a valid batch name."""
    reason = paths.reason_invalid(f"/{name}")
    if reason is not None or "/" in name or not 1 <= len(name) <= NAME_LIMIT:
        raise InvalidJobError(
            f"batch name {name!r}: "
            + (reason or f"a batch name has no / and 1 to {NAME_LIMIT} characters")
        )


def decode_chunk(batch: str, data: bytes) -> list[tuple[str, str]]:
    """Return the jobs that a chunk of a batch names, each as name and origin.

    Raises:
        UnreadableJobError: the value of the chunk's znode is invalid.
    """
    try:
        found = decode_json(data)
    except ValueError:
        found = None
    if isinstance(found, list) and all(map(_is_named, found)):
        return [(name, origin) for name, origin in found]
    raise UnreadableJobError(f"a znode jobs-... of batch {batch} does not name jobs")


def _is_named(pair: object) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and job_names.parse(pair[0]) is not None
        and pair[1] in ORIGINS
    )


def decode_entry(data: bytes) -> dict[str, JobState]:
    """Return the jobs that an entry of a batch's log names; none if its value is invalid."""
    return {
        name: JobState(state)
        for state, names in decode_object(data).items()
        if state in _ENDED and isinstance(names, list)
        for name in names
        if isinstance(name, str) and job_names.parse(name) is not None
    }
