"""The jobs that `zoolet jobs top` lists by name: jobs that run now, and jobs that failed lately.

The number of jobs that are read is limited, no matter how many jobs the queue has. This module
imports `zoolet.jobs.queue` and `zoolet.jobs.records`.
"""

from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_names import JobName
from zoolet.jobs.records.transitions import JobState, Place

OWNED_READ = 200
"""Limit of the owned jobs that are read; only some of them run."""
DONE_READ = 200
"""Limit of the finished jobs that are read: the newest jobs by sequence."""
PAGES_READ = 4
"""Limit of the pages of finished jobs that are listed in a queue of several shards."""


def running_jobs(queue: JobQueue) -> list[Job]:
    """Return jobs whose task runs, in the order of their starts."""
    names = queue.layout.names(Place.OWNED)[:OWNED_READ]
    owned = queue.layout.read(Place.OWNED, [name.name for name in names])
    running = [job for job in owned if job.state is JobState.RUNNING]
    return sorted(running, key=lambda job: job.started_ms or 0)


class RecentFailures:
    """Finds the FAILED jobs among the newest finished jobs; each job is read only one time."""

    def __init__(self, queue: JobQueue) -> None:
        self._layout = queue.layout
        self._seen: dict[str, Job | None] = {}

    def look(self) -> list[Job]:
        """Return the FAILED jobs, the last failure first."""
        newest = sorted(self._names(), key=lambda name: name.sequence)[-DONE_READ:]
        names = [name.name for name in newest]
        known = {name: self._seen[name] for name in names if name in self._seen}
        for job in self._layout.read(Place.DONE, [name for name in names if name not in known]):
            known[job.name] = job if job.state is JobState.FAILED else None
        self._seen = known
        failed = [job for job in known.values() if job is not None]
        return sorted(failed, key=lambda job: job.finished_ms or 0, reverse=True)

    def _names(self) -> list[JobName]:
        if self._layout.is_flat:
            return self._layout.names(Place.DONE)
        pages = sorted(
            self._layout.all_pages(Place.DONE), key=lambda page: page[1].rpartition("-")[2]
        )
        return [
            name
            for page in pages[-PAGES_READ:]
            for name in self._layout.names_in(Place.DONE, *page)
        ]
