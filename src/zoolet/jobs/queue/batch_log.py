"""Batches in a queue: the jobs that were submitted together, and the log of those that ended.

    batches/<name>               the number of jobs, the time of submission, the batch before it
    batches/<name>/jobs-<n>      the names of jobs n * 50 to n * 50 + 49, in order of submission
    batches/<name>/log/e-<seq>   names of ended jobs; created by the multi that moves them to done
    chains/<name>                exists while the batch waits for the batch before it

The server numbers the log's entries without gaps, so a program that follows a batch reads the next
entry by its name and lists no children. If a retried job ends, the log names the job again.
This module imports the job system's records and layout.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

from zoolet.jobs.errors import InvalidJobError, UnknownBatchError, UnreadableJobError
from zoolet.jobs.queue.edge import Watch
from zoolet.jobs.queue.layout import BATCHES, CHAINS, Layout
from zoolet.jobs.queue.operations import Create
from zoolet.jobs.records import job_names
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import TIME_LIMIT_MS, is_znode_name
from zoolet.jobs.records.json_values import decode_json
from zoolet.jobs.records.transitions import JobState
from zoolet.model import paths

CHUNK_JOBS = 50
"""The number of jobs of a batch that one multi submits, and that one znode ``jobs-<n>`` names."""
ENTRIES_AT_ONCE = 20
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
        after: the name of the batch that must end before this batch starts; None: no batch.
    """

    name: str
    jobs: int
    submitted_ms: int
    after: str | None = None

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
            f"the record of batch {name} is invalid: correct the batch's znode, or delete it"
        )

    def encode(self) -> bytes:
        """Return the znode's value."""
        value = {"jobs": self.jobs, "submitted_ms": self.submitted_ms}
        return json.dumps(value | ({"after": self.after} if self.after else {})).encode()

    @property
    def chunks(self) -> int:
        """The number of znodes ``jobs-<n>`` that name the batch's jobs."""
        return -(-self.jobs // CHUNK_JOBS)


ORIGINS = ("NEW", "JOINED", "STORED")
"""The possible origins of a batch's jobs (`zoolet.jobs.queue.submission.Origin`)."""
_ENDED = (JobState.SUCCESSFUL, JobState.FAILED)


class Ended(dict[str, JobState]):
    """The final states of ended jobs by job name, in the order of the log."""


def is_batch_name(name: object) -> bool:
    """Return whether a value, which any program may have written, is a valid batch name."""
    return isinstance(name, str) and len(name) <= NAME_LIMIT and is_znode_name(name)


def check_name(name: str) -> None:
    """Raise InvalidJobError if ``name`` is not a valid batch name."""
    reason = paths.reason_invalid(f"/{name}")
    if reason is not None or "/" in name or len(name) > NAME_LIMIT:
        raise InvalidJobError(
            f"batch name {name!r}: "
            + (reason or f"a batch name has no / and at most {NAME_LIMIT} characters")
        )


def batch_path(layout: Layout, name: str) -> str:
    """Return the path of a batch."""
    return layout.znodes.path(BATCHES, name)


def chain_path(layout: Layout, name: str) -> str:
    """Return the path of the znode that exists while a batch waits for another batch."""
    return layout.znodes.path(CHAINS, name)


def decode_chain(data: bytes) -> str:
    """Decode the value of a znode ``chains/<name>``: the name of the batch that is waited for."""
    return data.decode(errors="backslashreplace")


def chunk_path(layout: Layout, name: str, number: int) -> str:
    """Return the path of the znode that names the jobs of a batch's n-th chunk, from 0."""
    return f"{batch_path(layout, name)}/jobs-{number:06d}"


def entry_path(layout: Layout, name: str, number: int) -> str:
    """Return the path of the n-th entry of a batch's log, from 0."""
    return f"{batch_path(layout, name)}/log/e-{number:010d}"


def entry(layout: Layout, name: str, jobs: Sequence[Job]) -> Create:
    """Return the operation that appends jobs, which the same multi moves to done, to the log."""
    by_state: dict[str, list[str]] = {}
    for job in jobs:
        by_state.setdefault(job.state, []).append(job.name)
    path = f"{batch_path(layout, name)}/log/e-"
    return Create(path, json.dumps(by_state).encode(), sequence=True)


def read_record(layout: Layout, name: str) -> BatchRecord:
    """Return the record of a batch.

    Raises:
        UnknownBatchError: the queue has no batch of this name.
        UnreadableJobError: the znode's value is not the record of a batch.
    """
    check_name(name)
    found = layout.znodes.get(batch_path(layout, name))
    if found is None:
        raise UnknownBatchError(f"no batch {name} is in this queue")
    return BatchRecord.decode(name, found.data)


def read_chunks(layout: Layout, record: BatchRecord) -> list[list[tuple[str, str]]]:
    """Return the jobs of a batch by chunk, each as name and origin; [] for a missing chunk.

    Raises:
        UnreadableJobError: the value of a chunk's znode is invalid.
    """
    wanted = [chunk_path(layout, record.name, number) for number in range(record.chunks)]
    return [
        decode_chunk(record.name, znode.data) if znode and znode.data else []
        for znode in layout.znodes.get_all(wanted)
    ]


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
    """Return the jobs that the log names from entry ``first`` on, and the next entry's number."""
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
    """Finds out when all jobs of a batch have ended. It reads each entry of the log only once."""

    def __init__(self, layout: Layout, name: str) -> None:
        self._layout = layout
        self._name = name
        self._outstanding: set[str] | None = None
        self._joined: set[str] = set()
        self._next_entry = 0

    @property
    def outstanding(self) -> frozenset[str]:
        """The jobs that had not ended at the last check; empty until all jobs are known."""
        return frozenset(self._outstanding or ())

    def forget(self, names: Collection[str]) -> None:
        """Stop waiting for these jobs: they were deleted, and no log or watch tells of that."""
        if self._outstanding is not None:
            self._outstanding.difference_update(names)

    def has_come(self, watch: Watch) -> bool:
        """Return whether all jobs have ended; if not, check again when the watch fires."""
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
            # A job that the batch joined is in the log of another batch, or in no log.
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
