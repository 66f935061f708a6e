"""`AsyncClient`: a ZooKeeper client on asyncio. `engine.py` does the work.

This module imports the client's protocol, ``model`` and asyncio.
"""

import asyncio
from types import TracebackType
from typing import Final, Self, TypeVar

from zoolet.client.asyncio_client.engine import Engine
from zoolet.client.asyncio_client.recipes.methods import AsyncRecipes
from zoolet.client.asyncio_client.retrying import AsyncRetryingRequests
from zoolet.client.asyncio_client.waiting import FutureRequests
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
    ConnectionLossError,
    NoNodeError,
    NoServerError,
    SessionExpiredError,
)
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.requests import RequestMaker
from zoolet.client.protocol.states import SessionState
from zoolet.client.retries import Retry

T = TypeVar("T")

CLOSE_S: Final = 5.0
"""The default time limit of `AsyncClient.close`, in seconds."""


class AsyncClient(AsyncRecipes):
    """A client of ZooKeeper for asyncio.

    Use it as ``async with AsyncClient("127.0.0.1:2181") as client``, or call `start` and `close`.
    Each request is a method that returns a future: ``await client.get("/a")`` waits for the result,
    and many futures can be outstanding. A call that is made while no server is connected waits for
    the next connection, up to its time limit. The client belongs to one event loop.

    Functions of the program for watches and states are called in the event loop, before the replies
    that show the change. They must be short.
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
        if self._options.metrics is None:
            engine = Engine(session, order, self._options)
        else:
            from zoolet.client.asyncio_client.measured import MeasuredEngine  # noqa: PLC0415 -- rare

            engine = MeasuredEngine(session, order, self._options, self._options.metrics)
        engine.kerberos = kerberos
        super().__init__(RequestMaker(servers.chroot), engine)

    @property
    def futures(self) -> FutureRequests:
        """The requests as methods that return a future, which is this client itself."""
        return self

    async def start(self) -> None:
        """Connect, log in, and wait for the session.

        Raises:
            NoServerError: no server granted a session within the connect timeout.
            AuthFailedError: the server refused a login.
            NoNodeError: the chroot does not exist (`ClientOptions.checks_chroot`).
            SessionExpiredError: the session to continue has expired, and is not to be renewed.
        """
        if self._engine.is_started or self.state is SessionState.CLOSED:
            what = (
                "was started already" if self._engine.is_started else "is closed: make another one"
            )
            raise RuntimeError(f"the client {what}")
        self._engine.start()
        logins = [
            self._engine.log_in(self._make.login(), scheme, secret.encode(), 0.0)
            for scheme, secret in self._options.auth
            if scheme not in SASL_SCHEMES
        ]
        try:
            async with asyncio.timeout(self._options.connect_timeout_s):
                await self._engine.wait_for_session()
                await asyncio.gather(*logins)
                await self._check_chroot()
        except TimeoutError:
            reason = self._why_no_session()
            await self._give_up(logins)
            raise NoServerError("", "", reason) from None
        except BaseException:
            await self._give_up(logins)
            raise

    async def close(self, timeout_s: float = CLOSE_S, *, keeps_session: bool = False) -> None:
        """End the session and the connection; all calls that are outstanding fail.

        If the server does not reply within ``timeout_s``, the session ends after its timeout. With
        ``keeps_session``, only the connection ends. The session and its ephemerals stay until the
        session timeout, and another client can continue the session (`ClientOptions.session`).
        """
        if not self._engine.is_started:
            return
        try:
            if not keeps_session:
                await self._engine.close(self._make.close(), timeout_s)
        finally:
            await self._engine.end()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def add_auth(
        self, scheme: str, credential: str | bytes, *, timeout_s: float | None = None
    ) -> asyncio.Future[None]:
        """Log in, now and on each later connection.

        Raises:
            AuthFailedError: the server refused the login; then the session has ended.
            ValueError: the scheme is sasl: pass such a login in `ClientOptions.auth`.
        """
        check_scheme(scheme)
        data = credential.encode() if isinstance(credential, str) else credential
        return self._engine.log_in(self._make.login(), scheme, data, timeout_s)

    def retrying(self, retry: Retry) -> AsyncRetryingRequests:
        """Return an object with the methods for requests, whose calls are repeated after errors."""
        limit_s = self._options.call_timeout_s
        return AsyncRetryingRequests(self._make, self._engine, retry, limit_s)

    def _run(self, call: Call[T], timeout_s: float | None) -> asyncio.Future[T]:
        return self._engine.run(call, timeout_s)

    async def _check_chroot(self) -> None:
        chroot = self._engine.order.servers.chroot
        if not chroot or not self._options.checks_chroot:
            return
        while True:
            try:
                found = await self.exists("/", timeout_s=0)
            except ConnectionLossError:
                continue  # the next call waits for a connection
            except SessionExpiredError:
                await self._engine.wait_for_session()  # another one, if the client asks for it
                continue
            if found is None:
                raise NoNodeError("start", chroot, NO_CHROOT)
            return

    def _why_no_session(self) -> str:
        limit_s = self._options.connect_timeout_s
        return f"no session within {limit_s:g} s ({'; '.join(self._engine.reasons())})"

    async def _give_up(self, logins: list[asyncio.Future[None]]) -> None:
        for login in logins:
            if not login.cancel() and not login.cancelled():
                login.exception()  # noqa: LOG004 -- a future; asyncio reports an error that nobody reads
        await self.close(0.0)
