"""Splits jobs into groups, each of which fits into one multi.

This module imports `zoolet.jobs.records`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from zoolet.jobs.records.job import Job

Item = TypeVar("Item")

JOBS_AT_ONCE = 50
"""The most jobs in one multi. With 50, the overhead of a request is small."""
LIMIT_BYTES = 512 * 1024
"""The most bytes of the jobs in one multi; a job alone may have more. A request has up to 1 MiB."""


def _none(_: object) -> int:
    return 0


def multis(
    items: Sequence[Item],
    job_of: Callable[[Item], Job],
    more_bytes_of: Callable[[Item], int] = _none,
) -> Iterator[list[Item]]:
    """Yield lists of items, one for each multi; ``job_of`` returns the job that an item writes.

    ``more_bytes_of`` returns the size in bytes of what an item writes in addition to its job.
    """
    some: list[Item] = []
    size_bytes = 0
    for item in items:
        job = job_of(item)
        # Only the task, parameters, errors, output and result of a job can be large.
        job_bytes = (job.size_bytes if job.is_large else 0) + more_bytes_of(item)
        if some and (len(some) == JOBS_AT_ONCE or size_bytes + job_bytes > LIMIT_BYTES):
            yield some
            some, size_bytes = [], 0
        some.append(item)
        size_bytes += job_bytes
    if some:
        yield some
