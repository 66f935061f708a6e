"""The jobs in hand: jobs that a worker has taken and whose outcome is not recorded yet.

The worker's threads share this collection: one thread adds jobs, the executors' threads report
progress, and another thread records the outcomes. A worker can lose a job and take the job again.
A job in hand is therefore identified by its `JobInHand` object, not by its name. This module
imports `zoolet.jobs.records`.
"""

import threading
from collections import Counter
from collections.abc import Iterable
from typing import final

from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_names import Group
from zoolet.jobs.records.progress import Progress  # noqa: TC001 -- this module is compiled


@final
class JobInHand:
    """A job in hand.

    Attributes:
        job: the job as it is stored below ``owned/``.
        executor: the number of the executor that has the job.
        cache_hit: whether the job's data was in the cache when its task was started; None before
            the start, and for a job without data.
        started_ms: the time at which its task was called, in milliseconds since the epoch; None
            before that time.
        progress: the progress that the task reported last; None if it has reported none.
        is_progress_recorded: whether the queue has this progress, or is about to get it.
        has_ended: whether the attempt has ended, or the job was dropped. The outcome of an attempt
            that has ended is perhaps not recorded yet.
    """

    __slots__ = (
        "cache_hit",
        "executor",
        "has_ended",
        "is_progress_recorded",
        "job",
        "progress",
        "started_ms",
    )

    def __init__(self, job: Job, executor: int) -> None:
        self.job = job
        self.executor = executor
        self.cache_hit: bool | None = None
        self.started_ms: int | None = None
        self.progress: Progress | None = None
        self.is_progress_recorded = True
        self.has_ended = False


@final
class JobsInHand:
    """The jobs in hand, by name."""

    def __init__(self) -> None:
        # The methods of the condition are interpreted: they take longer than the lock itself.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._jobs: dict[str, JobInHand] = {}
        self._loads: dict[int, int] = {}
        """The number of jobs of each executor that have not ended."""
        self._is_waited_for = True

    def put(self, job: Job, executor: int) -> None:
        """Add a job that the worker has taken."""
        with self._lock:
            replaced = self._jobs.get(job.name)
            if replaced is not None:
                self._end(replaced)
            self._jobs[job.name] = JobInHand(job, executor)
            self._loads[executor] = self.load(executor) + 1

    def get(self, name: str) -> JobInHand | None:
        """Return the job of this name; None if it is not in hand any more."""
        return self._jobs.get(name)  # one lookup needs no lock

    def end(self, held: JobInHand) -> None:
        """Note that the attempt of a job has ended, or that the executor has returned the job."""
        with self._lock:
            if self._jobs.get(held.job.name) is held:
                self._end(held)
            held.has_ended = True

    def _end(self, held: JobInHand) -> None:
        if not held.has_ended:
            held.has_ended = True
            self._loads[held.executor] -= 1

    def drop(self, dropped: Iterable[JobInHand]) -> list[str]:
        """Remove jobs whose outcome is recorded, or that the worker does not own any more.

        Returns the names of the removed jobs. If the worker has lost a job and taken it again, the
        new `JobInHand` of this job stays.
        """
        with self._lock:
            names = [h.job.name for h in dropped if self._jobs.get(h.job.name) is h]
            for name in names:
                self._end(self._jobs.pop(name))
            self._changed.notify_all()
        return names

    def all(self) -> list[JobInHand]:
        """Return all jobs in hand."""
        with self._lock:
            return list(self._jobs.values())

    def loads(self) -> Counter[int]:
        """Return the number of jobs of each executor that have not ended."""
        with self._lock:
            return Counter(self._loads)

    def load(self, executor: int) -> int:
        """Return the number of jobs of one executor that have not ended."""
        return self._loads.get(executor, 0)  # one lookup needs no lock

    def count(self) -> int:
        """Return the number of jobs that have not ended."""
        with self._lock:
            return sum(self._loads.values())

    def forget(self, executor: int) -> None:
        """Remove the count of an executor that has no job and gets no job any more."""
        with self._lock:
            self._loads.pop(executor, None)

    def has_short_jobs(self) -> bool:
        """Return whether an executor has several jobs that have not ended.

        A worker takes further jobs for a busy executor only if the jobs are short.
        """
        with self._lock:
            return any(load > 1 for load in self._loads.values())

    def groups(self) -> dict[Group, int]:
        """Return the groups of the jobs in hand, each with the number of its executor."""
        with self._lock:
            return {
                held.job.group: held.executor
                for held in self._jobs.values()
                if held.job.group is not None and not held.has_ended
            }

    def wait_until_empty(self, timeout_s: float) -> None:
        """Wait until no job is in hand, `stop_waiting` is called, or ``timeout_s`` has passed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs or not self._is_waited_for, timeout_s)

    def stop_waiting(self) -> None:
        """End `wait_until_empty`, now and in the future."""
        with self._lock:
            self._is_waited_for = False
            self._changed.notify_all()
