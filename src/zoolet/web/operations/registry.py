"""The long operations of all visitors.

Invariants: only the visitor who has started an operation finds it; the number of operations that
run, and of ended ones that are kept, is bounded; each operation ends when the login of its visitor
ends, and when the page ends.
"""

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from zoolet.client import ZooKeeperError
from zoolet.web.access.visitors import Visitor
from zoolet.web.clusters.clients import TooManyClientsError
from zoolet.web.clusters.lists import TooManyChildrenError
from zoolet.web.operations.operation import (
    Handle,
    Kind,
    Operation,
    OperationError,
    State,
    Work,
)

log = logging.getLogger(__name__)

MOST_OF_USER: Final = 4
"""Most operations of a user that run at the same time."""

MOST_RUNNING: Final = 16
"""Most operations that run at the same time."""

MOST_KEPT_OF_USER: Final = 20
"""Most ended operations of a user that are kept."""

MOST_KEPT: Final = 200
"""Most ended operations that are kept."""

KEPT_S: Final = 3600.0
"""An operation that ended before this time is forgotten."""

_EXPECTED: Final = (
    OperationError,
    ZooKeeperError,
    TooManyClientsError,
    TooManyChildrenError,
    ValueError,
    OSError,
)


class TooManyOperationsError(Exception):
    """Too many operations run; the message says what to do."""


class Operations:
    """The operations that run, and those that have ended lately.

    Args:
        now_s: the monotonic clock.
        time_s: the clock of the system, in seconds since the epoch.
        close_s: how long `close` waits for operations before it cancels them again.
    """

    def __init__(
        self,
        now_s: Callable[[], float] = time.monotonic,
        time_s: Callable[[], float] = time.time,
        close_s: float = 5.0,
    ) -> None:
        self._close_s = close_s
        self._now_s = now_s
        self._time_s = time_s
        self._operations: OrderedDict[str, Operation] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended: OrderedDict[str, float] = OrderedDict()
        self._reasons: dict[str, str] = {}

    def start(
        self,
        visitor: Visitor,
        kind: Kind,
        *,
        cluster: str,
        path: str,
        title: str,
        work: Work,
        total: int | None = None,
        url: str = "",
        end_url: str = "",
        facts: Mapping[str, str] | None = None,
    ) -> Operation:
        """Start an operation in the running event loop.

        The function ``work`` uses a connection of the visitor as long as it runs, so that this
        connection is not idle. It writes the audit if it changes something. The visitor is the one
        of now: a later change of the role does not end the operation.

        Raises:
            TooManyOperationsError: too many operations of the user, or of all users, run.
        """
        user = _user_of(visitor)
        running = [self._operations[key] for key in self._tasks]
        if sum(_user_of(found.visitor) == user for found in running) >= MOST_OF_USER:
            raise TooManyOperationsError(
                f"{MOST_OF_USER} of your operations run: cancel one, or wait until one has ended"
            )
        if len(running) >= MOST_RUNNING:
            raise TooManyOperationsError(
                f"{MOST_RUNNING} operations of all users run: try again later"
            )
        operation = Operation(
            secrets.token_urlsafe(12),
            kind,
            cluster,
            path,
            title,
            visitor,
            self._time_s(),
            total=total,
            url=url,
            end_url=end_url,
            facts=facts or {},
        )
        self._operations[operation.id] = operation
        task = asyncio.create_task(self._run(operation, work))
        self._tasks[operation.id] = task
        task.add_done_callback(lambda _: self._end_of(operation))
        return operation

    def find(self, visitor: Visitor, cluster: str, key: str) -> Operation | None:
        """Return an operation of this visitor at a cluster; None if there is none."""
        found = self._operations.get(key)
        is_own = found is not None and found.visitor.owner == visitor.owner
        return found if found is not None and is_own and found.cluster == cluster else None

    def list(self, visitor: Visitor, cluster: str) -> list[Operation]:
        """Return the operations of this visitor at a cluster, the newest first."""
        return [
            found
            for found in reversed(self._operations.values())
            if found.visitor.owner == visitor.owner and found.cluster == cluster
        ]

    def cancel(self, operation: Operation, reason: str = "You have cancelled it.") -> None:
        """Cancel an operation; it ends soon. Nothing happens if it has ended or is cancelled."""
        task = self._tasks.get(operation.id)
        if task is not None and operation.id not in self._reasons:
            self._reasons[operation.id] = reason
            operation.is_cancelled = True
            task.cancel()

    async def ended(self, operation: Operation, timeout_s: float) -> bool:
        """Wait for the end of an operation; return whether it has ended in this time."""
        task = self._tasks.get(operation.id)
        if task is not None:
            await asyncio.wait([task], timeout=timeout_s)
        return not operation.is_running

    def end(self, login: str) -> None:
        """Cancel and forget the operations of a login that has ended."""
        for found in list(self._operations.values()):
            if found.visitor.owner[1] == login:
                self.cancel(found, "The login has ended.")
                if not found.is_running:
                    self._forget(found.id)

    def forget_old(self) -> None:
        """Forget the operations that ended long ago."""
        for key, ended_s in list(self._ended.items()):
            if self._now_s() - ended_s <= KEPT_S:
                break
            self._forget(key)

    async def close(self) -> None:
        """Cancel all operations; return when they have ended, or their time is over."""
        tasks = list(self._tasks.values())
        for key in list(self._tasks):
            self.cancel(self._operations[key], "The page has ended.")
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._close_s)
            for task in late:
                task.cancel()  # a second cancellation ends also what waits for replies
            if late:
                await asyncio.wait(late, timeout=self._close_s)

    async def _run(self, operation: Operation, work: Work) -> None:
        try:
            shown: Mapping[str, Any] = await work(Handle(operation, self._now_s))
        except asyncio.CancelledError:
            operation.state = State.CANCELLED
            operation.error = self._reasons.get(operation.id, "It was cancelled.")
        except _EXPECTED as error:
            operation.state, operation.error = State.FAILED, str(error)
        except Exception:
            user = operation.visitor.user
            log.exception("the operation %s of user %r failed", operation.kind.name, user)
            operation.state = State.FAILED
            operation.error = "An unexpected error: the log of the page has a traceback."
        else:
            operation.state = State.DONE
            operation.shown.update(shown)
        self._end_of(operation)

    def _end_of(self, operation: Operation) -> None:
        """Note the end of a task, also of one that was cancelled before its first step."""
        if self._tasks.pop(operation.id, None) is None:
            return
        if operation.is_running:
            operation.state = State.CANCELLED
            operation.error = self._reasons.get(operation.id, "It was cancelled.")
        self._reasons.pop(operation.id, None)
        operation.ended_s = self._time_s()
        self._ended[operation.id] = self._now_s()
        user = _user_of(operation.visitor)
        own = [key for key in self._ended if _user_of(self._operations[key].visitor) == user]
        for key in own[:-MOST_KEPT_OF_USER]:
            self._forget(key)
        while len(self._ended) > MOST_KEPT:
            self._forget(next(iter(self._ended)))

    def _forget(self, key: str) -> None:
        self._operations.pop(key, None)
        self._ended.pop(key, None)


def _user_of(visitor: Visitor) -> str | tuple[str, str]:
    """Return whose operations are counted: all logins of a user, or one browser without a user."""
    return visitor.user or visitor.owner
