"""Batches in a queue: the jobs that were submitted together, and the log of those that ended.

    batches/<name>               the number of jobs, the time of submission, the batch before it
    batches/<name>/jobs-<n>      the names of jobs n * 50 to n * 50 + 49, in order of submission
    batches/<name>/log/e-<seq>   names of ended jobs; created by the multi that moves them to done
    chains/<name>                exists while the batch waits for other batches or jobs

The server numbers the log's entries without gaps, so a program that follows a batch reads the next
entry by its name and lists no children. If a retried job ends, the log names the job again. This
module imports `zoolet.jobs.errors`, `zoolet.jobs.records`, `zoolet.model` and other modules of its
package.
"""

import json
from collections.abc import Collection, Mapping, Sequence

from zoolet.jobs.errors import UnknownBatchError
from zoolet.jobs.records.batches import BatchRecord, check_name, decode_chunk, decode_entry
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.transitions import JobState, Place
from zoolet.jobs.znodes.layout import BATCHES, CHAINS, Layout
from zoolet.jobs.znodes.link import Watch
from zoolet.jobs.znodes.operations import Create

ENTRIES_AT_ONCE = 20


class Ended(dict[str, JobState]):
    """The final states of ended jobs by job name, in the order of the log."""


def batch_path(layout: Layout, name: str) -> str:
    """Return the path of a batch."""
    return layout.znodes.path(BATCHES, name)


def chain_path(layout: Layout, name: str) -> str:
    """Return the path of the znode that exists while a batch waits for another batch."""
    return layout.znodes.path(CHAINS, name)


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
    """Finds out when all jobs of a batch have ended. It reads each entry of the log only once.

    Attributes:
        failed: the jobs that are FAILED, as the last check found them.
        lost: the jobs that were removed before their end was known.
        is_unknown: whether the batch does not exist.
    """

    def __init__(self, layout: Layout, name: str) -> None:
        self._layout = layout
        self._name = name
        self._outstanding: set[str] | None = None
        self._joined: set[str] = set()
        self._known: set[str] = set()
        """The jobs whose end is known."""
        self._next_entry = 0
        self.failed: set[str] = set()
        self.lost: set[str] = set()
        self.is_unknown = False

    @property
    def outstanding(self) -> frozenset[str]:
        """The jobs that had not ended at the last check; empty until all jobs are known."""
        return frozenset(self._outstanding or ())

    def forget(self, names: Collection[str]) -> None:
        """Stop waiting for these jobs: no log or watch tells of their end or deletion."""
        if self._outstanding is not None:
            gone = self._outstanding.intersection(names)
            self._outstanding -= gone
            self._note_ends({job.name: job.state for job in self._layout.read(Place.DONE, gone)})
            self.lost |= gone - self._known

    def _note_ends(self, ended: Mapping[str, JobState]) -> None:
        """Record the last known states of jobs of the batch; a job may have been retried."""
        self._known |= ended.keys()
        failed = {name for name, state in ended.items() if state is JobState.FAILED}
        self.failed = (self.failed - ended.keys()) | failed

    def has_come(self, watch: Watch) -> bool:
        """Return whether all jobs have ended; if not, check again when the watch fires."""
        layout = self._layout
        if self._outstanding is None:
            try:
                record = read_record(layout, self._name)
            except UnknownBatchError:
                self.is_unknown = True
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
        self._note_ends(ended)
        left = sorted(self._joined & self._outstanding)
        is_done = layout.znodes.exists_all([(layout.done(name), watch) for name in left])
        joined = [name for name, done in zip(left, is_done, strict=True) if done]
        self._outstanding.difference_update(joined)
        self._note_ends({job.name: job.state for job in layout.read(Place.DONE, joined)})
        if not self._outstanding:
            return True
        if layout.znodes.exists(entry_path(layout, self._name, self._next_entry), watch):
            return self.has_come(watch)
        return False
