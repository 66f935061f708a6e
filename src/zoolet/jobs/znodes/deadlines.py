"""Deadlines: how long a call waits for the server.

All requests of a call share one deadline, except with ``each_request``.

A call is the call of a public method of the job system. Invariants: every wait of a call ends at
the call's deadline, whatever the server does. A call inside another call has the deadline of the
outer call. This module sends no requests. It imports `zoolet.jobs.errors`.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from zoolet.jobs.errors import JobTimeoutError

TIMEOUT_S: Final = 30.0
"""The default of the argument ``timeout_s`` of public methods: how long a method waits for the
server, in seconds."""


class _Limit:
    """The time limit that a call and all calls inside it share."""

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
    """The time at which a call ends, and the text of the error that is raised then.

    Args:
        timeout_s: the time limit in seconds; None: no limit.
        action: the name of the call in the error message, for example ``submit``.
        unknown: the part of the message about a write with an unknown outcome, for example ``the
            job may have been submitted``. Empty for calls that only read.
        each_request: whether the limit is for each request, not for the whole call. Calls about
            many jobs use this, because they take long even if the server replies quickly.
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
        """Use the time limit of ``outer``, the deadline of the call around this call.

        The error names the outer call. If the outer call only reads, the error says what the inner
        call may have changed.
        """
        self._outer = outer
        self._limit = outer._limit  # noqa: SLF001 -- of the same class
        self._action = outer._action  # noqa: SLF001
        self._unknown = outer._unknown or self._unknown  # noqa: SLF001

    def left_s(self) -> float | None:
        """Return the seconds until the deadline: 0 after the deadline, None without a limit."""
        return self._limit.left_s()

    def has_passed(self) -> bool:
        """Return whether the deadline has passed."""
        return self._limit.left_s() == 0.0

    def answered(self) -> None:
        """Record that the server replied; with ``each_request``, the full time begins again."""
        self._limit.answered()

    def writes(self) -> None:
        """Record that a write is sent: from now on the outcome of the call may be unknown."""
        self._has_written = True
        if self._outer is not None:
            self._outer.writes()

    def error(self) -> JobTimeoutError:
        """Return the error for a call whose deadline has passed."""
        text = (
            f"{self._action}: the ZooKeeper server did not reply within"
            f" {self._limit.timeout_s:g} s. Is it running?"
        )
        if self._has_written and self._unknown:
            text += f" The outcome is unknown: {self._unknown}."
        elif self._unknown:
            text += " Nothing was changed."
        return JobTimeoutError(text, is_outcome_unknown=self._has_written)


class Deadlines:
    """The deadline of each concurrent call.

    ``local`` has attributes with a value of their own in each concurrent call (`Link.call_local`);
    None: in each thread.
    """

    def __init__(self, local: Any = None) -> None:
        self._local = threading.local() if local is None else local

    @property
    def current(self) -> Deadline | None:
        """The deadline of the current call; None outside of a call."""
        found: Deadline | None = getattr(self._local, "deadline", None)
        return found

    @contextmanager
    def within(self, deadline: Deadline) -> Iterator[Deadline]:
        """Make ``deadline`` the deadline of the requests in the block."""
        outer = self.current
        if outer is not None:
            deadline.put_inside(outer)
        self._local.deadline = deadline
        try:
            yield deadline
        finally:
            self._local.deadline = outer
