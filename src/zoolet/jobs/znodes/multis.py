"""How many jobs one multi has.

Imports the job system's records.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from zoolet.jobs.records.job import Job

Item = TypeVar("Item")

JOBS_AT_ONCE = 50
"""Jobs in one multi: kazoo costs about as much for a request as for ten moves in one."""
LIMIT_BYTES = 512 * 1024
"""Bytes of jobs in one multi, unless it is a single job: a request may have 1 MiB."""


def multis(items: Sequence[Item], job_of: Callable[[Item], Job]) -> Iterator[list[Item]]:
    """Split items into those of one multi each; ``job_of`` returns the job that an item writes."""
    some: list[Item] = []
    size_bytes = 0
    for item in items:
        job = job_of(item)
        # Parameters, errors and result are all of a job that can be large.
        job_bytes = job.size_bytes if job.is_large else 0
        if some and (len(some) == JOBS_AT_ONCE or size_bytes + job_bytes > LIMIT_BYTES):
            yield some
            some, size_bytes = [], 0
        some.append(item)
        size_bytes += job_bytes
    if some:
        yield some
