"""The removal of entries of the index of deferred jobs that have no job.

This module imports `zoolet.jobs.records` and `zoolet.jobs.znodes`.
"""

from zoolet.jobs.records.transitions import Place
from zoolet.jobs.znodes.layout import Layout
from zoolet.jobs.znodes.operations import Create, Delete, Operation, RefusedError


def remove_entry(layout: Layout, name: str, path: str) -> None:
    """Remove the entry at ``path`` for a job of this name, unless the job is in deferred now."""
    znodes = layout.znodes
    job = layout.job(Place.DEFERRED, name)
    # The server refuses the first operation if the job exists.
    operations: list[Operation] = [Create(job, b""), Delete(job, 0), Delete(path, -1)]
    try:
        znodes.multi(operations, landed=lambda: not znodes.exists(path))
    except RefusedError as refused:
        if refused.lacks_parent:
            # The page of the job does not exist, so the job does not exist.
            znodes.delete(path)
