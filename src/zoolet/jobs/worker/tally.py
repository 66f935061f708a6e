"""The counts of a worker's work. This module imports `zoolet.jobs.records`."""

import threading
from collections.abc import Sequence
from typing import final

from zoolet.jobs.records.job import Job
from zoolet.jobs.records.transitions import JobState


@final
class Tally:
    """Counts the work of a worker in a queue since its start.

    Attributes:
        successful: the number of jobs that became SUCCESSFUL.
        failed_attempts: the number of failed attempts.
        failed: the number of jobs that became FAILED.
        lost: the number of ended jobs that the worker did not own any more.
        cache_hits: the number of attempts whose data was in the cache.
        cache_misses: the number of attempts whose data was loaded.
        busy_s: the time of all attempts together, in seconds.
        lock: protects the figures.
    """

    __slots__ = (
        "busy_s",
        "cache_hits",
        "cache_misses",
        "failed",
        "failed_attempts",
        "lock",
        "lost",
        "successful",
    )

    def __init__(self) -> None:
        self.successful = 0
        self.failed_attempts = 0
        self.failed = 0
        self.lost = 0
        self.cache_hits = 0
        self.cache_misses = 0
        self.busy_s = 0.0
        self.lock = threading.Lock()

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        names = ("successful", "failed_attempts", "failed", "lost", "cache_hits", "cache_misses")
        return {name: getattr(self, name) for name in names} | {"busy_s": round(self.busy_s, 3)}

    def count(self, ended: Sequence[Job], lost: int) -> None:
        """Count the jobs of recorded attempts, and the jobs that the worker did not own."""
        with self.lock:
            self.lost += lost
            for job in ended:
                if job.state is JobState.SUCCESSFUL:
                    self.successful += 1
                else:
                    self.failed += job.state is JobState.FAILED
                    self.failed_attempts += 1
