"""The jobs in hand: jobs that a worker has taken and whose outcome is not recorded yet.

The worker's threads share this collection: one thread adds jobs, the executors' threads report
progress, and another thread records the outcomes. A worker can lose a job and take the job again.
A job in hand is therefore identified by its `JobInHand` object, not by its name. This module
imports `zoolet.jobs.records`.
"""

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_names import Group


@dataclass(slots=True)
class JobInHand:
    """A job in hand.

    Attributes:
        job: the job as it is stored below ``owned/``.
        executor: the number of the executor that has the job.
        cache_hit: whether the job's data was in the cache when its task was started; None before
            the start, and for a job without data.
        started_ms: the time at which its task was called, in milliseconds since the epoch; None
            before that time.
        has_ended: whether the attempt has ended. Its outcome is perhaps not recorded yet.
    """

    job: Job
    executor: int
    cache_hit: bool | None = None
    started_ms: int | None = None
    has_ended: bool = False


class JobsInHand:
    """The jobs in hand, by name."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: dict[str, JobInHand] = {}
        self._is_waited_for = True

    def put(self, job: Job, executor: int) -> None:
        """Add a job that the worker has taken."""
        with self._changed:
            self._jobs[job.name] = JobInHand(job, executor)

    def get(self, name: str) -> JobInHand | None:
        """Return the job of this name; None if it is not in hand any more."""
        return self._jobs.get(name)  # one lookup needs no lock

    def drop(self, dropped: Iterable[JobInHand]) -> list[str]:
        """Remove jobs whose outcome is recorded, or that the worker does not own any more.

        Returns the names of the removed jobs. If the worker has lost a job and taken it again, the
        new `JobInHand` of this job stays.
        """
        with self._changed:
            names = [h.job.name for h in dropped if self._jobs.get(h.job.name) is h]
            for name in names:
                del self._jobs[name]
            self._changed.notify_all()
        return names

    def all(self) -> list[JobInHand]:
        """Return all jobs in hand."""
        with self._changed:
            return list(self._jobs.values())

    def loads(self) -> Counter[int]:
        """Return the number of jobs of each executor that have not ended."""
        with self._changed:
            return Counter(held.executor for held in self._jobs.values() if not held.has_ended)

    def groups(self) -> dict[Group, int]:
        """Return the groups of the jobs in hand, each with the number of its executor."""
        with self._changed:
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
        with self._changed:
            self._is_waited_for = False
            self._changed.notify_all()
