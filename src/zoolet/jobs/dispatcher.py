"""Submitting work and getting results as they finish.

A Batch watches the places where its jobs will stand when they are done, so waiting costs the
server nothing. Imports the job system's queue and records.
"""

import queue
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from kazoo.client import KazooClient

from zoolet.jobs.connection import connect, without_chroot
from zoolet.jobs.errors import JobError
from zoolet.jobs.layout import READ_AT_ONCE
from zoolet.jobs.queue import JobQueue
from zoolet.jobs.records import Job, JobRequest, JobState
from zoolet.jobs.submission import Origin, Submission


class JobFailedError(JobError):
    """A job of the batch is FAILED; ``job`` has the error of every attempt."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"{job.name} FAILED after {job.attempts} attempts: {job.last_error}")
        self.job = job


class Batch:
    """Jobs that were submitted together.

    Attributes:
        submissions: what stands for each request, in the order of the requests.
    """

    def __init__(self, jobs: JobQueue, submissions: Sequence[Submission]) -> None:
        self._queue = jobs
        self.submissions = tuple(submissions)
        self._outstanding = set(self.names)
        self._finished: list[Job] = []
        self._ready: list[Job] = []
        self._stirred: queue.SimpleQueue[str] = queue.SimpleQueue()
        for name in self.names:
            self._stirred.put(name)

    @property
    def names(self) -> list[str]:
        """The jobs' names, each once."""
        return list(dict.fromkeys(submission.name for submission in self.submissions))

    @property
    def outstanding(self) -> int:
        """How many jobs have not been returned as finished yet."""
        return len(self._outstanding)

    def next_result(self, timeout_s: float | None = None) -> Job | None:
        """Wait for the next job to finish, and return it; it is SUCCESSFUL or FAILED.

        None when all have been returned, or when none finished within ``timeout_s``.
        """
        while self._outstanding:
            if self._ready:
                job = self._ready.pop(0)
                self._outstanding.discard(job.name)
                self._finished.append(job)
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

    def progress(self) -> dict[JobState, int]:
        """Return how many of the jobs are in each state, as the queue is now."""
        finished = {job.name: job.state for job in self._finished}
        states = Counter(finished.values())
        open_names = [name for name in self.names if name not in finished]
        known = {job.name: job.state for job in self._queue.owned()}
        known |= {job.name: job.state for job in self._queue.done_among(open_names)}
        states.update(known.get(name, JobState.PENDING) for name in open_names)
        return {state: states[state] for state in JobState}

    def count(self, origin: Origin) -> int:
        """Return how many requests are answered by a job of this origin."""
        return sum(submission.origin is origin for submission in self.submissions)

    def _look_at(self, first: str) -> None:
        """Read those of the jobs that something happened to; watch those that are not done."""
        names = {first: None}
        while len(names) < READ_AT_ONCE:
            try:
                names[self._stirred.get_nowait()] = None
            except queue.Empty:
                break
        wanted = [name for name in names if name in self._outstanding]
        done = self._queue.watch_done([(name, self._stirs(name)) for name in wanted])
        ended = [name for name, is_done in zip(wanted, done, strict=True) if is_done]
        found = {job.name: job for job in self._queue.done_among(ended)}
        ready = {job.name for job in self._ready}
        self._ready += [job for name, job in found.items() if name not in ready]
        for name in set(ended) - set(found):
            # It went back from done in between, or it is no job any more, which find() says.
            self._stirred.put(self._queue.find(name).name)

    def _stirs(self, name: str) -> Callable[[object], None]:
        return lambda _: self._stirred.put(name)


class Dispatcher:
    """Submits jobs to a queue; also a context manager that closes what it opened.

    Args:
        client: a started KazooClient, or the servers to connect to, as kazoo takes them.
        root: the queue's root.

    Raises:
        TimeoutError: no server answered within ``connect_timeout_ms``.
    """

    def __init__(
        self, client: KazooClient | str, root: str = "/", *, connect_timeout_ms: int = 10_000
    ) -> None:
        self._opened: KazooClient | None = None
        if isinstance(client, str):
            hosts, root = without_chroot(client, root)
            client = self._opened = connect(
                hosts, session_timeout_ms=10_000, connect_timeout_ms=connect_timeout_ms
            )
        self.queue = JobQueue(client, root)
        self.queue.ensure_layout()

    def submit(
        self,
        task: str,
        dataset: str,
        groupid: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        priority: int = 0,
        max_attempts: int = 3,
        reuse: bool = True,
    ) -> Batch:
        """Submit one job, and return the batch that consists of it; see `submit_batch`."""
        request = JobRequest(task, dataset, groupid, parameters or {}, priority, max_attempts)
        return self.submit_batch([request], reuse=reuse)

    def submit_batch(self, requests: Sequence[JobRequest], *, reuse: bool = True) -> Batch:
        """Submit jobs.

        With ``reuse``, work (the same task, dataset, groupid and parameters) that is done is
        answered from its stored result, and work that is under way is joined; work that FAILED is
        submitted again. Without it, every job is submitted anew.

        Raises:
            InvalidJobError: one of the requests cannot be a job; nothing was submitted.
        """
        return Batch(self.queue, self.queue.submit(requests, reuse=reuse))

    def close(self) -> None:
        """Close the connection, if the dispatcher opened it."""
        if self._opened is not None:
            self._opened.stop()
            self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
