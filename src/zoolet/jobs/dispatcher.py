"""The dispatcher: submits jobs and hands their results back as they finish."""

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException

from zoolet.jobs.errors import JobError
from zoolet.jobs.queue import JobQueue, Submitted
from zoolet.jobs.records import Job, JobRequest, JobState


class JobFailedError(JobError):
    """A job ended as FAILED; the message holds the error of its last attempt."""

    def __init__(self, job: Job) -> None:
        super().__init__(
            f"{job.name} failed {job.attempts} times, at last with: {job.errors[-1].error}"
        )
        self.job = job


class Progress(NamedTuple):
    """How many of a batch's jobs stand where."""

    unowned: int
    owned: int
    done: int


class Dispatcher:
    """Submits to one queue, through a started kazoo client."""

    def __init__(self, client: KazooClient, root: str) -> None:
        """Use the queue at the path ``root`` of ``client``, and make it where it is missing."""
        self.queue = JobQueue(client, root)
        self.queue.create()

    def submit(self, request: JobRequest, *, reuse: bool = True) -> "Batch":
        """Submit one job: a batch of one."""
        return self.submit_batch([request], reuse=reuse)

    def submit_batch(self, requests: Iterable[JobRequest], *, reuse: bool = True) -> "Batch":
        """Submit jobs, and return the batch through which their results come.

        With ``reuse``, work that is under way is not submitted twice, and work that was done
        successfully is answered from its stored result; without, everything is done anew. Raises
        InvalidJobError, before anything was submitted, where a request is not what it must be.
        """
        return Batch(self.queue, self.queue.submit(list(requests), reuse=reuse))


class Batch:
    """Jobs that were submitted together.

    Attributes:
        submitted: what each request became, in the order of the requests.
    """

    def __init__(self, queue: JobQueue, submitted: list[Submitted]) -> None:
        self.submitted = submitted
        self._queue = queue
        self._pending = dict.fromkeys(entry.name for entry in submitted)
        self._finished: list[Job] = []
        self._done_changed = threading.Event()
        self._done_changed.set()

    def __len__(self) -> int:
        """Count the jobs that do the batch's work, those of others included."""
        return len({entry.name for entry in self.submitted})

    @property
    def reused(self) -> int:
        """How many requests were answered by a job that was there already."""
        return sum(not entry.is_new for entry in self.submitted)

    @property
    def progress(self) -> Progress:
        """How many of the jobs stand where."""
        names = {entry.name for entry in self.submitted}
        return Progress(
            len(names.intersection(self._queue.unowned())),
            len(names.intersection(self._queue.owned())),
            len(names.intersection(self._queue.done())),
        )

    def next(self, timeout_s: float | None = None) -> Job | None:
        """Return the next job that is done, SUCCESSFUL or FAILED, once there is one.

        Each is returned once. None: all have been, or none was done within ``timeout_s``.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._finished:
            if not self._pending:
                return None
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._done_changed.wait(left):
                return None
            self._collect()
        return self._finished.pop(0)

    def results(self) -> Iterator[Job]:
        """Yield the jobs as they are done, SUCCESSFUL or FAILED; end when all have been."""
        while (job := self.next()) is not None:
            yield job

    def values(self) -> Iterator[Any]:
        """Yield the jobs' results as they are done; raises JobFailedError at the first failure."""
        for job in self.results():
            if job.state is JobState.FAILED:
                raise JobFailedError(job)
            yield job.result

    def _collect(self) -> None:
        """Fetch what is done and was not fetched yet; watch for more."""
        self._done_changed.clear()
        try:
            done = set(self._queue.done(lambda _event: self._done_changed.set()))
        except KazooException:
            self._done_changed.set()
            raise
        fetched = []
        for name in [name for name in self._pending if name in done]:
            job = self._queue.finished(name)
            if job is not None:
                del self._pending[name]
                fetched.append(job)
        self._finished += sorted(fetched, key=lambda job: job.finished_ms or 0)
