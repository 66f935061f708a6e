"""The connection to a server: a client, its watches, and the state of the connection.

Invariant: the client restores a lost connection and its watches within seconds after the server is
available again. Imports ``model`` and ``client``.
"""

import threading
from collections.abc import Callable
from dataclasses import replace

from zoolet.client.connecting.opening import NoSessionError
from zoolet.client.connecting.options import Credential
from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.client.errors import AuthFailedError
from zoolet.client.protocol.states import SERVED, SessionState
from zoolet.client.thread_client.opening import ClientOpener, client_of
from zoolet.model.addresses import AddressError
from zoolet.model.results import Event
from zoolet.shell.errors import CommandError, describe
from zoolet.shell.watches import Watches

SERVER_OPTION = "-server"

_SHORT_WAIT_S = 0.5
"""The wait for another connection before the shell says that the connection is lost."""

_STATE_NAMES = {
    SessionState.CONNECTED: "CONNECTED",
    SessionState.READ_ONLY: "CONNECTEDREADONLY",
    SessionState.AUTH_FAILED: "AUTH_FAILED",
    SessionState.CLOSED: "CLOSED",
}
"""Apache ZooKeeper's names of the states; any other state is CONNECTING."""


class Connection:
    """A connection to one ZooKeeper ensemble, with the session over it.

    Attributes:
        hosts: the addresses of the servers, with the chroot.
        servers: the same, as a value.
        settings: the settings of the connection, with the logins of ``addauth``.
        client: the client.
        watches: the watches of this client.
        is_closed: whether ``close`` was called, or ``open`` failed.
    """

    def __init__(self, settings: ConnectionSettings, on_event: Callable[[Event], None]) -> None:
        """Create the client, unconnected; raises CommandError if the addresses are invalid.

        ``on_event`` is called with the events of the watches, in a thread of its own.
        """
        try:
            self.servers = settings.servers
        except AddressError as error:
            raise CommandError(str(error)) from error
        self.hosts = str(self.servers)
        self.settings = settings
        self.is_closed = False
        self._connected = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        self.client = client_of(settings)
        self.watches = Watches(self.client, self._connected, on_event)
        self.client.add_listener(self._on_state)

    def open(self) -> None:
        """Connect and log in; raises CommandError if no server answers in time.

        The error names the cause. The wait ends early if the cause cannot disappear by waiting.
        """
        try:
            ClientOpener(self.client, self.settings, SERVER_OPTION).open()
        except NoSessionError as error:
            self.is_closed = True
            raise CommandError(str(error)) from error
        except BaseException:
            self.is_closed = True
            raise

    def close(self) -> None:
        """Close the session; the server then deletes the ephemerals of the session."""
        self.is_closed = True
        self.client.close()

    def log_in(self, scheme: str, secret: bytes) -> None:
        """Log in, now and on each later connection; raises a ZooKeeperError."""
        self.client.add_auth(scheme, secret)
        login = Credential(scheme, secret.decode("utf-8", "surrogateescape"))
        self.settings = replace(self.settings, auth=(*self.settings.auth, login))

    @property
    def state_name(self) -> str:
        """The state of the connection, as the prompt shows it."""
        if self.is_closed:
            return "CLOSED"
        return _STATE_NAMES.get(self.client.state, "CONNECTING")

    def is_connected(self) -> bool:
        """Return whether the client is connected now."""
        return self._connected.is_set()

    def is_soon_connected(self) -> bool:
        """Return whether the client is connected, or is connected again after a short time."""
        return self._connected.wait(_SHORT_WAIT_S)

    def wait(self) -> None:
        """Wait until the client is connected; raises CommandError after the timeout."""
        if self.state_name == "CLOSED":
            raise CommandError("Not connected")
        if self.client.state is SessionState.AUTH_FAILED:
            raise CommandError(describe(AuthFailedError()))
        if not self._connected.wait(self.settings.connect_timeout_s):
            raise CommandError(f"no ZooKeeper server answers at {self.hosts}")

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call ``listener``, in another thread, each time the connection is lost or restored."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[], None]) -> None:
        """Stop calling ``listener``."""
        self._listeners.remove(listener)

    def _on_state(self, state: SessionState) -> None:
        if state in SERVED:
            self._connected.set()
        else:
            self._connected.clear()
        for listener in list(self._listeners):
            listener()
