"""The end of a wait, without a clock: the clients for asyncio and for threads have their own."""

from collections.abc import Iterator
from contextlib import contextmanager

from zoolet.client.errors import DeadlineError


class BaseDeadline:
    """The end of a wait; None as ``timeout_s`` is a wait without an end."""

    def __init__(self, timeout_s: float | None, what: str, path: str) -> None:
        self._what = what
        self._path = path
        self._timeout_s = timeout_s
        self._end_s = None if timeout_s is None else self._now_s() + timeout_s

    def _now_s(self) -> float:
        """Return the time of a monotonic clock, in seconds."""
        raise NotImplementedError

    def left_s(self) -> float | None:
        """Return the seconds that are left; None if there is no end.

        Raises:
            DeadlineError: the time is over.
        """
        if self._end_s is None:
            return None
        left_s = self._end_s - self._now_s()
        if left_s <= 0:
            raise self.error()
        return left_s

    @contextmanager
    def of_call(self) -> Iterator[float]:
        """Yield the time limit of a call of the client; 0.0 if there is no end.

        The call is in the ``with`` block. If the time ends during the call, the error names what
        the program waits for, not this request: the program does not know the znodes of a recipe.
        And if this request was not sent, an earlier one of the recipe may have been applied.

        Raises:
            DeadlineError: the time is over.
        """
        left_s = self.left_s()
        try:
            yield left_s or 0.0
        except DeadlineError as late:
            if left_s is None:
                raise
            raise self.error("; the server has not replied") from late

    def error(self, addition: str = "") -> DeadlineError:
        """Return the error for the end of the time; ``addition`` is the end of its text."""
        detail = f"not done within {self._timeout_s:g} s{addition}"
        return DeadlineError(self._what, self._path, detail)
