"""Under which id a queue knows a worker, and what the worker says of itself there.

What holds: an id is used by one session only. When the session has ended, the worker registers
under another id. Imports the job system's queue.
"""

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable

from zoolet.jobs.znodes.queue import JobQueue
from zoolet.jobs.znodes.server_clock import ServerClock

log = logging.getLogger(__name__)


class Registration:
    """A worker's place among the workers of a queue.

    Args:
        jobs: the queue.
        clock: learns the server's time from each report.
        about: returns what the worker says of itself.
        on_registered: called when it is registered, each time.
        on_lost: called when it is not registered any more.

    Attributes:
        worker_id: the latest id; empty before the first one.
    """

    def __init__(
        self,
        jobs: JobQueue,
        clock: ServerClock,
        *,
        about: Callable[[], bytes],
        on_registered: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.worker_id = ""
        self._jobs = jobs
        self._clock = clock
        self._about = about
        self._on_registered = on_registered
        self._on_lost = on_lost
        self._registered = threading.Event()

    def ensure(self) -> str:
        """Return the worker's id; register before under a new one, if it is not registered."""
        while not self._registered.is_set():
            worker_id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
            if self._jobs.register(worker_id, self._about()):
                self.worker_id = worker_id
                # Its answer has the server's time, which no job may be taken without.
                self.report()
                self._registered.set()
                self._on_registered()
                log.info("registered as worker %s", worker_id)
        if self._clock.is_sample_due():
            self.report()
        return self.worker_id

    def report(self) -> None:
        """Write down what the worker says of itself."""
        self._jobs.report(self.worker_id, self._about(), self._clock)

    def gone(self, worker: str) -> None:
        """Take notice that the queue does not know a worker of this id."""
        if worker == self.worker_id:
            self.lost()

    def lost(self) -> None:
        """Take notice that the session has ended: the next `ensure` registers under a new id."""
        self._registered.clear()
        self._on_lost()

    def close(self) -> None:
        """Register no more: the worker stops."""
        self._registered.set()
