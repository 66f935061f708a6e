"""Batches in a queue: what was submitted together, and the log of what of it has ended.

    batches/<name>               how many jobs, when submitted, after which other batch
    batches/<name>/jobs-<n>      the names of the n-th fifty of them, as they were submitted
    batches/<name>/log/e-<seq>   jobs that came to stand under done, appended in the same multi
    chains/<name>                there while the batch waits for the one that it comes after

The server numbers the log's entries without a gap, so whoever follows a batch asks for the next
entry by its name, and nobody lists anything. A job that was retried is in the log again.
Imports the job system's records and layout.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

from zoolet.jobs.errors import InvalidJobError, UnknownBatchError, UnreadableJobError
from zoolet.jobs.records import job_names
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import TIME_LIMIT_MS, is_znode_name
from zoolet.jobs.records.json_values import decode_json
from zoolet.jobs.records.transitions import JobState
from zoolet.jobs.znodes.edge import Watch
from zoolet.jobs.znodes.layout import BATCHES, CHAINS, Layout
from zoolet.jobs.znodes.operations import Create
from zoolet.model import paths

CHUNK_JOBS = 50
"""Jobs of a batch that are submitted in one multi, and named in one znode."""
ENTRIES_AT_ONCE = 20
NAME_LIMIT = 200
BATCH_JOBS_LIMIT = 10_000_000
"""Most jobs of a batch: whoever follows it reads a znode for each fifty of them."""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What a batch's znode says.

    Attributes:
        name: the batch's name.
        jobs: how many requests it has.
        submitted_ms: when, in milliseconds since the epoch.
        after: the batch that it waits for.
    """

    name: str
    jobs: int
    submitted_ms: int
    after: str | None = None

    @classmethod
    def decode(cls, name: str, value: bytes) -> Self:
        """Return the record that stands at a batch's znode, which any program may have written.

        Raises:
            UnreadableJobError: it is not a batch's.
        """
        try:
            found = decode_json(value)
        except ValueError as error:
            raise UnreadableJobError(f"the record of batch {name} is not JSON: {error}") from None
        fields = found if isinstance(found, dict) else {}
        jobs, submitted_ms, after = (fields.get(key) for key in ("jobs", "submitted_ms", "after"))
        if (
            type(jobs) is int
            and 0 <= jobs <= BATCH_JOBS_LIMIT
            and type(submitted_ms) is int
            and 0 <= submitted_ms <= TIME_LIMIT_MS
            and (after is None or is_batch_name(after))
        ):
            return cls(name, jobs, submitted_ms, after)
        raise UnreadableJobError(
            f"the record of batch {name} is not a batch's: correct its znode, or delete it"
        )

    def encode(self) -> bytes:
        """Return the znode's value."""
        value = {"jobs": self.jobs, "submitted_ms": self.submitted_ms}
        return json.dumps(value | ({"after": self.after} if self.after else {})).encode()

    @property
    def chunks(self) -> int:
        """How many znodes name its jobs."""
        return -(-self.jobs // CHUNK_JOBS)


ORIGINS = ("NEW", "JOINED", "STORED")
"""Where the jobs of a batch come from (`zoolet.jobs.znodes.submission.Origin`)."""
_ENDED = (JobState.SUCCESSFUL, JobState.FAILED)


class Ended(dict[str, JobState]):
    """Jobs that have ended, by name, in the order of the log."""


def is_batch_name(name: object) -> bool:
    """Say whether a value that any program may have written can be the name of a batch."""
    return isinstance(name, str) and len(name) <= NAME_LIMIT and is_znode_name(name)


def check_name(name: str) -> None:
    """Raise InvalidJobError where this cannot be the name of a batch."""
    reason = paths.reason_invalid(f"/{name}")
    if reason is not None or "/" in name or len(name) > NAME_LIMIT:
        raise InvalidJobError(
            f"batch name {name!r}: "
            + (reason or f"it has no / and at most {NAME_LIMIT} characters")
        )


def batch_path(layout: Layout, name: str) -> str:
    """Return the path of a batch."""
    return layout.znodes.path(BATCHES, name)


def chain_path(layout: Layout, name: str) -> str:
    """Return the path that is there while a batch waits for another one."""
    return layout.znodes.path(CHAINS, name)


def decode_chain(data: bytes) -> str:
    """Return the name of the batch that another one waits for; any program may have written it."""
    return data.decode(errors="backslashreplace")


def chunk_path(layout: Layout, name: str, number: int) -> str:
    """Return the path of the n-th names of a batch."""
    return f"{batch_path(layout, name)}/jobs-{number:06d}"


def entry_path(layout: Layout, name: str, number: int) -> str:
    """Return the path of the n-th entry of a batch's log."""
    return f"{batch_path(layout, name)}/log/e-{number:010d}"


def entry(layout: Layout, name: str, jobs: Sequence[Job]) -> Create:
    """Return the operation that appends jobs which come to stand under done to the log."""
    by_state: dict[str, list[str]] = {}
    for job in jobs:
        by_state.setdefault(job.state, []).append(job.name)
    path = f"{batch_path(layout, name)}/log/e-"
    return Create(path, json.dumps(by_state).encode(), sequence=True)


def read_record(layout: Layout, name: str) -> BatchRecord:
    """Return what a batch is.

    Raises:
        UnknownBatchError: there is none of this name.
        UnreadableJobError: its znode does not hold a batch.
    """
    check_name(name)
    found = layout.znodes.get(batch_path(layout, name))
    if found is None:
        raise UnknownBatchError(f"no batch {name} is in this queue")
    return BatchRecord.decode(name, found.data)


def read_chunks(layout: Layout, record: BatchRecord) -> list[list[tuple[str, str]]]:
    """Return the jobs of a batch, as name and origin, by chunk; those that nobody wrote are [].

    Raises:
        UnreadableJobError: a chunk does not name jobs.
    """
    wanted = [chunk_path(layout, record.name, number) for number in range(record.chunks)]
    return [
        decode_chunk(record.name, znode.data) if znode and znode.data else []
        for znode in layout.znodes.get_all(wanted)
    ]


def decode_chunk(batch: str, data: bytes) -> list[tuple[str, str]]:
    """Return the jobs that a chunk of a batch names, as name and origin.

    Raises:
        UnreadableJobError: it does not name jobs.
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
    """Return the jobs that an entry of a batch's log names; what is not an entry names none."""
    try:
        found = decode_json(data)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        name: JobState(state)
        for state, names in found.items()
        if state in _ENDED and isinstance(names, list)
        for name in names
        if isinstance(name, str) and job_names.parse(name) is not None
    }


