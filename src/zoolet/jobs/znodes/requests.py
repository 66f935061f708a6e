"""Sends requests until the server replies: handles lost connections, deadlines, forks and errors.

Invariants:

- If the connection is lost, the module waits for a new connection and sends the request again,
  until the deadline of the call (`Requests.within`). It sends requests only while the client is
  connected. So if a call reaches its deadline while it waits for a connection, no request is left
  that a server could execute later.
- In a forked child of the process that created a `Requests`, each call immediately raises an error.
- Of the errors of a link, only those about the state of a znode (`OWN`), those about a lost reply
  (`REPLY_LOST`), and those of a refused multi leave this module.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from zoolet.client.errors import (
    AuthFailedError,
    ClientClosedError,
    ConnectionLossError,
    DeadlineError,
    InvalidAclError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    SessionExpiredError,
    ZooKeeperError,
)
from zoolet.jobs.errors import AccessDeniedError, DisconnectedError, RequestRefusedError
from zoolet.jobs.znodes.deadlines import TIMEOUT_S, Deadline, Deadlines
from zoolet.jobs.znodes.forks import HomeProcess
from zoolet.jobs.znodes.link import Link

T = TypeVar("T")

REPLY_LOST = (ConnectionLossError, SessionExpiredError)
"""After one of these errors, it is unknown whether the server executed the request."""

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
"""The first and the longest pause before a request is sent again; the pause doubles each time."""
_LONGEST_WAIT_S: Final = 3600.0
"""The longest wait for a connection before the state of the connection is checked again."""

_CHANCE = random.Random()  # noqa: S311 -- not the global generator: the program may seed that
OWN = (NoNodeError, NodeExistsError, NotEmptyError)
"""Errors about the state of a znode, which the caller of `Requests.send` handles."""


class Requests:
    """Sends requests with ``link``."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.home = HomeProcess()
        self._deadlines = Deadlines(link.call_local())

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
        self._link.sleep(pause_s if left_s is None else min(pause_s, left_s))
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
        link = self._link
        while not link.is_connected:
            if link.is_over:
                raise DisconnectedError(_why_over(link))
            left_s = deadline.left_s()
            # Without a deadline, the loop ends when the client connects or is closed.
            link.wait_for_change(_LONGEST_WAIT_S if left_s is None else left_s)
            if not link.is_connected and deadline.has_passed():
                raise deadline.error()

    def ask(
        self,
        request: Callable[[float | None], T],
        path: str = "",
        permission: str = "READ",
        *,
        writes: bool = False,
    ) -> T:
        """Send a request until it is answered; see `until_answered` and `send`."""
        return self.until_answered(lambda: self.send(request, path, permission), writes=writes)

    def send(
        self, request: Callable[[float | None], T], path: str = "", permission: str = "READ"
    ) -> T:
        """Send a request of the link, which needs ``permission`` on the znode ``path``.

        ``request`` gets the time limit in seconds: the request ends at the deadline of the call. If
        the deadline has no limit, the request ends when the client detects that the server does not
        reply.
        """
        deadline = self._deadlines.current or Deadline(TIMEOUT_S, "a request")
        try:
            found = request(deadline.left_s())
        except REPLY_LOST:
            raise
        except DeadlineError:
            raise deadline.error() from None
        except ClientClosedError:
            raise DisconnectedError(_why_over(self._link)) from None
        except ZooKeeperError as error:
            deadline.answered()
            if isinstance(error, OWN) or error.results:
                raise
            raise refused(error, path, permission) from None
        deadline.answered()
        return found


def _why_over(link: Link) -> str:
    if link.is_login_refused:
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
    if isinstance(error, InvalidAclError):
        return RequestRefusedError(
            "the server does not accept the ACL: the scheme auth needs a login (--auth), and an"
            " entry has the form digest:user:hash:cdrwa, x509:name:cdrwa, ip:address:cdrwa or"
            " world:anyone:cdrwa"
        )
    return RequestRefusedError(f"the server refused a request about {path}: {error}")
