"""The registration of a worker in its queue: the worker's id, and its report about itself.

Invariant: an id is used by one session only. After the end of the session, the worker registers
with a new id. This module imports `zoolet.jobs.queue`.
"""

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable

from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.znodes.server_clock import ServerClock

log = logging.getLogger(__name__)


class Registration:
    """Registers a worker in its queue.

    Args:
        jobs: the queue.
        clock: the estimate of the server's time; each report updates it.
        about: returns the worker's report about itself.
        on_registered: called after each registration.
        on_lost: called when the worker is not registered any more.

    Attributes:
        worker_id: the latest id; "" before the first registration.
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
        """Return the worker's id; if the worker is not registered, first register a new id."""
        while not self._registered.is_set():
            worker_id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
            if self._jobs.register(worker_id, self._about()):
                self.worker_id = worker_id
                # The reply contains the server's time, which must be known before jobs are taken.
                self.report()
                self._registered.set()
                self._on_registered()
                log.info("registered as worker %s", worker_id)
        if self._clock.is_sample_due():
            self.report()
        return self.worker_id

    @property
    def is_registered(self) -> bool:
        """Whether the worker is registered, as far as it knows."""
        return self._registered.is_set()

    def report(self) -> None:
        """Write the worker's report about itself to its znode."""
        self._jobs.report(self.worker_id, self._about(), self._clock)

    def gone(self, worker: str) -> None:
        """Handle the news that this id is not registered in the queue."""
        if worker == self.worker_id:
            self.lost()

    def lost(self) -> None:
        """Handle the end of the session: the next `ensure` registers the worker with a new id."""
        self._registered.clear()
        self._on_lost()

    def close(self) -> None:
        """Do not register any more, because the worker stops."""
        self._registered.set()
