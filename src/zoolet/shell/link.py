"""The way to a server: a kazoo client, its watches, and what became of its connection.

What holds: a lost connection comes back by itself, within seconds of the server's return, and the
watches with it. Imports ``model`` and ``client``.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.protocol.states import KazooState, KeeperState

from zoolet.client import Watches
from zoolet.shell.errors import CommandError, describe
from zoolet.shell.settings import Settings

_RETRY = {"max_tries": -1, "delay": 0.1, "backoff": 2, "max_delay": 2.0}

_STATE_NAMES = {
    KeeperState.CONNECTED: "CONNECTED",
    KeeperState.CONNECTED_RO: "CONNECTEDREADONLY",
}
"""What the original calls the states, which are kazoo's; any other is CONNECTING or CLOSED."""


class Link:
    """A connection to one ZooKeeper, from its first to its last moment.

    Attributes:
        hosts: as they were written, with the chroot.
        client: the kazoo client.
        watches: the watches of this client.
        is_closed: whether it has been ended by ``close``.
    """

    def __init__(self, hosts: str, settings: Settings) -> None:
        """Make it; raises CommandError where ``hosts`` cannot be read."""
        self.hosts = hosts
        self.is_closed = False
        self._timeout_s = settings.timeout_s
        self._connected = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        try:
            self.client: Any = KazooClient(
                hosts=hosts,
                timeout=settings.timeout_s,
                read_only=settings.takes_read_only_server,
                connection_retry=dict(_RETRY),
                **_tls(settings),
            )
        except ValueError as error:
            raise CommandError(
                f"{hosts!r}: servers are written HOST:PORT[,HOST:PORT...]"
            ) from error
        self.watches = Watches(self.client)
        self.client.add_listener(self._on_state)

    def open(self, credentials: Iterable[tuple[str, str]] = ()) -> None:
        """Connect, and prove who it is; raises CommandError where no server answers in time."""
        self.client.auth_data.update(credentials)
        self.client.start_async()
        if not self._connected.wait(self._timeout_s):
            self.close()
            raise CommandError(
                f"no ZooKeeper server answers at {self.hosts} within {self._timeout_s:g} s: is it"
                " running, and is the address right (-server HOST:PORT)?"
            )
        try:
            is_there = not self.client.chroot or self.client.exists("/") is not None
        except KazooException as error:
            self.close()
            raise CommandError(f"{self.hosts}: {describe(error, '')}") from error
        if not is_there:
            self.close()
            raise CommandError(
                f"{self.hosts}: {self.client.chroot} is not there; create it over a connection"
                " without it"
            )

    def close(self) -> None:
        """End the session, and with it its ephemerals."""
        self.is_closed = True
        self.client.stop()
        self.client.close()

    @property
    def state_name(self) -> str:
        """What the prompt says of the connection."""
        if self.is_closed:
            return "CLOSED"
        return _STATE_NAMES.get(self.client.client_state, "CONNECTING")

    def is_connected(self) -> bool:
        """Return whether there is a connection now."""
        return self._connected.is_set()

    def wait(self) -> None:
        """Return when there is a connection; raises CommandError where there comes none in time."""
        if self.is_closed:
            raise CommandError("Not connected")
        if not self._connected.wait(self._timeout_s):
            raise CommandError(f"no ZooKeeper server answers at {self.hosts}")

    def let_events_come(self) -> None:
        """Return when every watch event that has been received has been printed."""
        self.client.handler.callback_queue.join()

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call ``listener``, in another thread, whenever the connection is lost or back."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[], None]) -> None:
        """Call it no more."""
        self._listeners.remove(listener)

    def _on_state(self, state: str) -> None:
        if state == KazooState.CONNECTED:
            self._connected.set()
        else:
            self._connected.clear()
        for listener in list(self._listeners):
            listener()


def _tls(settings: Settings) -> dict[str, Any]:
    """Return what kazoo is told of TLS."""
    if settings.tls_ca is None:
        return {}
    told: dict[str, Any] = {"use_ssl": True, "ca": str(settings.tls_ca), "check_hostname": True}
    if settings.tls_cert is not None:
        told["certfile"] = str(settings.tls_cert)
        told["keyfile"] = str(settings.tls_key or settings.tls_cert)
    return told
