"""How a request is sent until the server has answered it: connection, deadline, fork, errors.

What holds:

- A lost connection is waited for, and a request without an answer is sent again, until the deadline
  of the call (`Requests.within`). A request is only sent while there is a connection, so a call
  that ends at its deadline without one has sent nothing that a server could do later.
- A child process that was forked from the one that made this object gets an error at once.
- Of kazoo's errors only those about the state of a znode leave this module; see `OWN`.

Imports kazoo, zoolet.model and the job system's deadlines.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from kazoo.client import KazooClient
from kazoo.exceptions import (
    AuthFailedError,
    ConnectionClosedError,
    ConnectionLoss,
    InvalidACLError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    OperationTimeoutError,
    SessionExpiredError,
    ZookeeperError,
)
from kazoo.protocol.states import KeeperState

from zoolet.jobs.errors import AccessDeniedError, DisconnectedError, RequestRefusedError
from zoolet.jobs.znodes.deadlines import TIMEOUT_S, Deadline, Deadlines
from zoolet.jobs.znodes.forks import HomeProcess

T = TypeVar("T")

REPLY_LOST = (ConnectionLoss, OperationTimeoutError, SessionExpiredError)
"""After these, a request may have been done or not."""

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
"""How long a request without an answer is not sent again; the pause doubles each time."""
_SLICE_S: Final = 0.5
"""A wait looks this often whether the client was closed: kazoo may end a request without a word."""

_CHANCE = random.Random()  # noqa: S311 -- not the program's own: that may have been given a seed
_ENDED = frozenset({KeeperState.CLOSED, KeeperState.AUTH_FAILED})
OWN = (NoNodeError, NodeExistsError, NotEmptyError)
"""Errors about the state of a znode, which the caller of `Requests.answer` handles."""


class Requests:
    """Sends requests with ``client``."""

    def __init__(self, client: KazooClient) -> None:
        self.client = client
        self.home = HomeProcess()
        self._deadlines = Deadlines()

    @contextmanager
    def within(
        self,
        timeout_s: float | None,
        action: str,
        *,
        unknown: str = "",
        each_request: bool = False,
    ) -> Iterator[Deadline]:
        """Give all requests of the block one deadline; see `Deadline`.

        A block inside a block has the deadline of the outer one. The requests raise
        JobTimeoutError after the deadline, and ForkedError in a forked child.
        """
        self.home.check()
        deadline = Deadline(timeout_s, action, unknown=unknown, each_request=each_request)
        with self._deadlines.within(deadline):
            yield deadline

    def pause(self, tries: int, first_s: float = _FIRST_PAUSE_S) -> None:
        """Wait a moment before what was tried ``tries`` times before is tried again.

        Raises:
            JobTimeoutError: the deadline of the call has passed.
        """
        # The jitter keeps many clients from trying again at the same moment.
        pause_s = min(_LONGEST_PAUSE_S, first_s * 2 ** min(tries, 10)) * _CHANCE.uniform(0.6, 1.4)
        deadline = self._deadlines.current
        left_s = None if deadline is None else deadline.left_s()
        time.sleep(pause_s if left_s is None else min(pause_s, left_s))
        if deadline is not None and deadline.has_passed():
            raise deadline.error()

    def until_answered(self, attempt: Callable[[], T], *, writes: bool = False) -> T:
        """Run ``attempt``, which sends requests, until the server has answered them."""
        deadline = self._deadlines.current
        if deadline is None:
            with self.within(TIMEOUT_S, "a request") as deadline:
                return self.until_answered(attempt, writes=writes)
        tries = 0
        while True:
            self.home.check()
            if deadline.has_passed():
                raise deadline.error()
            self._wait_for_connection(deadline)
            if writes:
                deadline.writes()
            try:
                return attempt()
            except REPLY_LOST:
                self.pause(tries)
                tries += 1

    def _wait_for_connection(self, deadline: Deadline) -> None:
        client = self.client
        while not client.connected:
            if client._stopped.is_set() or client.client_state in _ENDED:  # noqa: SLF001 -- the edge
                raise DisconnectedError(_why_disconnected(client))
            left_s = deadline.left_s()
            # Ends at the deadline. Without one it ends when the client connects or is closed.
            client._live.wait(_SLICE_S if left_s is None else min(_SLICE_S, left_s))  # noqa: SLF001
            if not client.connected and deadline.has_passed():
                raise deadline.error()

    def answer(self, result: Any, path: str = "", permission: str = "READ") -> Any:
        """Wait for the answer to a request; ``permission`` on ``path`` is what it needs.

        Ends at the deadline of the call. Without one it ends because kazoo ends each request when
        its connection is lost, and finds a server that does not answer by its pings.
        """
        deadline = self._deadlines.current or Deadline(TIMEOUT_S, "a request")
        while True:
            left_s = deadline.left_s()
            try:
                found = result.get(timeout=_SLICE_S if left_s is None else min(_SLICE_S, left_s))
            except self.client.handler.timeout_exception:
                if deadline.has_passed():
                    raise deadline.error() from None
                if self.client.client_state in _ENDED and not result.ready():
                    raise DisconnectedError(_why_disconnected(self.client)) from None
            except REPLY_LOST:
                raise
            except OWN:
                deadline.answered()
                raise
            except ZookeeperError as error:
                raise refused(error, path, permission) from None
            except ConnectionClosedError:
                raise DisconnectedError(_why_disconnected(self.client)) from None
            else:
                deadline.answered()
                return found


def _why_disconnected(client: KazooClient) -> str:
    if client.client_state == KeeperState.AUTH_FAILED:
        return "the server refused the login (scheme:credential) of this client"
    return (
        "the connection to ZooKeeper is closed: it was closed by this program, was never started,"
        " or gave up. Create a new one"
    )


def refused(error: Exception, path: str, permission: str) -> Exception:
    """Return the error of a request that needs a permission on a path."""
    if isinstance(error, NoAuthError):
        return AccessDeniedError(
            f"the permission {permission} on the znode {path} is missing: log in with --auth"
            " scheme:credential (or ZOOLET_AUTH) as one that its ACL names"
        )
    if isinstance(error, AuthFailedError):
        return AccessDeniedError("the server refused the login: look at --auth and ZOOLET_AUTH")
    if isinstance(error, InvalidACLError):
        return RequestRefusedError(
            "the server does not take the ACL: the scheme auth needs a login (--auth), and an entry"
            " is written digest:user:hash:cdrwa, x509:name:cdrwa, ip:address:cdrwa or"
            " world:anyone:cdrwa"
        )
    return RequestRefusedError(f"the server refused a request about {path}: {error!r}")