def read_log(layout: Layout, name: str, first: int) -> tuple[Ended, int]:
    """Return the jobs that the log names from an entry on, and the number of the next entry."""
    ended = Ended()
    while True:
        wanted = [entry_path(layout, name, first + i) for i in range(ENTRIES_AT_ONCE)]
        found = layout.znodes.get_all(wanted)
        for znode in found:
            if znode is None:
                return ended, first
            ended.update(decode_entry(znode.data))
            first += 1


class BatchEnd:
    """Finds out when all jobs of a batch have ended, reading no entry of its log twice."""

    def __init__(self, layout: Layout, name: str) -> None:
        self._layout = layout
        self._name = name
        self._outstanding: set[str] | None = None
        self._joined: set[str] = set()
        self._next_entry = 0

    @property
    def outstanding(self) -> frozenset[str]:
        """The jobs that had not ended when it was last asked; none before all are known."""
        return frozenset(self._outstanding or ())

    def forget(self, names: Collection[str]) -> None:
        """Wait no longer for these jobs, of which nothing will tell: they were deleted."""
        if self._outstanding is not None:
            self._outstanding.difference_update(names)

    def has_come(self, watch: Watch) -> bool:
        """Say whether it has; where not, the watch is called when it is worth asking again."""
        layout = self._layout
        if self._outstanding is None:
            try:
                record = read_record(layout, self._name)
            except UnknownBatchError:
                return True
            chunks = read_chunks(layout, record)
            for number, chunk in enumerate(chunks):
                if not chunk and not layout.znodes.exists(
                    chunk_path(layout, self._name, number), watch
                ):
                    return False
            if not all(chunks):
                return self.has_come(watch)
            self._outstanding = {name for chunk in chunks for name, _ in chunk}
            # Jobs that the batch joined are in the log of another batch, if in any.
            self._joined = {name for chunk in chunks for name, origin in chunk if origin != "NEW"}
        ended, self._next_entry = read_log(layout, self._name, self._next_entry)
        self._outstanding -= ended.keys()
        left = sorted(self._joined & self._outstanding)
        is_done = layout.znodes.exists_all([(layout.done(name), watch) for name in left])
        self._outstanding -= {n for n, done in zip(left, is_done, strict=True) if done}
        if not self._outstanding:
            return True
        if layout.znodes.exists(entry_path(layout, self._name, self._next_entry), watch):
            return self.has_come(watch)
        return False
