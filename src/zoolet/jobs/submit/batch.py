"""Following jobs that were submitted together: results as they finish, progress, cancelling.

Waiting costs the server nothing: a batch watches for the next entry of its log, and for the place
where a job will stand that is not its own. What holds: each job is given out once, in the order
that they finish in. Imports the job system's queue and records.
"""

import contextlib
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from zoolet.jobs.errors import JobError, JobNotFoundError, JobTimeoutError, UnreadableJobError
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.transitions import JobState, Place
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.znodes.batch_log import (
    CHUNK_JOBS,
    BatchRecord,
    batch_path,
    entry_path,
    read_chunks,
    read_log,
    read_record,
)
from zoolet.jobs.znodes.deadlines import TIMEOUT_S
from zoolet.jobs.znodes.deleted_jobs import Vanished
from zoolet.jobs.znodes.queue import JobQueue
from zoolet.jobs.znodes.submission import Origin, Submission

T = TypeVar("T")

LOOK_AT_ONCE = 200
"""Jobs that are looked at, of all that something has happened to, before results are given out."""

LOG_PAUSE_S = 0.01
"""How long the log is left alone after it was read."""

LEAST_REQUEST_S = 1.0
"""How long the server may take for a request of a call with a shorter timeout."""

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
        name: str | None,
        results: ResultReader,
    ) -> None:
        self._queue = jobs
        self._znodes = jobs.layout.znodes
        self.name = name
        self.submissions = tuple(submissions)
        self._results = results
        own = {s.name for s in submissions if s.origin is Origin.NEW} if name is not None else set()
        self._outstanding = dict.fromkeys(self.names)
        self._finished: dict[str, JobState] = {}
        self._ready: deque[Job] = deque()
        self._next_entry = 0
        self._log_read_at = 0.0
        self._logged: dict[str, None] = {}
        """Jobs that the log names, and that were not read yet."""
        self._vanished = Vanished(jobs.layout, name)
        self._stirred: queue.SimpleQueue[str] = queue.SimpleQueue()
        for stirred in self._outstanding:
            if stirred not in own:
                self._stirred.put(stirred)
        if own:
            self._stirred.put(_LOG)

    @classmethod
    def follow(
        cls,
        jobs: JobQueue,
        name: str,
        results: ResultReader,
        *,
        timeout_s: float | None = TIMEOUT_S,
    ) -> "Batch":
        """Return the batch of this name, whoever submitted it.

        ``timeout_s`` is for each request.

        Raises:
            UnknownBatchError: there is none.
            BatchIncompleteError: not all of its jobs were submitted, or not yet.
            JobTimeoutError: the server did not answer within ``timeout_s``.
        """
        with jobs.layout.znodes.within(timeout_s, "find a batch", each_request=True):
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

    def next_result(
        self, timeout_s: float | None = None, *, server_timeout_s: float | None = TIMEOUT_S
    ) -> Job | None:
        """Wait for the next job to finish, and return it; it is SUCCESSFUL or FAILED.

        None when all have been returned, or when none finished within ``timeout_s`` (None: no
        limit). ``server_timeout_s`` is for each request: how long the server may take to answer, or
        to come back; None: no limit. The server has 1 s for a request also if ``timeout_s`` is
        less, so that short calls in a row make progress. After an error the call can be repeated,
        and no job is lost.

        Raises:
            JobNotFoundError: one of the jobs was removed. The call does not return it any more, and
                goes on with the others when it is repeated.
            UnknownQueueError: the queue was removed.
            JobTimeoutError: the server did not answer within ``server_timeout_s``.
            ResultStoreError: the result store has no result of this job, or does not answer.
        """
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        while self._outstanding:
            left_s = None if ends_at is None else max(0.0, ends_at - time.monotonic())
            least_s = None if left_s is None else max(left_s, LEAST_REQUEST_S)
            limits = [limit for limit in (least_s, server_timeout_s) if limit is not None]
            try:
                job = self._step(left_s, min(limits, default=None))
            except JobTimeoutError:
                if ends_at is None or time.monotonic() < ends_at:
                    raise
                return None
            if job is not None:
                return job
            if left_s == 0.0:
                return None
        return None

    def _step(self, wait_s: float | None, request_s: float | None) -> Job | None:
        """Return a job that has finished; wait for an event up to ``wait_s``, and look at it."""
        if self._ready and self._ready[0].stored is None:
            # Nothing has to be asked: under a stream of results, most calls end here.
            self._znodes.check_process()
            return self._take_ready()
        stirred = None if self._ready else self._wait_for_event(wait_s)
        with self._znodes.within(request_s, "wait for a result", each_request=True):
            if stirred is not None:
                self._vanished.put_off()
                self._look_at(stirred)
            elif not self._ready and not self._vanished.due_in_s():
                for name in self._vanished.look(self._outstanding):
                    self._stirred.put(name)
            if not self._ready:
                return None
            # It stays the first if the result store fails.
            self._ready[0] = self._results.complete(self._ready[0])
            return self._take_ready()

    def _take_ready(self) -> Job:
        job = self._ready.popleft()
        self._outstanding.pop(job.name, None)
        return job

    def _wait_for_event(self, wait_s: float | None) -> str | None:
        """Wait until something happens to a job, or it is time to look for vanished ones."""
        self._znodes.check_process()
        due_s = self._vanished.due_in_s()
        try:
            return self._stirred.get(timeout=due_s if wait_s is None else min(due_s, wait_s))
        except queue.Empty:
            return None

    def results(
        self, timeout_s: float | None = None, *, server_timeout_s: float | None = TIMEOUT_S
    ) -> Iterator[Job]:
        """Yield the jobs as they finish, SUCCESSFUL or FAILED, each once.

        Args:
            timeout_s: how long all of it may take; None: no limit.
            server_timeout_s: as of `next_result`.

        Raises:
            JobTimeoutError: not all jobs finished within ``timeout_s``; or as `next_result`.
        """
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        while self._outstanding:
            left_s = None if ends_at is None else max(0.0, ends_at - time.monotonic())
            job = self.next_result(left_s, server_timeout_s=server_timeout_s)
            if job is not None:
                yield job
            elif self._outstanding:
                raise JobTimeoutError(
                    f"{len(self._outstanding)} of {len(self.names)} jobs did not finish within"
                    f" {timeout_s:g} s; results() can be called again for the others"
                )

    def values(
        self, timeout_s: float | None = None, *, server_timeout_s: float | None = TIMEOUT_S
    ) -> Iterator[Any]:
        """Yield the results of the jobs as they finish; the arguments are those of `results`.

        Raises:
            JobFailedError: a job is FAILED.
        """
        for job in self.results(timeout_s, server_timeout_s=server_timeout_s):
            if job.state is JobState.FAILED:
                raise JobFailedError(job)
            yield job.result

    def reduce(
        self,
        function: Callable[[T, Any], T],
        initial: T,
        timeout_s: float | None = None,
        *,
        server_timeout_s: float | None = TIMEOUT_S,
    ) -> T:
        """Return ``function(... function(initial, result) ..., result)`` as results come.

        The timeouts are those of `results`.

        Raises:
            JobFailedError: a job is FAILED.
        """
        for value in self.values(timeout_s, server_timeout_s=server_timeout_s):
            initial = function(initial, value)
        return initial

    # --- Looking and cancelling

    def progress(self, *, timeout_s: float | None = TIMEOUT_S) -> dict[JobState, int]:
        """Return how many of the jobs are in each state, as the queue is now.

        Jobs that were removed are in no state. ``timeout_s`` is for each request.
        """
        with self._znodes.within(timeout_s, "read the progress", each_request=True):
            known = dict(self._finished)
            if self.name is not None:
                known |= read_log(self._queue.layout, self.name, self._next_entry)[0]
            names = self.names
            unknown = [name for name in names if name not in known]
            if not self._has_log_of_all():
                done = self._queue.layout.read(Place.DONE, unknown)
                known |= {job.name: job.state for job in done}
                unknown = [name for name in unknown if name not in known]
                places = self._queue.layout.where(unknown)
                gone = {name for name, at in zip(unknown, places, strict=True) if at is None}
                names = [name for name in names if name not in gone]
            waiting = set(unknown)
            owned = [
                name.name for name in self._queue.layout.names(Place.OWNED) if name.name in waiting
            ]
            known |= {
                job.name: job.state
                for job in self._queue.layout.read(Place.OWNED, owned)
                if job.name not in known
            }
        states = Counter(known.get(name, JobState.PENDING) for name in names)
        return {state: states[state] for state in JobState}

    def _has_log_of_all(self) -> bool:
        """Say whether each job of the batch is in its log when it ends, and the log is there."""
        if self.name is None or any(s.origin is not Origin.NEW for s in self.submissions):
            return False
        return self._znodes.exists(batch_path(self._queue.layout, self.name))

    def count(self, origin: Origin) -> int:
        """Return how many requests are answered by a job of this origin."""
        return sum(submission.origin is origin for submission in self.submissions)

    def cancel(self, *, timeout_s: float | None = TIMEOUT_S) -> list[Job]:
        """End those of the jobs that have not ended, as FAILED, and return them.

        Tasks that run are ended too. Jobs that were under way before this batch are cancelled with
        it. ``timeout_s`` is for each request.
        """
        names = [name for name in self.names if name not in self._finished]
        return self._queue.cancel(names, timeout_s=timeout_s)

    # --- Asynchronous code

    async def __aiter__(self) -> AsyncIterator[Job]:
        """Yield the jobs as they finish, as `results`, without blocking the event loop."""
        import asyncio  # noqa: PLC0415 -- it takes 40 ms, and who calls this has imported it

        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Job | BaseException | None] = asyncio.Queue()
        stopped = threading.Event()

        def pass_on() -> None:
            end: BaseException | None = None
            try:
                while self._outstanding and not stopped.is_set():
                    job = self._step(STOP_LOOK_S, TIMEOUT_S)
                    if job is not None and stopped.is_set():
                        # Nobody has it: the next caller gets it first.
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
        try:
            if _LOG in stirred:
                self._follow_log()
            self._read_logged()
            self._watch([name for name in stirred if name in self._outstanding])
        except BaseException:
            # Whoever calls again finds all that was not looked at.
            for name in stirred:
                self._stirred.put(name)
            raise

    def _follow_log(self) -> None:
        """Note the jobs that the log has named since, and watch for what it will name next."""
        layout, batch = self._queue.layout, self.name or ""
        # Under a stream of results, many are read at once.
        time.sleep(max(0.0, self._log_read_at + LOG_PAUSE_S - time.monotonic()))
        self._log_read_at = time.monotonic()
        found, self._next_entry = read_log(layout, batch, self._next_entry)
        self._logged |= dict.fromkeys(name for name in found if name in self._outstanding)
        next_path = entry_path(layout, batch, self._next_entry)
        if layout.znodes.exists(next_path, lambda _: self._stirred.put(_LOG)):
            self._stirred.put(_LOG)

    def _read_logged(self) -> None:
        """Give out the jobs that the log named."""
        names = list(self._logged)
        jobs = self._queue.layout.read_each(Place.DONE, names)
        self._logged.clear()
        self._give_out(jobs)
        # Those that went back from done in between are watched.
        for name, job in zip(names, jobs, strict=True):
            if job is None:
                self._stirred.put(name)

    def _watch(self, names: Sequence[str]) -> None:
        """Give out those of these jobs that have ended, and watch for the end of the others.

        Raises:
            JobNotFoundError: one of them is nowhere.
        """
        found = self._queue.layout.watch_done([(name, self._stirs(name)) for name in names])
        self._give_out([job for job, _ in found])
        for name, (job, is_elsewhere) in zip(names, found, strict=True):
            if job is None and not is_elsewhere:
                self._look_closer(name)

    def _look_closer(self, name: str) -> None:
        """Find a job that seemed to be nowhere; its end is still watched for.

        Raises:
            JobNotFoundError: it is nowhere.
            UnknownQueueError: the queue is gone.
            UnreadableJobError: it is there, and its value is not that of a job.
        """
        try:
            job = self._queue.find(name)
        except (JobNotFoundError, UnreadableJobError):
            self._queue.check()
            self._outstanding.pop(name, None)
            raise
        if job.has_ended:
            self._give_out([job])

    def _give_out(self, jobs: Sequence[Job | None]) -> None:
        for job in jobs:
            if job is not None and job.name not in self._finished:
                self._ready.append(job)
                self._finished[job.name] = job.state

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
