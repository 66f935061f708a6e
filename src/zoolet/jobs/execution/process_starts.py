"""Repeated starts of an executor's process: the delays between them, and the number of tries."""

import logging

from zoolet.jobs.errors import ExecutorError

log = logging.getLogger(__name__)

START_TRIES = 3
"""If this number of processes in a row end before they are ready or soon after, the executor
fails."""
START_TRIES_WITHOUT_RESOURCES = 10
"""If the system cannot start this number of processes in a row, for example because of a temporary
lack of memory, the executor fails. With the back-off, the tries take about 20 s."""
BACKOFF_FIRST_S = 0.1
BACKOFF_MOST_S = 5.0


class StartError(Exception):
    """A process ended before it was ready or soon after, or could not be started.

    Attributes:
        tries: the number of failed starts in a row after which the executor fails.
    """

    def __init__(self, reason: str, tries: int) -> None:
        super().__init__(reason)
        self.tries = tries


class Starts:
    """Counts the starts in a row that have failed."""

    def __init__(self) -> None:
        self._failed = 0

    def succeeded(self) -> None:
        """Reset the count: a process was ready, and began an attempt or did not end soon after."""
        self._failed = 0

    def failed(self, problem: StartError) -> float:
        """Count a failed start, and return the delay, in seconds, before the next start.

        Raises:
            ExecutorError: this was the last try.
        """
        self._failed += 1
        if self._failed >= problem.tries:
            raise ExecutorError(
                f"an executor's process cannot be started (tries: {self._failed}): {problem}"
            )
        delay_s: float = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** (self._failed - 1))
        log.warning(
            "an executor's process cannot be started (try %d of %d, next try in %.1f s): %s",
            self._failed, problem.tries, delay_s, problem,
        )  # fmt: skip
        return delay_s
