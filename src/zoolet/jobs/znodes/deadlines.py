"""How long a call may wait for the server: one deadline for all requests of the call.

What holds: every wait of a call ends at its deadline, whatever the server does. A call inside
another call has the deadline of the outer one. Talks to no server. Imports the job system's errors.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from zoolet.jobs.errors import JobTimeoutError

TIMEOUT_S: Final = 30.0
"""How long a public call waits for the server, unless the caller passes another ``timeout_s``."""


class _Limit:
    """The time that a call has, and all calls inside it."""

    def __init__(
        self, timeout_s: float | None, clock_s: Callable[[], float], *, each_request: bool
    ) -> None:
        self.timeout_s = timeout_s
        self._each_request = each_request
        self._clock_s = clock_s
        self._ends_at = None if timeout_s is None else clock_s() + timeout_s

    def left_s(self) -> float | None:
        return None if self._ends_at is None else max(0.0, self._ends_at - self._clock_s())

    def answered(self) -> None:
        if self._each_request and self.timeout_s is not None:
            self._ends_at = self._clock_s() + self.timeout_s


class Deadline:
    """When a call ends, and what to say of it then.

    Args:
        timeout_s: how long the call may take; None: no limit.
        action: what the call does, for the error: ``submit``.
        unknown: what may have happened if a write was sent and its outcome is unknown: ``the job
            may have been submitted``. Empty for calls that only read.
        each_request: the time is for each request, not for the call: for calls about many jobs,
            which take long although the server answers.
    """

    def __init__(
        self,
        timeout_s: float | None,
        action: str,
        *,
        unknown: str = "",
        each_request: bool = False,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = _Limit(timeout_s, clock_s, each_request=each_request)
        self._action = action
        self._unknown = unknown
        self._outer: Deadline | None = None
        self._has_written = False

    def put_inside(self, outer: "Deadline") -> None:
        """Make this the deadline of a call inside another one, whose time holds for both.

        The error tells of the outer call, and of what the inner one may have changed.
        """
        self._outer = outer
        self._limit = outer._limit  # noqa: SLF001 -- of the same class
        self._action = outer._action  # noqa: SLF001
        self._unknown = outer._unknown or self._unknown  # noqa: SLF001

    def left_s(self) -> float | None:
        """Return how many seconds are left, 0 if none are; None: no limit."""
        return self._limit.left_s()

    def has_passed(self) -> bool:
        """Say whether no time is left."""
        return self._limit.left_s() == 0.0

    def answered(self) -> None:
        """Note that the server answered a request."""
        self._limit.answered()

    def writes(self) -> None:
        """Note that a write is sent: from now on the outcome of the call may be unknown."""
        self._has_written = True
        if self._outer is not None:
            self._outer.writes()

    def error(self) -> JobTimeoutError:
        """Return the error of a call whose time is over."""
        text = (
            f"{self._action}: the ZooKeeper server did not answer within"
            f" {self._limit.timeout_s:g} s. Is it running?"
        )
        if self._has_written and self._unknown:
            text += f" The outcome is unknown: {self._unknown}."
        elif self._unknown:
            text += " Nothing was changed."
        return JobTimeoutError(text, is_outcome_unknown=self._has_written)


class Deadlines:
    """The deadline of the call that each thread is in."""

    def __init__(self) -> None:
        self._local = threading.local()

    @property
    def current(self) -> Deadline | None:
        """The deadline of this thread's call; None outside of a call."""
        found: Deadline | None = getattr(self._local, "deadline", None)
        return found

    @contextmanager
    def within(self, deadline: Deadline) -> Iterator[Deadline]:
        """Make this the deadline of what the thread does in the block."""
        outer = self.current
        if outer is not None:
            deadline.put_inside(outer)
        self._local.deadline = deadline
        try:
            yield deadline
        finally:
            self._local.deadline = outer
