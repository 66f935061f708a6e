"""The guard before the operators' pages: it lets a request pass if its sender has the role for it.

A sender proves who it is with a certificate, or with a name and a password (HTTP's scheme Basic,
RFC 7617). Invariants:

- the event loop computes no slow hash: a thread does, one at a time;
- a failed login is answered after a delay, and nothing more is read from the client until then;
- the time of a login does not tell whether the user exists;
- no hash is computed for a client that has disconnected, nor while the server stops.
"""

import asyncio
import base64
import binascii
import hmac
import logging
import secrets
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

from zoolet.passwords.hashes import NOBODYS_HASH
from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.common.reloaded import Reloaded
from zoolet.server.logs.log_limiter import LogLimiter
from zoolet.server.operator.http import Exchange, Page, Request, Response, Upload, text
from zoolet.server.operator.roles import Role
from zoolet.server.operator.users import Users, read_users

if TYPE_CHECKING:
    from zoolet.server.common.stats import ServerStats

log = logging.getLogger(__name__)

_CHALLENGE: Final = (("WWW-Authenticate", 'Basic realm="zoolet", charset="UTF-8"'),)


class Guard:
    """Checks the roles of operators.

    Args:
        users: the users, which may change.
        failure_delay_ms: the time until a client is told that its login has failed.
        stats: counts the failed logins.
        monotonic_ms: the clock.
    """

    def __init__(
        self,
        users: "Reloaded[Users]",
        failure_delay_ms: int,
        stats: "ServerStats",
        monotonic_ms: Callable[[], int],
    ) -> None:
        self._users = users
        self._failure_delay_s = failure_delay_ms / 1000
        self._stats = stats
        self._limited = LogLimiter(log, monotonic_ms)
        self._thread: DiskThread | None = None
        self._is_closed = False
        self._key = secrets.token_bytes(32)
        self._proven: dict[str, bytes] = {}
        self._proven_of: Users | None = None

    def close(self) -> None:
        """Stop the thread that checks passwords; passwords that wait are not checked."""
        self._is_closed = True
        if self._thread is not None:
            self._thread.stop()

    def guarded(self, page: Page, needed: Callable[[Request], Role]) -> Page:
        """Return a page that passes requests on to ``page`` if their sender has the role.

        ``needed`` returns the role that a request needs.
        """

        def check(request: Request, exchange: Exchange) -> Upload | None:
            role = self._users.value.certificates.get(request.subject)
            credentials = _credentials(request)
            if role is not None and (credentials is None or role is Role.FULL):
                return _pass(page, needed, request._replace(role=role), exchange)
            if credentials is None:
                if request.subject:
                    self._limited.warning(
                        "%s: the certificate %r has no role in zoolet.admin.usersFile",
                        request.address,
                        request.subject,
                    )
                exchange.respond(_unauthorized("log in with a name and a password"))
                return None
            name, password = credentials
            if (role := self._remembered(name, password)) is not None:
                return _pass(page, needed, request._replace(role=role), exchange)
            waiting = _Waiting()

            def checked(found: Role | None) -> None:
                if waiting.is_cancelled:
                    return
                if found is None:
                    self._refuse(request, exchange, name)
                    return
                allowed = request._replace(role=found)
                waiting.begin(_pass(page, needed, allowed, exchange), exchange)

            self._check(name, password, waiting, checked)
            return waiting

        return check

    def _remembered(self, name: str, password: str) -> Role | None:
        """Return the role of a user who has given the same password before."""
        users = self._users.value
        if users is not self._proven_of:
            self._proven.clear()
            self._proven_of = users
        proven = self._proven.get(name)
        if proven is None or not hmac.compare_digest(proven, self._mark(password)):
            return None
        return users.passwords[name][1]

    def _mark(self, password: str) -> bytes:
        return hmac.digest(self._key, password.encode("utf-8", "surrogatepass"), "sha256")

    def _check(
        self,
        name: str,
        password: str,
        waiting: "_Waiting",
        done: Callable[[Role | None], None],
    ) -> None:
        """Check a password on the thread, then call ``done`` with the role."""
        users = self._users.value
        hashed, role = users.passwords.get(name, (NOBODYS_HASH, None))
        if self._thread is None:
            self._thread = DiskThread(asyncio.get_running_loop(), "zoolet-passwords")
        is_right = False

        def check() -> None:
            nonlocal is_right
            if not (self._is_closed or waiting.is_cancelled):
                is_right = hashed.matches(password)

        def checked(failure: Exception | None) -> None:
            if self._is_closed:
                return
            if failure is not None or not is_right or role is None:
                done(None)
                return
            if users is self._users.value is self._proven_of:
                self._proven[name] = self._mark(password)
            done(role)

        self._thread.submit(check, checked)

    def _refuse(self, request: Request, exchange: Exchange, name: str) -> None:
        self._stats.auth_failures += 1
        self._limited.warning(
            "%s failed to log in as %r for %s", request.address, name, request.path
        )
        response = _unauthorized("the name or the password is wrong")
        asyncio.get_running_loop().call_later(self._failure_delay_s, exchange.respond, response)


def guard_of(
    users_file: Path,
    failure_delay_ms: int,
    stats: "ServerStats",
    monotonic_ms: Callable[[], int],
) -> "tuple[Reloaded[Users], Guard]":
    """Return the users of a file and a guard for them; raises ServerError."""
    users = Reloaded("the operators", (users_file,), lambda: read_users(users_file))
    return users, Guard(users, failure_delay_ms, stats, monotonic_ms)


class _Waiting(Upload):
    """Takes nothing of a request's body until the password is checked.

    Attributes:
        is_cancelled: whether the client has disconnected.
    """

    def __init__(self) -> None:
        self.is_cancelled = False
        self._is_complete = False
        self._upload: Upload | None = None

    def begin(self, upload: Upload | None, exchange: Exchange) -> None:
        """Give the body to ``upload`` from now on; None if the page does not read it."""
        self._upload = upload
        if upload is not None and self._is_complete:
            upload.finish()
        elif upload is not None:
            exchange.go_on()

    @property
    def has_room(self) -> bool:
        return self._upload is not None and self._upload.has_room

    def take(self, data: bytes) -> None:
        if self._upload is not None:
            self._upload.take(data)

    def finish(self) -> None:
        self._is_complete = True
        if self._upload is not None:
            self._upload.finish()

    def cancel(self) -> None:
        self.is_cancelled = True
        if self._upload is not None:
            self._upload.cancel()


def _pass(
    page: Page, needed: Callable[[Request], Role], request: Request, exchange: Exchange
) -> Upload | None:
    """Pass a request on, or refuse it because its sender's role is too small."""
    if request.role is not None and request.role >= needed(request):
        return page(request, exchange)
    exchange.respond(text(HTTPStatus.FORBIDDEN, "this needs the role full"))
    return None


def _credentials(request: Request) -> tuple[str, str] | None:
    """Return the name and the password of a request; None if it has none."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):  # ValueError: a character beyond ASCII, or no UTF-8
        return None
    name, _, password = decoded.partition(":")
    return name, password


def _unauthorized(message: str) -> Response:
    return text(HTTPStatus.UNAUTHORIZED, message)._replace(headers=_CHALLENGE)
