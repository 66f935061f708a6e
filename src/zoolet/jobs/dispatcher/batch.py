"""A batch as users see it: returns the jobs as they end, shows the progress, cancels the jobs.

A batch does not poll. It has a watch on the next entry of its log. For each job that it joined, it
has a watch on the job's path in done. Invariant: each job is returned only once, in the order in
which the jobs end. This module imports `zoolet.jobs.errors`, `zoolet.jobs.queue`,
`zoolet.jobs.records` and `zoolet.jobs.results`.
"""

import contextlib
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from zoolet.jobs.dispatcher.batch_progress import BatchProgress
from zoolet.jobs.errors import JobError, JobNotFoundError, JobTimeoutError, UnreadableJobError
from zoolet.jobs.hooks.job_hooks import HookCalls
from zoolet.jobs.queue.deleted_jobs import Vanished
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.batches import CHUNK_JOBS, BatchRecord
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.transitions import JobState, Place
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.submit.submission import Origin, Submission
from zoolet.jobs.znodes.batch_log import batch_path, entry_path, read_chunks, read_log, read_record
from zoolet.jobs.znodes.deadlines import TIMEOUT_S

T = TypeVar("T")

LOOK_AT_ONCE = 200
"""The most jobs with events that are read before results are returned."""

LOG_PAUSE_S = 0.01
"""The shortest time between two reads of the log, in seconds."""

LEAST_REQUEST_S = 1.0
"""The time limit of a request if the timeout of the call is shorter, in seconds."""

STOP_LOOK_S = 0.2
"""How often the thread for asynchronous code checks whether that code still waits, in seconds."""

_LOG = ""
"""The entry for the log in the queue of events, whose other entries are job names."""


