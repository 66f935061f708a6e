"""Histograms of the waiting time and the run time of jobs, for each task.

Invariant: at most `TASKS_MOST` tasks have histograms of their own, because each label of a metric
costs memory in Prometheus. All other tasks share the label `OTHER`. This module imports
`zoolet.jobs.hooks` and `zoolet.jobs.records`.
"""

import bisect
import threading
from typing import NamedTuple

from zoolet.jobs.hooks.job_hooks import Attempt, JobHooks
from zoolet.jobs.records.job import Job

TASKS_MOST = 100
OTHER = "(other tasks)"
LABEL_CHARACTERS = 200
"""The greatest length of a task in a label; the middle of a longer name is left out."""
BOUNDS_S = (0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
"""The upper bounds of the buckets, in seconds; the last bucket has no upper bound."""


class Histogram(NamedTuple):
    """The durations of one task.

    Attributes:
        counts: the number of durations in each bucket; one bucket more than `BOUNDS_S`.
        sum_s: the sum of all durations, in seconds.
    """

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    sum_s: float = 0.0

    def with_value(self, value_s: float) -> "Histogram":
        """Return the histogram with one duration more."""
        position = bisect.bisect_left(BOUNDS_S, value_s)
        counts = list(self.counts)
        counts[position] += 1
        return Histogram(tuple(counts), self.sum_s + value_s)


class TaskHistograms(JobHooks):
    """Hooks of a worker that count durations."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, Histogram] = {}
        self._running: dict[str, Histogram] = {}

    def started(self, job: Job, started_ms: int) -> None:
        """Count the time for which a job has waited in unowned and in the worker."""
        if job.ready_ms is not None:
            self._count(self._waiting, job.task, started_ms - job.ready_ms)

    def ended(self, attempt: Attempt) -> None:
        """Count the run time of an attempt."""
        if attempt.started_ms is not None:
            self._count(self._running, attempt.job.task, attempt.ended_ms - attempt.started_ms)

    def waiting(self) -> dict[str, Histogram]:
        """Return the waiting times, by the label of the task."""
        with self._lock:
            return dict(self._waiting)

    def running(self) -> dict[str, Histogram]:
        """Return the run times, by the label of the task."""
        with self._lock:
            return dict(self._running)

    def _count(self, histograms: dict[str, Histogram], task: str, duration_ms: int) -> None:
        label = label_of(task)
        with self._lock:
            if label not in histograms and len(histograms) >= TASKS_MOST:
                label = OTHER
            # The estimate of the server's clock may go back by some milliseconds.
            duration_s = max(0, duration_ms) / 1000
            histograms[label] = histograms.get(label, Histogram()).with_value(duration_s)


def label_of(task: str) -> str:
    """Return the label for a task."""
    if len(task) <= LABEL_CHARACTERS:
        return task
    half = LABEL_CHARACTERS // 2 - 2
    return f"{task[:half]}...{task[-half:]}"
