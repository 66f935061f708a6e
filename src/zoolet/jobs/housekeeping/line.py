"""The housekeeping of a queue: the first worker in line does it for all workers.

The line is a `zoolet.jobs.housekeeping.place.PlaceInLine`. The first worker in line returns
the jobs of dead workers, releases deferred jobs, submits the jobs of schedules, and removes old
finished jobs. Two workers may believe for a moment that they are first. This does no harm: each
move of a job can be made only one time, no matter which worker makes it.

This module imports `zoolet.jobs.queue`, `zoolet.jobs.results`, `zoolet.jobs.schedules` and other
modules of its package.
"""

import logging
import threading
import time
from collections.abc import Callable

from zoolet.jobs.housekeeping.expiring import Expirer
from zoolet.jobs.housekeeping.limit_releases import LimitReleaser
from zoolet.jobs.housekeeping.place import LINE_LOOK_S, PlaceInLine
from zoolet.jobs.housekeeping.releasing import Releaser
from zoolet.jobs.housekeeping.removal import Remover
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.schedules.scheduler import Scheduler
from zoolet.jobs.znodes.layout import KEEPER

log = logging.getLogger(__name__)

REMOVE_EVERY_S = 10.0
"""The time, in seconds, between two removals of old finished jobs."""
RETURN_SHARE = 10
"""After a search for dead workers, the next search waits at least this many times as long as the
search took, so that many deaths one by one do not keep the thread busy."""


class Housekeeping:
    """A worker's place in the line; the thread that calls `run` waits and does the housekeeping."""

    def __init__(
        self,
        jobs: JobQueue,
        results: ResultReader,
        on_history_problem: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._jobs = jobs
        self._remover = Remover(jobs, results, on_history_problem=on_history_problem)
        self._wake = threading.Event()
        self._releaser = Releaser(jobs, self._wake.set)
        self._scheduler = Scheduler(jobs, self._wake.set)
        self._limit_releaser = LimitReleaser(jobs, self._wake.set)
        self._expirer = Expirer(jobs, self._wake.set)
        self._stopping = False
        znodes = jobs.layout.znodes
        self._place = PlaceInLine(znodes, znodes.path(KEEPER), self._wake.set)
        self._workers_stale = threading.Event()
        self._not_before = 0.0

    def line_up(self) -> None:
        """Join the end of the line, because the worker has registered with a new id."""
        self._place.line_up()

    @property
    def place(self) -> str | None:
        """The path of the worker's ephemeral in the line; None if it is not in the line."""
        return self._place.path

    def stop(self) -> None:
        """Let `run` return."""
        self._stopping = True
        self._wake.set()

    def run(self) -> None:
        """Wait in line, and do the housekeeping when this worker is the first, until `stop`."""
        timeout_s = LINE_LOOK_S
        while True:
            self._wake.wait(timeout_s)
            self._wake.clear()
            if self._stopping:
                return
            if not self._place.is_first:
                timeout_s = LINE_LOOK_S
                if self._place.look():
                    self._begin()
            if self._place.is_first:
                timeout_s = self._keep()

    def do_now(self) -> None:
        """Do all housekeeping that is due, although this worker may not be the first in line."""
        self._begin()
        while self._keep() == 0.0:
            pass

    def _begin(self) -> None:
        self._workers_stale.set()
        self._releaser.begin()
        self._scheduler.begin()
        self._limit_releaser.begin()
        self._expirer.begin()

    def _keep(self) -> float:
        """Do the housekeeping; return the seconds until the next call if no event occurs before."""
        now = time.monotonic()
        if self._workers_stale.is_set() and now >= self._not_before:
            self._workers_stale.clear()
            self._jobs.workers(self._stirs(self._workers_stale))
            returned = self._jobs.return_jobs_of_dead_workers()
            for job in returned:
                log.warning("%s: %s; it is now %s", job.name, job.errors[-1], job.state)
            if any(job.is_stand_in for job in returned):
                # A value that cannot be read does not say which slots of limits its job had.
                self._limit_releaser.delete_lost_slots()
            self._not_before = time.monotonic() + RETURN_SHARE * (time.monotonic() - now)
        next_in_s = (
            self._expirer.expire(),
            self._releaser.release(),
            self._limit_releaser.release(),
            self._scheduler.run(),
        )
        self._remover.remove_if_due()
        timeouts = [REMOVE_EVERY_S, *(pause_s for pause_s in next_in_s if pause_s is not None)]
        if self._workers_stale.is_set():
            timeouts.append(max(0.0, self._not_before - time.monotonic()))
        return min(timeouts)

    def _stirs(self, stale: threading.Event) -> Callable[[object], None]:
        def stir(_: object) -> None:
            stale.set()
            self._wake.set()

        return stir
