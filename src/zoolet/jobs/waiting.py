"""Which job a worker takes next: of data that it holds, and else the first of all.

Owns the view of unowned that the executors of a worker share, as it was last listed. What holds:
an executor is given a job at once where the worker holds its data, or holds nothing at all; else
it waits one bounded round for such a job, and is given the first of all after it. A round that was
waited for nothing is not waited again before there was such a job, so that a stream of jobs on
ever new data is not slowed down. Nobody polls: who waits is woken when the view changes. Talks to
no server. Imports the job system's names.
"""

import threading
from collections.abc import Callable, Collection, Sequence

from zoolet.jobs.naming import JobName

Held = Collection[tuple[str, str]]
"""Groups of data that a worker holds, each as dataset and groupid."""


def first_held(waiting: Sequence[JobName], held: Held) -> JobName | None:
    """Return the first job whose data is held; ``waiting`` is in the order of taking."""
    return next((job for job in waiting if job.group in held), None)


class WaitingJobs:
    """The jobs that wait, as the executors of one worker see them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: list[JobName] = []
        self._closed = False
        self._expects_held = True

    def replace(self, jobs: Sequence[JobName]) -> None:
        """Make this, in the order of taking, what waits."""
        with self._changed:
            self._jobs = list(jobs)
            self._changed.notify_all()

    def close(self) -> None:
        """Give out no more jobs; wake everyone who waits for one."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def next_job(self, held: Callable[[], Held], locality_wait_s: float) -> JobName | None:
        """Wait for a job to take, and return it; None when no more are given out.

        The job is out of the view then, so that no other executor is given it. Someone else's
        worker may have it all the same.
        """
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._closed or self._jobs)
                if held() and self._expects_held:
                    self._changed.wait_for(
                        lambda: self._closed or not self._jobs or first_held(self._jobs, held()),
                        timeout=locality_wait_s,
                    )
                if self._closed:
                    return None
                if self._jobs:
                    local = first_held(self._jobs, held())
                    self._expects_held = local is not None or not held()
                    job = local or self._jobs[0]
                    self._jobs.remove(job)
                    return job
