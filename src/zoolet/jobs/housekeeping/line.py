"""The housekeeping of a queue, which one worker does for all: the first in line.

Every worker stands in line with an ephemeral that the server numbers, and watches the one before
it, so that when the first goes, one other is woken. The first returns the jobs of workers that are
gone, lets batches go that waited for another, and removes what is to be kept no longer. Nothing
goes wrong where two believe to be first for a moment: every move is made once, whoever makes it.

Imports the job system's queue.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable

from zoolet.jobs.housekeeping.releasing import Releaser
from zoolet.jobs.housekeeping.removal import Remover
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.znodes.layout import KEEPER
from zoolet.jobs.znodes.queue import JobQueue

log = logging.getLogger(__name__)

LINE_LOOK_S = 60.0
"""How long a worker waits in line before it looks at the line again without a watch's call."""
REMOVE_EVERY_S = 10.0
"""How often what is to be kept no longer is removed."""
RETURN_SHARE = 10
"""Looking for dead workers may take 1/N of the time: many may die one by one."""


class Housekeeping:
    """One worker's part in it: it is done, or waited for, in the thread that calls `run`."""

    def __init__(self, jobs: JobQueue, results: ResultReader) -> None:
        self._jobs = jobs
        self._znodes = jobs.layout.znodes
        self._remover = Remover(jobs, results)
        self._wake = threading.Event()
        self._releaser = Releaser(jobs, self._wake.set)
        self._stopping = False
        self._place: str | None = None
        self._session_id: int | None = None
        """Of the session that it stands in line with."""
        self._is_first = False
        self._workers_stale = threading.Event()
        self._not_before = 0.0

    def line_up(self) -> None:
        """Stand in line, at its end, with a session that is new."""
        self._place = None
        self._is_first = False
        self._wake.set()

    def stop(self) -> None:
        """Let `run` return."""
        self._stopping = True
        self._wake.set()

    def run(self) -> None:
        """Wait in line, and keep house when it is this worker's turn."""
        timeout_s = LINE_LOOK_S
        while True:
            self._wake.wait(timeout_s)
            self._wake.clear()
            if self._stopping:
                return
            if not self._is_first:
                self._is_first = self._look_whether_first()
                timeout_s = LINE_LOOK_S
            if self._is_first:
                timeout_s = self._keep()

    def _look_whether_first(self) -> bool:
        path = self._znodes.path(KEEPER)
        if self._place is None:
            self._place = self._znodes.create_in_line(f"{path}/w-", uuid.uuid4().hex)
            self._session_id = self._znodes.session_id
        line = sorted(self._znodes.children(path))
        if self._place not in line:
            if self._znodes.session_id == self._session_id:
                # Somebody deleted its znode: it goes to the end of the line.
                self._place = None
                self._wake.set()
            # Else its session has ended, and another one lines up.
            return False
        position = line.index(self._place)
        if position == 0:
            self._workers_stale.set()
            self._releaser.begin()
            return True
        if not self._znodes.exists(f"{path}/{line[position - 1]}", lambda _: self._wake.set()):
            self._wake.set()
        return False

    def _keep(self) -> float:
        """Do what there is to do; return in how many seconds to come again without an event."""
        now = time.monotonic()
        if self._workers_stale.is_set() and now >= self._not_before:
            self._workers_stale.clear()
            self._jobs.workers(self._stirs(self._workers_stale))
            for job in self._jobs.return_jobs_of_dead_workers():
                log.warning("%s: %s; it is now %s", job.name, job.errors[-1], job.state)
            self._not_before = time.monotonic() + RETURN_SHARE * (time.monotonic() - now)
        release_in_s = self._releaser.release()
        self._remover.remove_if_due()
        timeouts = [REMOVE_EVERY_S]
        if self._workers_stale.is_set():
            timeouts.append(max(0.0, self._not_before - time.monotonic()))
        if release_in_s is not None:
            timeouts.append(release_in_s)
        return min(timeouts)

    def _stirs(self, stale: threading.Event) -> Callable[[object], None]:
        def stir(_: object) -> None:
            stale.set()
            self._wake.set()

        return stir
