"""`Client`: a ZooKeeper client for threads. `engine.py` does the work.

This module imports the client's protocol and ``model``; it does not import asyncio.
"""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

from zoolet.client.connecting.options import (
    DEFAULT_HOSTS,
    NO_CHROOT,
    SASL_SCHEMES,
    ClientOptions,
    check_scheme,
    kerberos_of,
    new_session,
)
from zoolet.client.connecting.server_order import ServerOrder
from zoolet.client.connecting.servers import parse_servers
from zoolet.client.errors import (
    AuthFailedError,
    ClientClosedError,
    ConnectionLossError,
    DeadlineError,
    ForkedClientError,
    NoNodeError,
    NoServerError,
    SessionExpiredError,
)
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.requests import RequestMaker
from zoolet.client.protocol.states import SERVED, SessionState
from zoolet.client.thread_client.engine import Engine
from zoolet.client.thread_client.future_methods import FutureRequests
from zoolet.client.thread_client.futures import CallFuture
from zoolet.client.thread_client.recipes.methods import Recipes

if TYPE_CHECKING:
    from zoolet.client.retries import Retry
    from zoolet.client.thread_client.retrying import RetryingRequests

T = TypeVar("T")

CLOSE_S: Final = 5.0
"""The default time limit of `Client.close`, in seconds."""

_STARTED: Final = SERVED | {SessionState.AUTH_FAILED, SessionState.CLOSED}


class _Futures(FutureRequests):
    """The methods of a client that return a future."""

    def __init__(self, engine: Engine, make: RequestMaker) -> None:
        super().__init__(make)
        self._engine = engine

    def _run(self, call: Call[T], timeout_s: float | None) -> CallFuture[T]:
        self._engine.submit(call, timeout_s)
        return CallFuture(self._engine, call)


class Client(Recipes):
    """A client of ZooKeeper for threads.

    Use it as ``with Client("127.0.0.1:2181") as client``, or call `start` and `close`. Each request
    is a method that waits for the result. ``client.futures`` has the same methods, which return a
    future at once, so that many calls can be outstanding. All threads may use one client. A child
    of a fork must make a client of its own. gevent and eventlet are not supported.

    Functions of the program for watches and states are called in a thread of their own, before the
    replies that show the change. They must be short, because later events and replies wait for
    them, and must not wait for a call of the client.
    """

    def __init__(self, hosts: str = DEFAULT_HOSTS, options: ClientOptions | None = None) -> None:
        """Make a client of ``hosts``: ``HOST:PORT[,HOST:PORT...][/PATH]``; the path is the chroot.

        Raises:
            AddressError: ``hosts`` does not have this form.
        """
        self._options = options or ClientOptions()
        servers = parse_servers(hosts)
        kerberos = kerberos_of(self._options.auth)
        session = new_session(self._options, servers.chroot, kerberos)
        order = ServerOrder(servers)
        make = RequestMaker(servers.chroot)
        if self._options.metrics is None:
            engine = Engine(session, order, self._options)
        else:
            from zoolet.client.thread_client.measured import MeasuredEngine  # noqa: PLC0415 -- rare

            engine = MeasuredEngine(session, order, self._options, self._options.metrics)
        engine.kerberos = kerberos
        super().__init__(make, engine)
        self._futures = _Futures(engine, make)
        self._is_started = False

    @property
    def futures(self) -> FutureRequests:
        """The requests as methods that return a future at once."""
        return self._futures

    def start(self) -> None:
        """Connect, log in, and wait for the session.

        Raises:
            NoServerError: no server granted a session within the connect timeout.
            AuthFailedError: the server refused a login.
            NoNodeError: the chroot does not exist (`ClientOptions.checks_chroot`).
            SessionExpiredError: the session to continue has expired, and the client does not renew
                it.
            ClientClosedError: another thread closed the client meanwhile.
            RuntimeError: the client was started already.
        """
        limit_s = self._options.connect_timeout_s
        end_s = time.monotonic() + limit_s
        self._engine.start()
        self._is_started = True
        try:
            self._wait_for_session(limit_s)
            for scheme, secret in self._options.auth:
                if scheme in SASL_SCHEMES:
                    continue  # the session itself logs in
                self._engine.log_in(
                    self._make.login(), scheme, secret.encode(), end_s - time.monotonic()
                )
            self._check_chroot(end_s)
        except BaseException:
            self.close(0.0)
            raise

    def close(self, timeout_s: float = CLOSE_S, *, keeps_session: bool = False) -> None:
        """End the session and the connection; all calls that are outstanding fail.

        If the server does not reply within ``timeout_s``, the session ends after its timeout. With
        ``keeps_session``, only the connection ends. The session and its ephemerals stay until the
        session timeout, and another client can continue the session (`ClientOptions.session`).
        """
        if not self._is_started:
            return
        try:
            self._engine.check_process()
            if not keeps_session:
                self._engine.close_session(self._make.close(), timeout_s)
        except ForkedClientError:
            return  # the session belongs to the parent
        self._engine.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def add_auth(
        self, scheme: str, credential: str | bytes, *, timeout_s: float | None = None
    ) -> None:
        """Log in, now and on each later connection.

        Raises:
            AuthFailedError: the server refused the login; then the session has ended.
            ValueError: the scheme is sasl: pass such a login in `ClientOptions.auth`.
        """
        check_scheme(scheme)
        data = credential.encode() if isinstance(credential, str) else credential
        self._engine.log_in(self._make.login(), scheme, data, timeout_s)

    def retrying(self, retry: "Retry") -> "RetryingRequests":
        """Return an object with the methods for requests, whose calls are repeated after errors."""
        from zoolet.client.thread_client.retrying import RetryingRequests  # noqa: PLC0415 -- rare

        limit_s = self._options.call_timeout_s
        return RetryingRequests(self._make, self._engine, retry, limit_s)

    def _run(self, call: Call[T], timeout_s: float | None) -> T:
        return self._engine.run(call, timeout_s)

    def _wait_for_session(self, limit_s: float) -> None:
        if not self._engine.wait_for_state(_STARTED, limit_s):
            raise NoServerError("", "", self._why_no_session())
        state = self.state
        if state is SessionState.AUTH_FAILED:
            raise AuthFailedError("", "", self._engine.session.refusal)
        if state is SessionState.EXPIRED:
            raise SessionExpiredError
        if state is SessionState.CLOSED:
            raise ClientClosedError

    def _check_chroot(self, end_s: float) -> None:
        chroot = self._engine.order.servers.chroot
        if not chroot or not self._options.checks_chroot:
            return
        while (left_s := end_s - time.monotonic()) > 0:
            try:
                found = self.exists("/", timeout_s=left_s)
            except (ConnectionLossError, DeadlineError):
                continue  # the next call waits for a connection
            except SessionExpiredError:
                self._wait_for_session(left_s)  # another one, if the client asks for it
                continue
            if found is None:
                raise NoNodeError("start", chroot, NO_CHROOT)
            return
        raise NoServerError("", "", self._why_no_session())

    def _why_no_session(self) -> str:
        failures = self._engine.failures
        reasons = [
            f"{address}: {failures.get(address, 'no reply yet')}"
            for address in self._engine.order.servers.addresses
        ]
        limit_s = self._options.connect_timeout_s
        return f"no session within {limit_s:g} s ({'; '.join(reasons)})"
