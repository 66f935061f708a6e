"""The jobs that a worker has in hand, from when it took them until what came of them is recorded.

Shared by the worker's threads: one puts jobs in, executors tell how they come on, one records it. A
job that was lost may be taken again, so a job in hand is known by its object and not by its name.
Imports the job system's records.
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
        job: as it stands under owned.
        executor: which executor has it.
        cache_hit: whether its data was there when its task was started.
        started_ms: when its task was started, in milliseconds since the epoch.
        has_ended: whether the attempt has, and is to be recorded.
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
        """Add a job that was taken."""
        with self._changed:
            self._jobs[job.name] = JobInHand(job, executor)

    def get(self, name: str) -> JobInHand | None:
        """Return a job, None where it is not in hand any more."""
        return self._jobs.get(name)  # one lookup needs no lock

    def drop(self, dropped: Iterable[JobInHand]) -> list[str]:
        """Remove jobs: what came of them is recorded, or they are not the worker's any more.

        Returns the names of those that were in hand. One that was taken again since stays.
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
        """Return how many jobs each executor has that have not ended."""
        with self._changed:
            return Counter(held.executor for held in self._jobs.values() if not held.has_ended)

    def groups(self) -> dict[Group, int]:
        """Return the groups that jobs in hand are about, each with an executor that has one."""
        with self._changed:
            return {
                held.job.group: held.executor
                for held in self._jobs.values()
                if held.job.group is not None and not held.has_ended
            }

    def wait_until_empty(self, timeout_s: float) -> None:
        """Wait until nothing is in hand, or until ``timeout_s`` or `stop_waiting` ends the wait."""
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs or not self._is_waited_for, timeout_s)

    def stop_waiting(self) -> None:
        """End `wait_until_empty`, now and in the future."""
        with self._changed:
            self._is_waited_for = False
            self._changed.notify_all()
