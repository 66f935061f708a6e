"""The connection to a server: a kazoo client, its watches, and the state of the connection.

Invariant: the client restores a lost connection and its watches within seconds after the server is
available again. Imports ``model`` and ``client``.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.protocol.states import KazooState, KeeperState

from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.client.kazoo import Watches
from zoolet.client.kazoo.sessions import NoSessionError, SessionOpener
from zoolet.model.addresses import AddressError
from zoolet.model.codes import OpCode
from zoolet.shell.errors import CommandError, describe

_RETRY = {"max_tries": -1, "delay": 0.1, "backoff": 2, "max_delay": 2.0}

SERVER_OPTION = "-server"

_STATE_NAMES = {
    KeeperState.CONNECTED: "CONNECTED",
    KeeperState.CONNECTED_RO: "CONNECTEDREADONLY",
}
"""Apache ZooKeeper's names of kazoo's states; any other state is CONNECTING or CLOSED."""

_CHANGES = frozenset(
    {
        OpCode.CREATE,
        OpCode.CREATE2,
        OpCode.CREATE_CONTAINER,
        OpCode.CREATE_TTL,
        OpCode.DELETE,
        OpCode.SET_DATA,
        OpCode.SET_ACL,
        OpCode.MULTI,
        OpCode.RECONFIG,
    }
)
"""The requests that change a server's data or configuration."""


class _Client(KazooClient):  # type: ignore[misc] # kazoo has no types
    """A kazoo client that calls ``on_change`` before it sends a request that changes something.

    kazoo and ``zoolet.client`` send every request through ``_call``.
    """

    def __init__(self, on_change: Callable[[], None], **settings: Any) -> None:
        self._on_change = on_change
        super().__init__(**settings)

    def _call(self, request: Any, async_object: Any) -> Any:
        if request.type in _CHANGES:
            self._on_change()
        return super()._call(request, async_object)


class Connection:
    """A connection to one ZooKeeper ensemble, with the session over it.

    Attributes:
        hosts: the addresses of the servers, with the chroot.
        client: the kazoo client.
        watches: the watches of this client.
        is_closed: whether ``close`` was called, or ``open`` failed.
    """

    def __init__(self, connection: ConnectionSettings, on_change: Callable[[], None]) -> None:
        """Create the client, unconnected; raises CommandError if the addresses are invalid.

        The client calls ``on_change`` before it sends a request that may change something.
        """
        try:
            self.hosts = str(connection.servers)
        except AddressError as error:
            raise CommandError(str(error)) from error
        self.is_closed = False
        self._settings = connection
        self._timeout_s = connection.connect_timeout_s
        self._connected = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        self.client: Any = _Client(
            on_change, connection_retry=dict(_RETRY), **connection.for_kazoo()
        )
        self.watches = Watches(self.client)
        self.client.add_listener(self._on_state)

    def open(self, credentials: Iterable[tuple[str, str]] = ()) -> None:
        """Connect and log in; raises CommandError if no server answers in time.

        The error names the cause. The wait ends early if the cause cannot disappear by waiting.
        """
        self.client.auth_data.update(credentials)
        try:
            SessionOpener(self.client, self._settings, SERVER_OPTION).open(self._connected.wait)
        except NoSessionError as error:
            self.close()
            raise CommandError(str(error)) from error
        try:
            is_there = not self.client.chroot or self.client.exists("/") is not None
        except KazooException as error:
            self.close()
            raise CommandError(f"{self.hosts}: {describe(error, '')}") from error
        if not is_there:
            self.close()
            raise CommandError(
                f"{self.hosts}: {self.client.chroot} does not exist; connect without this path and"
                " create it"
            )

    def close(self) -> None:
        """Close the session; the server then deletes the ephemerals of the session."""
        self.is_closed = True
        self.client.stop()
        self.client.close()

    @property
    def state_name(self) -> str:
        """The state of the connection, as the prompt shows it."""
        if self.is_closed:
            return "CLOSED"
        return _STATE_NAMES.get(self.client.client_state, "CONNECTING")

    def is_connected(self) -> bool:
        """Return whether the client is connected now."""
        return self._connected.is_set()

    def wait(self) -> None:
        """Wait until the client is connected; raises CommandError after the timeout."""
        if self.is_closed:
            raise CommandError("Not connected")
        if not self._connected.wait(self._timeout_s):
            raise CommandError(f"no ZooKeeper server answers at {self.hosts}")

    def let_events_come(self) -> None:
        """Wait until all watch events that the client has received are printed."""
        self.client.handler.callback_queue.join()

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call ``listener``, in another thread, each time the connection is lost or restored."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[], None]) -> None:
        """Stop calling ``listener``."""
        self._listeners.remove(listener)

    def _on_state(self, state: str) -> None:
        if state == KazooState.CONNECTED:
            self._connected.set()
        else:
            self._connected.clear()
        for listener in list(self._listeners):
            listener()
