"""A queue of jobs: every move that a job can make, each exactly one multi.

What holds (the design's invariants 7 and 8):

- A job is in exactly one of unowned, owned and done at every instant.
- Whatever a worker does to a job is refused once the worker's ephemeral is gone, and a job is
  taken from a worker only after that. A worker's id is never used again, so a worker that was
  frozen cannot be taken for the one that has the job now, even at the same znode version.
- A job that returns to unowned has its attempts as its version there, so whoever read it before
  its last attempt cannot take it with what he read.
- A reply that was lost is settled by reading back, so every method's answer is what happened.

Imports the job system's records; changes no znode of another queue.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError

from zoolet.jobs.errors import (
    InvalidJobError,
    JobError,
    JobNotFoundError,
    JobTakenError,
    OwnershipLostError,
    UnreadableJobError,
    WorkerGoneError,
)
from zoolet.jobs.layout import DONE, OWNED, UNOWNED, Layout
from zoolet.jobs.naming import JobName
from zoolet.jobs.records import Job, JobRequest, JobState, check_json
from zoolet.jobs.submission import Submission, Submitter
from zoolet.jobs.znodes import Create, Delete, Exists, Operation, RefusedError, SetData, Watch


def wall_clock_ms() -> int:
    """Return milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class JobQueue:
    """The queue whose root is ``root``; with a client that has a chroot, "/" is that chroot.

    The client is a started KazooClient; a chroot that it has must exist, as kazoo says. A
    connection that is lost is waited out by the client's own policy (``command_retry``);
    RetryFailedError says that it gave up.
    """

    def __init__(
        self,
        client: KazooClient,
        root: str = "/",
        *,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._layout = Layout(client, root)
        self._znodes = self._layout.znodes
        self._clock_ms = clock_ms

    def ensure_layout(self) -> None:
        """Create the znodes that the queue stands on, where they do not exist."""
        self._layout.ensure()

    # --- Reading

    def find(self, name: str) -> Job:
        """Return a job, wherever it is.

        Raises:
            JobNotFoundError: it is nowhere.
        """
        return self._layout.find(name)

    def waiting(self, watch: Watch | None = None) -> list[JobName]:
        """Return the jobs under unowned in the order of taking, and set a watch on them."""
        return self._layout.names(UNOWNED, watch)

    def workers(self, watch: Watch | None = None) -> list[str]:
        """Return the ids of the live workers, and set a watch on them."""
        return self._layout.workers(watch)

    def owned(self) -> list[Job]:
        """Return the jobs that a worker has, or had when it died."""
        return self._layout.read(OWNED, [name.name for name in self._layout.names(OWNED)])

    def done(self) -> list[Job]:
        """Return the jobs that have ended."""
        return self._layout.read(DONE, [name.name for name in self._layout.names(DONE)])

    def jobs(self) -> list[Job]:
        """Return all jobs: those that workers have, those that wait, and those that have ended."""
        waiting = self._layout.read(UNOWNED, [name.name for name in self.waiting()])
        return [*self.owned(), *waiting, *self.done()]

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs are in each state."""
        states = Counter(job.state for job in (*self.owned(), *self.done()))
        states[JobState.PENDING] = len(self.waiting())
        return {state: states[state] for state in JobState}

    def done_among(self, names: Sequence[str]) -> list[Job]:
        """Return those of these jobs that have ended."""
        return self._layout.read(DONE, names)

    def watch_done(self, watches: Sequence[tuple[str, Watch]]) -> list[bool]:
        """Say which of these jobs have ended; the watch of one that has not is called when it has.

        It is called too when the connection is lost, and must then be set again.
        """
        return self._znodes.exists_all([(self._layout.done(name), w) for name, w in watches])

    # --- Submitting

    def submit(self, requests: Sequence[JobRequest], *, reuse: bool = True) -> list[Submission]:
        """Put jobs under unowned, in batches, and return what stands for each request.

        With ``reuse``, work that is already under way or done is not submitted again: the job
        that stands for it is returned. Work that FAILED is.

        Raises:
            InvalidJobError: one of the requests cannot be a job; nothing was submitted.
        """
        return Submitter(self._layout, self._clock_ms).submit(requests, reuse=reuse)

    # --- A worker's moves

    def register(self, worker: str, about: bytes = b"") -> bool:
        """Make a worker known for as long as this session lives; False where its id is taken."""
        return self._znodes.create_ephemeral(self._layout.worker(worker), about)

    def own_job(self, name: str, worker: str) -> Job:
        """Take a job from unowned to owned, as STAGING.

        Raises:
            JobTakenError: someone else took it first.
            WorkerGoneError: the worker is not, or no longer, registered.
            UnreadableJobError: what stands there is not a job.
        """
        waiting = self._znodes.get(self._layout.unowned(name))
        if waiting is None:
            raise JobTakenError(f"{name} does not wait any more: someone else took it")
        job = replace(
            Job.decode(name, *waiting),
            state=JobState.STAGING,
            worker=worker,
            taken_ms=self._clock_ms(),
            version=0,
        )
        operations: list[Operation] = [
            Exists(self._layout.worker(worker)),
            Delete(self._layout.unowned(name), waiting.version),
            Create(self._layout.owned(name), job.encode()),
        ]
        try:
            self._znodes.multi(operations, landed=lambda: self._is_owned(job))
        except RefusedError as refused:
            if refused.position == 0:
                raise _worker_gone(job) from None
            raise JobTakenError(f"{name}: someone else took it first") from None
        return job

    def update_state(self, job: Job, state: JobState, *, cache_hit: bool | None = None) -> Job:
        """Record what a job that this worker owns is at: STAGING or RUNNING.

        ``cache_hit`` says whether its data was in the worker's cache, where that is known.

        Raises:
            OwnershipLostError: it is no longer this worker's.
            ValueError: the state is one that a move of its own leads to.
        """
        if state not in {JobState.STAGING, JobState.RUNNING}:
            raise ValueError(
                f"a job does not become {state} by update_state: a result is recorded by finish,"
                " an error by fail, and release gives the job back"
            )
        started_ms = self._clock_ms() if state is JobState.RUNNING else None
        changed = replace(
            job,
            state=state,
            cache_hit=cache_hit,
            started_ms=started_ms,
            version=job.version + 1,
        )
        path = self._layout.owned(job.name)
        self._move(
            job,
            [SetData(path, changed.encode(), job.version)],
            landed=lambda: self._is_owned(changed),
        )
        return changed

    def finish(self, job: Job, result: Any) -> Job:
        """Record a result: the job stands under done as SUCCESSFUL.

        A result that is not JSON, or is too large for a znode, fails the attempt instead.

        Raises:
            OwnershipLostError: the job is no longer this worker's; the result is not recorded.
        """
        ended = replace(
            job,
            state=JobState.SUCCESSFUL,
            attempts=job.attempts + 1,
            result=result,
            finished_ms=self._clock_ms(),
            version=0,
        )
        try:
            check_json("the result", result)
            ended.check_size()
        except InvalidJobError as error:
            return self.fail(job, f"the task's result cannot be kept: {error}")
        self._move(
            job,
            [self._leave_owned(job), Create(self._layout.done(job.name), ended.encode())],
            landed=lambda: self._is_done(ended),
        )
        return ended

    def fail(self, job: Job, error: str) -> Job:
        """Record a failed attempt: the job waits again in its old place, or it is FAILED.

        Raises:
            OwnershipLostError: the job is no longer this worker's; the error is not recorded.
        """
        failed = self._after_failure(job, error)
        operations = [self._leave_owned(job), *self._enter(failed)]
        self._move(job, operations, landed=lambda: self._has_error(failed))
        return failed

    def release(self, job: Job) -> Job:
        """Give a job back unfinished: it waits again in its old place, its attempts as before.

        Raises:
            OwnershipLostError: the job is no longer this worker's.
        """
        waiting = job.waiting()
        operations = [self._leave_owned(job), *self._enter(waiting)]
        self._move(job, operations, landed=lambda: not self._is_owned(job))
        return waiting

    # --- Moves that need no worker

    def return_jobs_of_dead_workers(self) -> list[Job]:
        """End the attempts of workers whose session is gone, and return these jobs.

        Any number of workers may do this at once: each job is moved by one of them.
        """
        # The jobs are read before the workers: whoever owned one then had registered before, so
        # if he is not listed after it, he is gone.
        owned = self.owned()
        if not owned:
            return []
        alive = set(self.workers())
        returned = []
        for job in owned:
            if job.worker in alive:
                continue
            if (after := self._return_job(job)) is not None:
                returned.append(after)
        return returned

    def _return_job(self, job: Job) -> Job | None:
        """Take a job from its dead worker; None where someone else did."""
        after = self._after_failure(job, f"worker {job.worker} was lost")
        try:
            self._znodes.multi(
                [self._leave_owned(job), *self._enter(after)],
                landed=lambda: self._has_error(after),
            )
        except RefusedError:
            return None
        return after

    def requeue(self, name: str) -> Job:
        """Let a FAILED job wait again in its old place, with all its attempts before it.

        Raises:
            JobNotFoundError: no such job is in the queue.
            JobError: the job is not FAILED.
        """
        job = self.find(name)
        if job.state is not JobState.FAILED:
            raise JobError(f"{name} is {job.state}; only a FAILED job can be requeued")
        waiting = replace(job, attempts=0, errors=()).waiting()
        operations = [Delete(self._layout.done(name), job.version), *self._enter(waiting)]
        try:
            self._znodes.multi(operations, landed=lambda: not self._is_done(job))
        except RefusedError:
            raise JobNotFoundError(f"{name} was requeued or deleted by someone else") from None
        return waiting

    # --- What the moves are made of

    def _move(self, job: Job, operations: Sequence[Operation], landed: Callable[[], bool]) -> None:
        """Do what only the worker that owns the job may do."""
        worker = self._layout.worker(job.worker or "nobody")
        try:
            self._znodes.multi([Exists(worker), *operations], landed)
        except RefusedError as refused:
            if refused.position == 0 and isinstance(refused.error, NoNodeError):
                raise _worker_gone(job) from None
            raise OwnershipLostError(
                f"{job.name} is no longer owned by worker {job.worker} as it was: {refused.error!r}"
            ) from None

    def _leave_owned(self, job: Job) -> Operation:
        return Delete(self._layout.owned(job.name), job.version)

    def _enter(self, job: Job) -> list[Operation]:
        """Return what puts a job where its state says, with its attempts as its version there."""
        if job.state is JobState.FAILED:
            return [Create(self._layout.done(job.name), job.encode())]
        path = self._layout.unowned(job.name)
        contents = [*[b""] * job.attempts, job.encode()]
        rewrites = [SetData(path, data, version) for version, data in enumerate(contents[1:])]
        return [Create(path, contents[0]), *rewrites]

    def _after_failure(self, job: Job, error: str) -> Job:
        failed = job.with_error(error)
        if failed.attempts < failed.max_attempts:
            return failed.waiting()
        return replace(failed, state=JobState.FAILED, finished_ms=self._clock_ms(), version=0)

    # --- What became of a multi whose reply was lost

    def _is_owned(self, job: Job) -> bool:
        return self._reads_as(self._layout.owned(job.name), job)

    def _is_done(self, job: Job) -> bool:
        return self._reads_as(self._layout.done(job.name), job)

    def _reads_as(self, path: str, job: Job) -> bool:
        znode = self._znodes.get(path)
        if znode is None:
            return False
        found = Job.decode(job.name, *znode)
        return (found.worker, found.attempts, found.version) == (
            job.worker,
            job.attempts,
            job.version,
        )

    def _has_error(self, failed: Job) -> bool:
        try:
            return failed.errors[-1] in self.find(failed.name).errors
        except (JobNotFoundError, UnreadableJobError):
            return False


def _worker_gone(job: Job) -> WorkerGoneError:
    return WorkerGoneError(
        f"worker {job.worker} is not registered (its session has ended): {job.name} is not its own"
    )
