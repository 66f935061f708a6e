"""Checks that jobs of low priority were taken as early as the share of the oldest jobs says."""

import math
import random
from collections.abc import Callable, Sequence

from zoolet.jobs import Job, JobRequest
from zoolet.jobs.records import job_names
from zoolet.jobs.worker.taker import AHEAD_JOBS

LOW, HIGH = 0, 9


def low_and_high(low: int, high: int, chance: random.Random, s: float = 0.0) -> list[JobRequest]:
    """Return jobs without data, most of the ones with a low priority first."""
    numbers = sorted(range(low + high), key=lambda n: n * chance.random() if n < 2 * low else n)
    priorities = [LOW] * low + [HIGH] * high
    return [
        JobRequest("pipe_tasks:number", parameters={"n": n, "s": s}, priority=priorities[n])
        for n in numbers
    ]


def late_jobs(
    jobs: Sequence[Job],
    percent: int,
    workers: int,
    shard_of: Callable[[str, str], int],
    shards: int,
) -> list[str]:
    """Return the jobs that were taken later than the share says; all waited from the beginning.

    A worker takes many jobs in one try, and the clocks of workers differ by some ms. So the jobs
    of one try of each worker are not counted.
    """
    names = {job.name: name for job in jobs if (name := job_names.parse(job.name)) is not None}
    taken_ms = sorted(job.taken_ms or 0 for job in jobs)
    found = []
    for job in jobs:
        if job.losses or job.errors:
            continue  # taken_ms is the time of a later take
        own = names[job.name]
        shard = shard_of(*own.group)
        older = sum(
            shard_of(*other.group) == shard and other.sequence < own.sequence
            for other in names.values()
        )
        most = math.ceil((older + workers) * shards * 100 / percent) + workers * AHEAD_JOBS
        before = sum(at_ms < (job.taken_ms or 0) for at_ms in taken_ms)
        if before > most:
            found.append(f"{job.name}: {before} jobs were taken before, more than {most}")
    return found


def first_low(jobs: Sequence[Job]) -> int:
    """Return how many jobs were taken before the first job of the low priority."""
    first_ms = min(job.taken_ms or 0 for job in jobs if job.priority == LOW)
    return sum((job.taken_ms or 0) < first_ms for job in jobs)
