"""Sends requests until the server replies: handles lost connections, deadlines, forks and errors.

Invariants:

- If the connection is lost, the module waits for a new connection and sends the request again,
  until the deadline of the call (`Requests.within`). It sends requests only while the client is
  connected. So if a call reaches its deadline while it waits for a connection, no request is left
  that a server could execute later.
- In a forked child of the process that created a `Requests`, each call immediately raises an error.
- Of kazoo's errors, only those about the state of a znode (`OWN`) and about a lost reply
  (`REPLY_LOST`) leave this module.
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
"""After one of these errors, it is unknown whether the server executed the request."""

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
"""The first and the longest pause before a request is sent again; the pause doubles each time."""
_SLICE_S: Final = 0.5
"""The time between two checks whether the client was closed: kazoo may drop a request then."""

_CHANCE = random.Random()  # noqa: S311 -- not the global generator: the program may seed that
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

        A block inside another block has the deadline of the outer block. Requests raise
        JobTimeoutError after the deadline, and ForkedError in a forked child.
        """
        self.home.check()
        deadline = Deadline(timeout_s, action, unknown=unknown, each_request=each_request)
        with self._deadlines.within(deadline):
            yield deadline

    def pause(self, tries: int, first_s: float = _FIRST_PAUSE_S) -> None:
        """Wait before an operation is tried again; ``tries`` is the number of earlier repetitions.

        ``first_s`` is the first pause in seconds, which doubles with each try, up to 1 s.

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
        """Call ``attempt``, which sends requests, again and again until no reply is lost."""
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
            if client._stopped.is_set() or client.client_state in _ENDED:  # noqa: SLF001
                raise DisconnectedError(_why_disconnected(client))
            left_s = deadline.left_s()
            # Without a deadline, the loop ends when the client connects or is closed.
            client._live.wait(_SLICE_S if left_s is None else min(_SLICE_S, left_s))  # noqa: SLF001
            if not client.connected and deadline.has_passed():
                raise deadline.error()

    def answer(self, result: Any, path: str = "", permission: str = "READ") -> Any:
        """Wait for the reply to a request, which needs ``permission`` on the znode ``path``.

        The wait ends at the deadline of the call. If the deadline has no limit, the wait ends when
        kazoo's pings detect a server that does not reply: kazoo then ends all requests.
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
        return (
            "the server refused the login of this client: check --auth scheme:credential and"
            " ZOOLET_AUTH"
        )
    return (
        "the connection to ZooKeeper is closed: this program closed it or never started it, or the"
        " client gave up connecting. Create a new connection"
    )


def refused(error: Exception, path: str, permission: str) -> Exception:
    """Return the job system's error for a failed request that needs a permission on a path."""
    if isinstance(error, NoAuthError):
        return AccessDeniedError(
            f"the permission {permission} on the znode {path} is missing: log in with --auth"
            " scheme:credential (or ZOOLET_AUTH) as a user that the znode's ACL names"
        )
    if isinstance(error, AuthFailedError):
        return AccessDeniedError("the server refused the login: check --auth and ZOOLET_AUTH")
    if isinstance(error, InvalidACLError):
        return RequestRefusedError(
            "the server does not accept the ACL: the scheme auth needs a login (--auth), and an"
            " entry has the form digest:user:hash:cdrwa, x509:name:cdrwa, ip:address:cdrwa or"
            " world:anyone:cdrwa"
        )
    return RequestRefusedError(f"the server refused a request about {path}: {error!r}")
