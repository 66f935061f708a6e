"""The thread of a worker that calls hooks about attempts, so that no hook delays the worker.

Invariant: at most `CALLS_MOST` calls wait. If hooks are slower than jobs, further calls are left
out and counted. This module imports other modules of its package.
"""

import logging
import queue
import threading
from collections.abc import Callable

from zoolet.jobs.hooks.job_hooks import Attempt, HookCalls
from zoolet.jobs.records.job import Job

log = logging.getLogger(__name__)

CALLS_MOST = 10_000
CLOSE_S = 2.0
"""The time, in seconds, that a worker waits for its hooks when it stops."""


class AttemptCalls:
    """Calls hooks in a thread of its own, in the order of the events.

    Args:
        hooks: the hooks.

    Attributes:
        left_out: the number of calls that were left out.
    """

    def __init__(self, hooks: HookCalls) -> None:
        self._hooks = hooks
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(CALLS_MOST)
        self._thread = threading.Thread(target=self._run, name="hooks", daemon=True)
        self.left_out = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def started(self, job: Job, started_ms: int) -> None:
        """Call `JobHooks.started` in the thread."""
        self._put(lambda: self._hooks.started(job, started_ms))

    def ended(self, attempt: Attempt) -> None:
        """Call `JobHooks.ended` in the thread."""
        self._put(lambda: self._hooks.ended(attempt))

    def close(self) -> None:
        """Make the calls that wait, for at most `CLOSE_S`, and end the thread."""
        if self._thread.ident is None:
            return
        try:
            self._calls.put(None, timeout=CLOSE_S)
        except queue.Full:
            return
        self._thread.join(CLOSE_S)

    def _put(self, call: Callable[[], None]) -> None:
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self.left_out += 1
            if self.left_out == 1:
                log.warning("calls of hooks are left out: the hooks are slower than the jobs")

    def _run(self) -> None:
        # This wait ends: `close` puts None, or the process ends, because the thread is a daemon.
        while (call := self._calls.get()) is not None:
            call()
