"""One long operation: what it does, how far it is, how it ended.

An operation is an async function that gets a `Handle`. Its task ends the operation: with a value,
with an error, or with a cancellation.
"""

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from zoolet.web.access.visitors import Visitor

_MOST_CREDIT_S: Final = 0.1
"""After a pause, an operation may be this much ahead of its rate."""

Work = Callable[["Handle"], Awaitable[Mapping[str, Any]]]
"""The function of an operation. It returns the result: values that JSON can have."""


class OperationError(Exception):
    """An operation has failed; the message says what was done, and what to do next."""


class State(enum.StrEnum):
    """The state of an operation; only a running one can change its state."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of operations.

    Attributes:
        name: the name in JSON and in the audit, for example ``copy``.
        unit: what it counts, in the plural, for example ``znodes``.
        template: the template that shows its result.
        link: the text of the link from its page to the page that comes next.
    """

    name: str
    unit: str
    template: str = "operation_result.html"
    link: str = "Show the znode"


@dataclass(slots=True)
class Operation:
    """What the page shows of an operation.

    Attributes:
        id: identifies it; nobody can guess it.
        kind: what it does.
        cluster: the name of the cluster.
        path: the znode.
        title: what it does, in one line.
        visitor: who has started it.
        begun_s: its start, in seconds since the epoch.
        ended_s: its end, in seconds since the epoch; None while it runs.
        done: how much is done.
        total: how much there is; None if that is not known.
        state: its state.
        is_cancelled: whether it was cancelled; it ends when the replies to its requests have come.
        shown: the result; while it runs, what is known of it.
        error: why it failed, or why it was cancelled; "" otherwise.
        url: the page that shows it, with a query; "" for the general page of operations.
        end_url: the page to which its page leads; "" for the page of its znode.
        facts: what it was started with, as texts.
    """

    id: str
    kind: Kind
    cluster: str
    path: str
    title: str
    visitor: Visitor = field(repr=False)
    begun_s: float
    ended_s: float | None = None
    done: int = 0
    total: int | None = None
    state: State = State.RUNNING
    is_cancelled: bool = False
    shown: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    url: str = ""
    end_url: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.state is State.RUNNING

    def values(self) -> dict[str, Any]:
        """Return what JSON and the templates show."""
        return {
            "id": self.id,
            "kind": self.kind.name,
            "unit": self.kind.unit,
            "cluster": self.cluster,
            "path": self.path,
            "title": self.title,
            "facts": dict(self.facts),
            "begun_ms": int(self.begun_s * 1000),
            "ended_ms": None if self.ended_s is None else int(self.ended_s * 1000),
            "done": self.done,
            "total": self.total,
            "state": self.state.value,
            "is_cancelled": self.is_cancelled,
            "result": self.shown,
            "error": self.error,
        }


class Handle:
    """What the function of an operation uses to report, and to let others run.

    Args:
        operation: the operation.
        now_s: the monotonic clock.
    """

    def __init__(self, operation: Operation, now_s: Callable[[], float] = time.monotonic) -> None:
        self.operation = operation
        self._now_s = now_s
        self._due_s = now_s()

    def progress(self, done: int, total: int | None = None) -> None:
        """Note how much is done; ``total`` stays as it is if it is None."""
        self.operation.done = done
        if total is not None:
            self.operation.total = total

    def show(self, **values: Any) -> None:
        """Show a part of the result now. The caller bounds its size."""
        self.operation.shown.update(values)

    async def checkpoint(self, cost_s: float = 0.0) -> None:
        """Let others run, and raise CancelledError if the operation is cancelled.

        A function that loops without waiting calls it every few milliseconds.

        Args:
            cost_s: the least time that the work since the last call may take. If it has taken less,
                the call waits. So a server stays fast for others.
        """
        now_s = self._now_s()
        self._due_s = max(self._due_s, now_s - _MOST_CREDIT_S) + cost_s
        await asyncio.sleep(max(0.0, self._due_s - now_s))
