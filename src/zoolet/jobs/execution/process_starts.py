"""Starting an executor's process again and again: how long to wait, and when to give up."""

import logging

from zoolet.jobs.errors import ExecutorError

log = logging.getLogger(__name__)

START_TRIES = 3
"""After this number of processes in a row that ended before they were ready, the executor fails."""
START_TRIES_WITHOUT_RESOURCES = 10
"""The same for processes that the system could not start, for lack of memory or descriptors: that
may pass. With the back-off this takes about 20 s."""
BACKOFF_FIRST_S = 0.1
BACKOFF_MOST_S = 5.0


class StartError(Exception):
    """A process ended before it was ready or soon after, or could not be started.

    Attributes:
        tries: after this number of such errors in a row the executor fails.
    """

    def __init__(self, reason: str, tries: int) -> None:
        super().__init__(reason)
        self.tries = tries


class Starts:
    """Counts the starts in a row that have failed."""

    def __init__(self) -> None:
        self._failed = 0

    def succeeded(self) -> None:
        """Note that a process was ready and has done its work."""
        self._failed = 0

    def failed(self, problem: StartError) -> float:
        """Return how many s to wait before the next start; raises ExecutorError: there is none."""
        self._failed += 1
        if self._failed >= problem.tries:
            raise ExecutorError(
                f"an executor's process does not get ready (tries: {self._failed}): {problem}"
            )
        delay_s: float = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** (self._failed - 1))
        log.warning(
            "an executor's process does not get ready (try %d of %d, the next one in %.1f s): %s",
            self._failed, problem.tries, delay_s, problem,
        )  # fmt: skip
        return delay_s
