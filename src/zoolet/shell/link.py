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
from zoolet.client.diagnosis import Cause, Kind, TlsFiles, unresolved, why_no_session
from zoolet.model.addresses import AddressError, parse_servers
from zoolet.model.codes import OpCode
from zoolet.shell.errors import CommandError, describe
from zoolet.shell.settings import Settings

_RETRY = {"max_tries": -1, "delay": 0.1, "backoff": 2, "max_delay": 2.0}

_PATIENCE_S = 2.0
"""How long a session is waited for before the shell looks for the cause."""

_ADVICE = {
    Kind.NAME: "Correct the address (-server HOST:PORT)",
    Kind.TLS_MISSING: "Give --tls-ca FILE, or the address of the port without TLS",
    Kind.TLS_NOT_SERVED: "Leave out --tls-ca, or give the address of the port with TLS",
    Kind.TLS_FILES: "Look at the files of --tls-ca, --tls-cert and --tls-key",
    Kind.SERVER_CERTIFICATE: "Look at --tls-ca FILE and at the host name in -server HOST:PORT",
    Kind.CLIENT_CERTIFICATE_MISSING: "Give --tls-cert FILE",
    Kind.CLIENT_CERTIFICATE_REFUSED: "Give another --tls-cert FILE, or let the server trust its CA",
    Kind.TLS_VERSION: "Look at ssl.enabledProtocols and ssl.ciphersuites of the server",
}

_STATE_NAMES = {
    KeeperState.CONNECTED: "CONNECTED",
    KeeperState.CONNECTED_RO: "CONNECTEDREADONLY",
}
"""What the original calls the states, which are kazoo's; any other is CONNECTING or CLOSED."""

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
"""The requests that change what is on a server."""


class _Client(KazooClient):  # type: ignore[misc] # kazoo has no types
    """A kazoo client that says of each change that it sends one.

    Every request of kazoo's goes through ``_call``, those of ``zoolet.client`` too.
    """

    def __init__(self, on_change: Callable[[], None], **settings: Any) -> None:
        self._on_change = on_change
        super().__init__(**settings)

    def _call(self, request: Any, async_object: Any) -> Any:
        if request.type in _CHANGES:
            self._on_change()
        return super()._call(request, async_object)


class Link:
    """A connection to one ZooKeeper, from its first to its last moment.

    Attributes:
        hosts: the addresses of the servers, with the chroot.
        client: the kazoo client.
        watches: the watches of this client.
        is_closed: whether it has been ended by ``close``.
    """

    def __init__(self, hosts: str, settings: Settings, on_change: Callable[[], None]) -> None:
        """Make it; raises CommandError where ``hosts`` cannot be read.

        ``on_change`` is called before a request is sent that may change something.
        """
        try:
            self._servers = parse_servers(hosts)
        except AddressError as error:
            raise CommandError(str(error)) from error
        self.hosts = str(self._servers)
        self.is_closed = False
        self._timeout_s = settings.timeout_s
        self._connected = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        self._tls = _tls_files(settings)
        self.client: Any = _Client(
            on_change,
            hosts=self.hosts,
            timeout=settings.timeout_s,
            read_only=settings.takes_read_only_server,
            connection_retry=dict(_RETRY),
            **_tls_options(self._tls),
        )
        self.watches = Watches(self.client)
        self.client.add_listener(self._on_state)

    def open(self, credentials: Iterable[tuple[str, str]] = ()) -> None:
        """Connect, and prove who it is; raises CommandError where no server answers in time.

        The error names the cause. A cause that does not go away by waiting ends the wait early.
        """
        if (reason := unresolved(self._servers)) is not None:
            raise CommandError(f"{reason}. Correct the address (-server HOST:PORT)")
        # kazoo says nothing of a failed handshake, and tries again until the timeout.
        if self._tls is not None:
            self._refuse_final(why_no_session(self._servers, self._tls, self._patience_s))
        self.client.auth_data.update(credentials)
        self.client.start_async()
        self._wait_for_session()
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

    @property
    def _patience_s(self) -> float:
        return min(self._timeout_s, _PATIENCE_S)

    def _refuse_final(self, cause: Cause | None) -> None:
        if cause is not None and cause.is_final:
            self.close()
            raise CommandError(f"{cause.text}. {_ADVICE[cause.kind]}")

    def _wait_for_session(self) -> None:
        if self._connected.wait(self._patience_s):
            return
        self._refuse_final(why_no_session(self._servers, self._tls, self._patience_s))
        if self._connected.wait(self._timeout_s - self._patience_s):
            return
        cause = why_no_session(self._servers, self._tls, self._patience_s)
        self._refuse_final(cause)
        self.close()
        seen = "" if cause is None else f" ({cause.text})"
        raise CommandError(
            f"no ZooKeeper server answers at {self.hosts} within {self._timeout_s:g} s{seen}: is it"
            " running, and is the address right (-server HOST:PORT)?"
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


def _tls_files(settings: Settings) -> TlsFiles | None:
    if settings.tls_ca is None:
        return None
    return TlsFiles(settings.tls_ca, settings.tls_cert, settings.tls_key)


def _tls_options(files: TlsFiles | None) -> dict[str, Any]:
    """Return what kazoo is told of TLS."""
    if files is None:
        return {}
    told: dict[str, Any] = {"use_ssl": True, "ca": str(files.ca), "check_hostname": True}
    if files.cert is not None:
        told["certfile"] = str(files.cert)
        told["keyfile"] = str(files.key or files.cert)
    return told
