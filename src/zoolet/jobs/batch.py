"""Following jobs that were submitted together: results as they finish, progress, cancelling.

Waiting costs the server nothing: a batch watches for the next entry of its log, and for the place
where a job will stand that is not its own. What holds: each job is given out once, in the order
that they finish in. Imports the job system's queue and records.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from zoolet.jobs.batchlog import (
    CHUNK_JOBS,
    BatchRecord,
    entry_path,
    read_chunks,
    read_log,
    read_record,
)
from zoolet.jobs.errors import JobError, JobNotFoundError
from zoolet.jobs.layout import DONE, OWNED
from zoolet.jobs.queue import JobQueue
from zoolet.jobs.records import Job, JobState
from zoolet.jobs.results import ResultReader
from zoolet.jobs.submission import Origin, Submission

T = TypeVar("T")

LOOK_AT_ONCE = 200
"""Jobs that are looked at, of all that something has happened to, before results are given out."""

LOG_PAUSE_S = 0.01
"""How long the log is left alone after it was read."""

STOP_LOOK_S = 0.2
"""How long it may take that asynchronous code which waits no more is noticed."""

_LOG = ""
"""Stands for the log among the names of jobs that something happened to."""


class JobFailedError(JobError):
    """A job of the batch is FAILED; ``job`` has the error of every attempt."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"{job.name} FAILED after {job.attempts} attempts: {job.last_error}")
        self.job = job


class BatchIncompleteError(JobError):
    """Whoever submitted the batch has not named all of its jobs: it is at it still, or it died."""


