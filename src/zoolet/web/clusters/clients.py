"""The clients of ZooKeeper: one for each cluster, and one for each login with credentials.

Users without credentials of their own share a client, because the server gives all of them the same
rights. Invariants: a client with credentials serves only the login that has entered them, and only
requests with these credentials; a client in use is not closed before the end of the login or of
these credentials; the number of clients is bounded.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from zoolet.client import (
    AsyncClient,
    AuthFailedError,
    ClientOptions,
    Credential,
    NoServerError,
    SessionState,
    ZooKeeperError,
)
from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.web.settings import Cluster

log = logging.getLogger(__name__)

IDLE_S: Final = 600.0
"""A client that nobody has used for this time is closed."""

MOST_CLIENTS: Final = 200
"""Most clients at a time."""

CALL_TIMEOUT_S: Final = 20.0
"""The time limit of one request to ZooKeeper."""

_CLOSE_S: Final = 2.0
_AGAIN_S: Final = 0.5  # the wait for a server that has not answered the last time
_SERVED: Final = frozenset({SessionState.CONNECTED, SessionState.READ_ONLY})
_ENDED: Final = frozenset({SessionState.CLOSED, SessionState.AUTH_FAILED})

_Place = tuple[str, str, Credential | None]
"""The cluster, the login, and what its user has entered."""


class TooManyClientsError(Exception):
    """All clients are in use; the message says what to do."""


class Connection:
    """A client, and who uses it.

    Attributes:
        number: identifies the connection; a later one never has the same number.
        client: the client of ZooKeeper.
    """

    def __init__(self, number: int, client: AsyncClient, now_s: Callable[[], float]) -> None:
        """Start the client, in the running event loop."""
        self.number = number
        self.client = client
        self.used_s = self._lost_s = now_s()
        self.num_users = 0
        self._now_s = now_s
        self._is_served = asyncio.Event()
        client.add_listener(self._note)
        self.started = asyncio.create_task(client.start())

    async def wait_for_server(self, limit_s: float, hosts: str) -> None:
        """Wait until a server serves the session, up to ``limit_s`` after the connection was lost.

        So a request in a long outage is told at once what is wrong.

        Raises:
            NoServerError: no server serves it.
        """
        if self._is_served.is_set():
            return
        left_s = self._lost_s + limit_s - self._now_s()
        try:
            await asyncio.wait_for(self._is_served.wait(), max(left_s, 0.0))
        except TimeoutError:
            lost_s = self._now_s() - self._lost_s
            raise NoServerError(
                detail=f"no session: no server of {hosts} answers since {lost_s:.0f} s. The page"
                " tries to connect again by itself. Check the servers and the network"
            ) from None

    def _note(self, state: SessionState) -> None:
        if state in _SERVED:
            self._is_served.set()
        elif self._is_served.is_set():
            self._is_served.clear()
            self._lost_s = self._now_s()


class Clients:
    """The clients of all users.

    Args:
        tls: the files for TLS; None for no encryption.
        connect_timeout_s: the longest wait for a session.
        on_closed: is called with the number of a connection that is closed.
        now_s: the monotonic clock.
    """

    def __init__(
        self,
        tls: TlsFiles | None,
        connect_timeout_s: float,
        on_closed: Callable[[int], None],
        now_s: Callable[[], float],
    ) -> None:
        self._tls = tls
        self._connect_timeout_s = connect_timeout_s
        self._on_closed = on_closed
        self._now_s = now_s
        self._numbers = itertools.count(1)
        self._connections: dict[_Place, Connection] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._down: dict[_Place, str] = {}  # why there was no session, without credentials

    @asynccontextmanager
    async def use(
        self, cluster: Cluster, key: str, credential: Credential | None
    ) -> AsyncIterator[Connection]:
        """Give the block a started client of this login.

        Raises:
            NoServerError: no server of the cluster answers.
            AuthFailedError: the server refuses the credential.
            TooManyClientsError: all clients are in use.
        """
        place = (cluster.name, key if credential is not None else "", credential)
        connection = self._connections.get(place)
        if connection is not None and connection.client.state in _ENDED:
            self._close(place)
            connection = None
        if connection is None:
            connection = self._new(place, cluster, credential)
        connection.num_users += 1
        try:
            await self._wait(place, connection)
            await connection.wait_for_server(self._connect_timeout_s, cluster.hosts)
            yield connection
        finally:
            connection.num_users -= 1
            connection.used_s = self._now_s()

    def end(self, key: str) -> None:
        """Close the clients of a login."""
        for place in [place for place in self._connections if key and place[1] == key]:
            self._close(place)

    def end_one(self, cluster: str, key: str, but: Credential | None = None) -> None:
        """Close the clients of a login at one cluster, except that with a credential."""
        for place in list(self._connections):
            if place[:2] == (cluster, key) and place[2] != but:
                self._close(place)

    def close_idle(self) -> None:
        """Close the clients that nobody has used for a long time."""
        now_s = self._now_s()
        for place, connection in list(self._connections.items()):
            if not connection.num_users and now_s - connection.used_s > IDLE_S:
                self._close(place)

    async def close(self) -> None:
        """Close all clients; return when their sessions have ended, or their time is over."""
        for place in list(self._connections):
            self._close(place)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _new(self, place: _Place, cluster: Cluster, login: Credential | None) -> Connection:
        if len(self._connections) >= MOST_CLIENTS:
            self._make_room()
        options = ClientOptions(
            connect_timeout_s=self._connect_timeout_s,
            call_timeout_s=CALL_TIMEOUT_S,
            auth=() if login is None else (login,),
            tls=self._tls,
            takes_read_only_server=True,
        )
        client = AsyncClient(cluster.hosts, options)
        connection = Connection(next(self._numbers), client, self._now_s)
        self._connections[place] = connection
        return connection

    async def _wait(self, place: _Place, connection: Connection) -> None:
        """Wait for the start, which all users of the client share.

        After a start that has failed, the wait for the next one is short.
        """
        if place in self._down:
            await asyncio.wait({connection.started}, timeout=_AGAIN_S)
            if not connection.started.done():
                raise NoServerError(
                    detail=f"{self._down[place]}. The page tries to connect again by itself"
                )
        try:
            await asyncio.shield(connection.started)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not connection.started.cancelled() or (task is not None and task.cancelling()):
                raise
            raise NoServerError(
                detail="the login at ZooKeeper has ended, or another one has replaced it. Load the"
                " page again"
            ) from None
        except (AuthFailedError, NoServerError, ZooKeeperError, OSError, ValueError) as error:
            if self._connections.get(place) is connection:
                self._close(place)
            if isinstance(error, NoServerError) and place[2] is None:
                self._down[place] = str(error)
            raise
        self._down.pop(place, None)

    def _make_room(self) -> None:
        idle = [
            (connection.used_s, place)
            for place, connection in self._connections.items()
            if not connection.num_users
        ]
        if not idle:
            raise TooManyClientsError(
                f"the page has {MOST_CLIENTS} connections to ZooKeeper, and all are in use. Try"
                " again later"
            )
        self._close(min(idle)[1])

    def _close(self, place: _Place) -> None:
        connection = self._connections.pop(place)
        self._on_closed(connection.number)
        task = asyncio.create_task(_end(connection))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _end(connection: Connection) -> None:
    connection.started.cancel()
    await asyncio.wait([connection.started])
    if not connection.started.cancelled():
        connection.started.exception()
    try:
        await connection.client.close(_CLOSE_S)
    except (ZooKeeperError, OSError) as error:
        log.info("a client of ZooKeeper ended with: %s", error)
