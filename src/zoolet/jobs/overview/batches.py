"""The progress of batches, for programs that show it again and again.

A batch's log names each job that has ended, so the progress is read without reading the jobs. A
`BatchReader` reads each entry of the log once. This module imports `zoolet.jobs.errors`,
`zoolet.jobs.queue`, `zoolet.jobs.records` and `zoolet.jobs.znodes`.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from zoolet.jobs.errors import JobError
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.batches import BatchRecord
from zoolet.jobs.records.transitions import JobState, Place
from zoolet.jobs.znodes.batch_log import chain_path, read_chunks, read_log, read_record

COUNTED_JOBS = 100_000
"""The most jobs of a batch whose states are counted."""
OWNED_READ = 500
"""The most owned jobs that are read for the jobs of a batch that run now."""
CHECKED_JOBS = 1000
"""The most jobs of each kind that a look checks: jobs that the batch joined, which are in no log,
and FAILED jobs, which may have been retried. Further jobs are checked by the next look."""

_ENDED = (JobState.SUCCESSFUL, JobState.FAILED)


class BatchView(NamedTuple):
    """A batch and its progress.

    Attributes:
        name: the name of the batch.
        requests: the number of requests that were submitted.
        submitted_ms: when it was submitted, in ms since the epoch.
        waits_for: the condition under which it starts; "" if it waits for nothing now.
        states: the number of jobs in each state; None if there are too many to count them.
        missing: the number of requests whose jobs are not submitted yet, or never will be.
        share: the share of the jobs that is done, from 0 to 1, with what running jobs report.
        problem: why the batch cannot be read; "" if it can.
    """

    name: str
    requests: int
    submitted_ms: int
    waits_for: str = ""
    states: dict[JobState, int] | None = None
    missing: int = 0
    share: float = 0.0
    problem: str = ""

    @property
    def jobs(self) -> int:
        """The number of different jobs that were counted."""
        return sum((self.states or {}).values())


class BatchReader:
    """Reads the progress of a batch; it keeps the names of the jobs that have ended."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._record: BatchRecord | None = None
        self._names: dict[str, bool] = {}
        """The jobs, and whether another batch has submitted the job."""
        self._missing = 0
        self._ended: dict[str, JobState] = {}
        self._next_entry = 0
        self._looks = 0

    @property
    def size(self) -> int:
        """The number of names that the reader keeps."""
        return len(self._names)

    def read(self, queue: JobQueue, owned: Collection[str] | None = None) -> BatchView:
        """Return the progress of the batch.

        ``owned`` are the names of all jobs in owned, if the caller knows them.

        Raises:
            UnknownBatchError: the queue does not have the batch.
            UnreadableJobError: its znodes have invalid values.
        """
        layout = queue.layout
        record = read_record(layout, self.name)
        if record != self._record:
            # Another batch of this name, or the first look.
            self._record, self._names, self._missing = record, {}, 0
            self._ended, self._next_entry = {}, 0
        waits = record.dependencies is not None and layout.znodes.exists(
            chain_path(layout, self.name)
        )
        view = BatchView(
            self.name,
            record.jobs,
            record.submitted_ms,
            str(record.dependencies) if waits else "",
        )
        if record.jobs > COUNTED_JOBS:
            return view
        if not self._names or self._missing:
            self._read_names(queue, record)
        found, self._next_entry = read_log(layout, self.name, self._next_entry)
        self._ended |= {name: state for name, state in found.items() if name in self._names}
        self._look_at_others(queue)
        return self._counted(queue, view, owned)

    def _read_names(self, queue: JobQueue, record: BatchRecord) -> None:
        chunks = read_chunks(queue.layout, record)
        self._names = {name: origin != "NEW" for chunk in chunks for name, origin in chunk}
        self._missing = record.jobs - sum(len(chunk) for chunk in chunks)

    def _look_at_others(self, queue: JobQueue) -> None:
        """Note the ends of jobs that are in no log, and the retries of FAILED jobs."""
        layout = queue.layout
        joined = [n for n, is_joined in self._names.items() if is_joined and n not in self._ended]
        joined = self._turn(joined)
        self._ended |= {job.name: job.state for job in layout.read(Place.DONE, joined)}
        failed = [name for name, state in self._ended.items() if state is JobState.FAILED]
        # If one job was retried, many may have been.
        for _ in range(-(-len(failed) // CHECKED_JOBS)):
            self._looks += 1
            if not self._note_retries(queue, self._turn(failed)):
                break

    def _note_retries(self, queue: JobQueue, failed: list[str]) -> bool:
        """Note that these jobs have not ended if they wait again; return whether one does."""
        layout = queue.layout
        are_done = layout.znodes.which_exist([layout.done(name) for name in failed])
        left = [name for name, is_done in zip(failed, are_done, strict=True) if not is_done]
        retried = False
        for name, place in zip(left, layout.where(left), strict=True):
            if place not in {None, Place.DONE}:
                del self._ended[name]
                retried = True
        return retried

    def _turn(self, names: list[str]) -> list[str]:
        """Return the part of the names that this look checks."""
        parts = -(-len(names) // CHECKED_JOBS) or 1
        start = self._looks % parts * CHECKED_JOBS
        return names[start : start + CHECKED_JOBS]

    def _counted(
        self, queue: JobQueue, view: BatchView, owned: Collection[str] | None
    ) -> BatchView:
        states = Counter(self._ended.values())
        left = self._names.keys() - self._ended.keys()
        reported = 0.0
        if left:
            names = _owned_names(queue) if owned is None else owned
            mine = [name for name in names if name in left]
            for job in queue.layout.read(Place.OWNED, mine[:OWNED_READ]):
                states[job.state] += 1
                if job.progress is not None:
                    reported += job.progress.share or 0.0
        states[JobState.PENDING] = len(self._names) - states.total()
        done = sum(states[state] for state in _ENDED)
        share = (done + reported) / len(self._names) if self._names else 1.0
        return view._replace(
            states={state: states[state] for state in JobState}, missing=self._missing, share=share
        )


def batch_views(queue: JobQueue, readers: Sequence[BatchReader]) -> list[BatchView]:
    """Return the progress of several batches; a batch that cannot be read has a problem."""
    found = []
    owned = _owned_names(queue) if readers else []
    for reader in readers:
        try:
            found.append(reader.read(queue, owned))
        except JobError as error:
            found.append(BatchView(reader.name, 0, 0, problem=str(error)))
    return found


def _owned_names(queue: JobQueue) -> list[str]:
    return [name.name for name in queue.layout.names(Place.OWNED)]
