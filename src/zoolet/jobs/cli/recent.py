"""Which jobs run now, and which failed lately: what `zoolet jobs top` lists by name.

Reads a bounded number of jobs, however many the queue has. Imports the job system's queue.
"""

from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_names import JobName
from zoolet.jobs.records.transitions import JobState, Place
from zoolet.jobs.znodes.queue import JobQueue

OWNED_READ = 200
"""Owned jobs that are read, of which some run."""
DONE_READ = 200
"""Of the finished jobs, the newest by sequence are read, up to this many."""
PAGES_READ = 4
"""Pages of finished jobs that are listed in a queue of several shards."""


def running_jobs(queue: JobQueue) -> list[Job]:
    """Return jobs whose task runs, those that started first at the front."""
    names = queue.layout.names(Place.OWNED)[:OWNED_READ]
    owned = queue.layout.read(Place.OWNED, [name.name for name in names])
    running = [job for job in owned if job.state is JobState.RUNNING]
    return sorted(running, key=lambda job: job.started_ms or 0)


class RecentFailures:
    """The FAILED jobs among the newest finished ones; each job is read once."""

    def __init__(self, queue: JobQueue) -> None:
        self._layout = queue.layout
        self._seen: dict[str, Job | None] = {}

    def look(self) -> list[Job]:
        """Return them, the last one that failed at the front."""
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