class Batch:
    """Jobs that were submitted together.

    Attributes:
        name: the batch's name, by which any process can follow it; None for a job on its own.
        submissions: what stands for each request, in the order of the requests.
    """

    def __init__(
        self,
        jobs: JobQueue,
        submissions: Sequence[Submission],
        name: str | None = None,
        results: ResultReader | None = None,
    ) -> None:
        self._queue = jobs
        self.name = name
        self.submissions = tuple(submissions)
        self._results = results or ResultReader(jobs)
        own = {s.name for s in submissions if s.origin is Origin.NEW} if name is not None else set()
        self._outstanding = dict.fromkeys(self.names)
        self._finished: dict[str, JobState] = {}
        self._ready: deque[Job] = deque()
        self._next_entry = 0
        self._log_read_at = 0.0
        self._stirred: queue.SimpleQueue[str] = queue.SimpleQueue()
        for stirred in self._outstanding:
            if stirred not in own:
                self._stirred.put(stirred)
        if own:
            self._stirred.put(_LOG)

    @classmethod
    def follow(cls, jobs: JobQueue, name: str, results: ResultReader | None = None) -> "Batch":
        """Return the batch of this name, whoever submitted it.

        Raises:
            UnknownBatchError: there is none.
            BatchIncompleteError: not all of its jobs were submitted, or not yet.
        """
        record = read_record(jobs.layout, name)
        chunks = read_chunks(jobs.layout, record)
        _check_complete(record, chunks)
        submissions = [Submission(job, Origin(origin)) for chunk in chunks for job, origin in chunk]
        return cls(jobs, submissions, name, results)

    @property
    def names(self) -> list[str]:
        """The jobs' names, each once."""
        return list(dict.fromkeys(submission.name for submission in self.submissions))

    @property
    def outstanding(self) -> int:
        """How many jobs have not been returned as finished yet."""
        return len(self._outstanding)

    # --- Results

    def next_result(self, timeout_s: float | None = None) -> Job | None:
        """Wait for the next job to finish, and return it; it is SUCCESSFUL or FAILED.

        None when all have been returned, or when none finished within ``timeout_s``.
        """
        while self._outstanding:
            if self._ready:
                job = self._results.complete(self._ready.popleft())
                del self._outstanding[job.name]
                return job
            try:
                first = self._stirred.get(timeout=timeout_s)
            except queue.Empty:
                return None
            self._look_at(first)
        return None

    def results(self) -> Iterator[Job]:
        """Yield the jobs as they finish, SUCCESSFUL or FAILED, each once."""
        while (job := self.next_result()) is not None:
            yield job

    def values(self) -> Iterator[Any]:
        """Yield the results of the jobs as they finish.

        Raises:
            JobFailedError: a job is FAILED.
        """
        for job in self.results():
            if job.state is JobState.FAILED:
                raise JobFailedError(job)
            yield job.result

    def reduce(self, function: Callable[[T, Any], T], initial: T) -> T:
        """Return ``function(... function(initial, result) ..., result)`` as results come.

        Raises:
            JobFailedError: a job is FAILED.
        """
        for value in self.values():
            initial = function(initial, value)
        return initial

    # --- Looking and cancelling

    def progress(self) -> dict[JobState, int]:
        """Return how many of the jobs are in each state, as the queue is now."""
        known = dict(self._finished)
        if self.name is not None:
            known |= read_log(self._queue.layout, self.name, self._next_entry)[0]
        names = self.names
        unknown = {name for name in names if name not in known}
        if self.name is None or any(s.origin is not Origin.NEW for s in self.submissions):
            done = self._queue.layout.read(DONE, [name for name in names if name in unknown])
            known |= {job.name: job.state for job in done}
        owned = [name.name for name in self._queue.layout.names(OWNED) if name.name in unknown]
        known |= {
            job.name: job.state
            for job in self._queue.layout.read(OWNED, owned)
            if job.name not in known
        }
        states = Counter(known.get(name, JobState.PENDING) for name in names)
        return {state: states[state] for state in JobState}

    def count(self, origin: Origin) -> int:
        """Return how many requests are answered by a job of this origin."""
        return sum(submission.origin is origin for submission in self.submissions)

    def cancel(self) -> list[Job]:
        """End those of the jobs that have not ended, as FAILED, and return them.

        Tasks that run are ended too. Jobs that were under way before this batch are cancelled with
        it.
        """
        return self._queue.cancel([name for name in self.names if name not in self._finished])

    # --- Asynchronous code

    async def __aiter__(self) -> AsyncIterator[Job]:
        """Yield the jobs as they finish, as `results`, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Job | BaseException | None] = asyncio.Queue()
        stopped = threading.Event()

        def pass_on() -> None:
            end: BaseException | None = None
            try:
                while self._outstanding and not stopped.is_set():
                    job = self.next_result(timeout_s=STOP_LOOK_S)
                    if job is not None and stopped.is_set():
                        # Nobody has it: it is the first for who asks next.
                        self._outstanding[job.name] = None
                        self._ready.appendleft(job)
                        self._stirred.put(job.name)
                    elif job is not None:
                        loop.call_soon_threadsafe(arrived.put_nowait, job)
            except Exception as error:  # noqa: BLE001 -- raised where the results are awaited
                end = error
            with contextlib.suppress(RuntimeError):  # the loop may have ended before
                loop.call_soon_threadsafe(arrived.put_nowait, end)

        threading.Thread(target=pass_on, daemon=True).start()
        try:
            while (found := await arrived.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                yield found
        finally:
            stopped.set()

    def __await__(self) -> Generator[Any, None, list[Job]]:
        """Wait until all jobs have ended, and return them in the order that they finished in."""

        async def collect() -> list[Job]:
            return [job async for job in self]

        return collect().__await__()

    # --- What happened to the jobs

    def _look_at(self, first: str) -> None:
        """Read those of the jobs that something happened to; watch those that are not done."""
        stirred = {first: None}
        while len(stirred) < LOOK_AT_ONCE:
            try:
                stirred[self._stirred.get_nowait()] = None
            except queue.Empty:
                break
        if _LOG in stirred:
            del stirred[_LOG]
            self._follow_log()
        wanted = [(name, self._stirs(name)) for name in stirred if name in self._outstanding]
        self._give_out(self._queue.layout.watch_done(wanted))

    def _follow_log(self) -> None:
        """Give out the jobs that the log names anew, and watch for what it will name next."""
        layout, batch = self._queue.layout, self.name or ""
        # Under a stream of results, many are read at once.
        time.sleep(max(0.0, self._log_read_at + LOG_PAUSE_S - time.monotonic()))
        self._log_read_at = time.monotonic()
        found, self._next_entry = read_log(layout, batch, self._next_entry)
        next_path = entry_path(layout, batch, self._next_entry)
        if layout.znodes.exists(next_path, lambda _: self._stirred.put(_LOG)):
            self._stirred.put(_LOG)
        names = [name for name in found if name in self._outstanding]
        jobs = layout.read_each(DONE, names)
        self._give_out(jobs)
        for name, job in zip(names, jobs, strict=True):
            if job is None:
                # It went back from done in between; find() says where it is no job any more.
                self._stirred.put(self._find(name))

    def _give_out(self, jobs: Sequence[Job | None]) -> None:
        for job in jobs:
            if job is not None and job.name not in self._finished:
                self._ready.append(job)
                self._finished[job.name] = job.state

    def _find(self, name: str) -> str:
        try:
            return self._queue.find(name).name
        except JobNotFoundError:
            del self._outstanding[name]
            raise

    def _stirs(self, name: str) -> Callable[[object], None]:
        return lambda _: self._stirred.put(name)


def _check_complete(record: BatchRecord, chunks: Sequence[Sequence[object]]) -> None:
    missing = sum(not chunk for chunk in chunks)
    if missing:
        raise BatchIncompleteError(
            f"batch {record.name}: of its {record.jobs} jobs about {missing * CHUNK_JOBS} are not"
            " named: its submitter is at it still, or it died; jobs that it submitted are done all"
            " the same"
        )