class JobFailedError(JobError):
    """A job of the batch is FAILED; the attribute ``job`` has the errors of all attempts."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"{job.name} FAILED after {job.attempts} attempts: {job.last_error}")
        self.job = job


class BatchIncompleteError(JobError):
    """The batch does not have all of its jobs: its submitter has not finished yet, or died."""


class Batch:
    """Jobs that were submitted together.

    Attributes:
        name: the batch's name, with which any process can follow it; None for a job that was
            submitted alone.
        submissions: the job for each request and its origin, in the order of the requests.
    """

    def __init__(
        self,
        jobs: JobQueue,
        submissions: Sequence[Submission],
        name: str | None,
        results: ResultReader,
        hooks: HookCalls | None = None,
    ) -> None:
        self._queue = jobs
        self._znodes = jobs.layout.znodes
        self.name = name
        self.submissions = tuple(submissions)
        self._results = results
        self._hooks = hooks
        own = {s.name for s in submissions if s.origin is Origin.NEW} if name is not None else set()
        self._outstanding = dict.fromkeys(self.names)
        self._finished: dict[str, JobState] = {}
        self._ready: deque[Job] = deque()
        self._next_entry = 0
        self._log_read_at = 0.0
        self._logged: dict[str, None] = {}
        """The names of jobs that are in the log and were not read from done yet."""
        self._vanished = Vanished(jobs.layout, name)
        self._stirred = self._znodes.new_events()
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
        hooks: HookCalls | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> "Batch":
        """Return the batch of this name, which any process may have submitted.

        ``timeout_s`` is the time limit of each request, in seconds.

        Raises:
            UnknownBatchError: the queue has no batch of this name.
            BatchIncompleteError: some jobs of the batch are not submitted yet, or never will be.
            JobTimeoutError: the server did not reply within ``timeout_s``.
        """
        with jobs.layout.znodes.within(timeout_s, "find a batch", each_request=True):
            record = read_record(jobs.layout, name)
            chunks = read_chunks(jobs.layout, record)
        _check_complete(record, chunks)
        submissions = [Submission(job, Origin(origin)) for chunk in chunks for job, origin in chunk]
        return cls(jobs, submissions, name, results, hooks)

    @property
    def names(self) -> list[str]:
        """The names of the jobs, without duplicates."""
        return list(dict.fromkeys(submission.name for submission in self.submissions))

    @property
    def outstanding(self) -> int:
        """The number of jobs that were not returned as ended yet."""
        return len(self._outstanding)

    # --- Results

    def next_result(
        self, timeout_s: float | None = None, *, server_timeout_s: float | None = TIMEOUT_S
    ) -> Job | None:
        """Wait until a job ends, and return the job, which is SUCCESSFUL or FAILED.

        Returns None if all jobs were returned before, or if no job ends within ``timeout_s``
        (None: no limit). ``server_timeout_s`` is the time limit of each request, including a
        reconnection; None: no limit. A request has at least 1 s, even if ``timeout_s`` is shorter,
        so that several short calls make progress. After an error, the call can be repeated, and no
        job is lost.

        Raises:
            JobNotFoundError: a job was removed. Later calls wait only for the other jobs.
            UnknownQueueError: the queue was removed.
            JobTimeoutError: the server did not reply within ``server_timeout_s``.
            ResultStoreError: the result store does not have the job's result, or does not reply.
        """
        job = self._take_known()
        if job is not None:
            # If many jobs end, most calls return here.
            self._call_hooks(job)
            return job
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
                self._call_hooks(job)
                return job
            if left_s == 0.0:
                return None
        return None

    def _step(self, wait_s: float | None, request_s: float | None) -> Job | None:
        """Return an ended job; if none is known, wait for an event up to ``wait_s``, handle it."""
        if (known := self._take_known()) is not None:
            return known
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
            # If the result store fails, the job stays the first in the line.
            self._ready[0] = self._results.complete(self._ready[0])
            return self._take_ready()

    def _take_known(self) -> Job | None:
        """Return an ended job whose result is known, so no request is needed; None without one."""
        if not self._ready or self._ready[0].stored is not None:
            return None
        self._znodes.check_process()
        return self._take_ready()

    def _take_ready(self) -> Job:
        job = self._ready.popleft()
        self._outstanding.pop(job.name, None)
        return job

    def _call_hooks(self, job: Job) -> None:
        if self._hooks is not None:
            self._hooks.received(job)

    def _wait_for_event(self, wait_s: float | None) -> str | None:
        """Wait for an event of a job or the log, or until the check for deleted jobs is due."""
        self._znodes.check_process()
        due_s = self._vanished.due_in_s()
        try:
            return self._stirred.get(timeout=due_s if wait_s is None else min(due_s, wait_s))
        except queue.Empty:
            return None

    def results(
        self, timeout_s: float | None = None, *, server_timeout_s: float | None = TIMEOUT_S
    ) -> Iterator[Job]:
        """Yield each job when it has ended, SUCCESSFUL or FAILED.

        Args:
            timeout_s: the time limit for all jobs, in seconds; None: no limit.
            server_timeout_s: the time limit of each request, as in `next_result`.

        Raises:
            JobTimeoutError: not all jobs ended within ``timeout_s``, or the server did not reply.
                `next_result` documents the other errors.
        """
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        while self._outstanding:
            left_s = None if ends_at is None else max(0.0, ends_at - time.monotonic())
            job = self.next_result(left_s, server_timeout_s=server_timeout_s)
            if job is not None:
                yield job
            elif self._outstanding:
                raise late_results(len(self._outstanding), len(self.names), timeout_s or 0.0)

    def values(
        self, timeout_s: float | None = None, *, server_timeout_s: float | None = TIMEOUT_S
    ) -> Iterator[Any]:
        """Yield the result of each job when it has ended; the arguments are those of `results`.

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
        """Combine all results: start with ``initial``, and apply ``function`` to each result.

        Each call is ``function(value, result)``, where ``value`` is the result of the call before.
        The results come in the order in which the jobs end. The timeouts are those of `results`.

        Raises:
            JobFailedError: a job is FAILED.
        """
        for value in self.values(timeout_s, server_timeout_s=server_timeout_s):
            initial = function(initial, value)
        return initial

    # --- Looking and cancelling

    def progress(self, *, timeout_s: float | None = TIMEOUT_S) -> BatchProgress:
        """Return the current number of the batch's jobs in each state, and what the jobs report.

        Removed jobs are not counted. ``timeout_s`` is the time limit of each request, in seconds.
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
            running = [
                job for job in self._queue.layout.read(Place.OWNED, owned) if job.name not in known
            ]
            known |= {job.name: job.state for job in running}
        states = Counter(known.get(name, JobState.PENDING) for name in names)
        return BatchProgress(
            {state: states[state] for state in JobState},
            {job.name: job.progress for job in running if job.progress is not None},
        )

    def _has_log_of_all(self) -> bool:
        """Return whether the batch has a log that names each of its jobs when the job ends."""
        if self.name is None or any(s.origin is not Origin.NEW for s in self.submissions):
            return False
        return self._znodes.exists(batch_path(self._queue.layout, self.name))

    def count(self, origin: Origin) -> int:
        """Return the number of requests whose job has this origin."""
        return sum(submission.origin is origin for submission in self.submissions)

    def cancel(self, *, timeout_s: float | None = TIMEOUT_S) -> list[Job]:
        """Cancel the jobs that have not ended: they are FAILED. Return these jobs.

        Running tasks are ended. Jobs that the batch joined are cancelled too. ``timeout_s`` is the
        time limit of each request, in seconds.
        """
        names = [name for name in self.names if name not in self._finished]
        return self._queue.cancel(names, timeout_s=timeout_s)

    # --- Asynchronous code

    async def __aiter__(self) -> AsyncIterator[Job]:
        """Yield each job when it has ended, like `results`, without blocking the event loop."""
        import asyncio  # noqa: PLC0415 -- takes 40 ms; callers of this method have imported it

        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Job | BaseException | None] = asyncio.Queue()
        stopped = threading.Event()

        def pass_on() -> None:
            end: BaseException | None = None
            try:
                while self._outstanding and not stopped.is_set():
                    job = self._step(STOP_LOOK_S, TIMEOUT_S)
                    if job is not None and stopped.is_set():
                        # The job was not returned to a caller: the next call returns it first.
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
                self._call_hooks(found)
                yield found
        finally:
            stopped.set()

    def __await__(self) -> Generator[Any, None, list[Job]]:
        """Wait until all jobs have ended, and return them in the order in which they ended."""

        async def collect() -> list[Job]:
            return [job async for job in self]

        return collect().__await__()

    # --- Events of the jobs

    def _look_at(self, first: str) -> None:
        """Handle the waiting events: read their jobs, and watch the jobs that have not ended."""
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
            # The events are kept for the next call.
            for name in stirred:
                self._stirred.put(name)
            raise

    def _follow_log(self) -> None:
        """Read the new entries of the log, and set a watch on the next entry."""
        layout, batch = self._queue.layout, self.name or ""
        # With a pause, one read returns many entries if many jobs end.
        self._znodes.sleep(max(0.0, self._log_read_at + LOG_PAUSE_S - time.monotonic()))
        self._log_read_at = time.monotonic()
        found, self._next_entry = read_log(layout, batch, self._next_entry)
        self._logged |= dict.fromkeys(name for name in found if name in self._outstanding)
        next_path = entry_path(layout, batch, self._next_entry)
        if layout.znodes.exists(next_path, lambda _: self._stirred.put(_LOG)):
            self._stirred.put(_LOG)

    def _read_logged(self) -> None:
        """Read the jobs that the log named, and add them to the ended jobs."""
        names = list(self._logged)
        jobs = self._queue.layout.read_each(Place.DONE, names)
        self._logged.clear()
        self._give_out(jobs)
        # A job that is not in done any more, because it was retried, gets a watch.
        for name, job in zip(names, jobs, strict=True):
            if job is None:
                self._stirred.put(name)

    def _watch(self, names: Sequence[str]) -> None:
        """Read the jobs that have ended, and set watches on the ends of the other jobs.

        Raises:
            JobNotFoundError: one of the jobs is in no place.
        """
        found = self._queue.layout.watch_done([(name, self._stirs(name)) for name in names])
        self._give_out([job for job, _ in found])
        for name, (job, is_elsewhere) in zip(names, found, strict=True):
            if job is None and not is_elsewhere:
                self._look_closer(name)

    def _look_closer(self, name: str) -> None:
        """Look again for a job that was in no place; it may just be moving. It has a watch already.

        Raises:
            JobNotFoundError: the job is in no place.
            UnknownQueueError: the queue does not exist any more.
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


def late_results(outstanding: int, jobs: int, timeout_s: float) -> JobTimeoutError:
    """Return the error if ``outstanding`` of the jobs of a batch did not end in time."""
    return JobTimeoutError(
        f"{outstanding} of {jobs} jobs did not finish within {timeout_s:g} s; call results() again"
        " to wait for the other jobs"
    )


def _check_complete(record: BatchRecord, chunks: Sequence[Sequence[object]]) -> None:
    missing = sum(not chunk for chunk in chunks)
    if missing:
        raise BatchIncompleteError(
            f"batch {record.name} is incomplete: of its {record.jobs} jobs, about"
            f" {missing * CHUNK_JOBS} are not submitted: its submitter has not finished yet, or"
            " died. Workers run the jobs that were submitted"
        )
