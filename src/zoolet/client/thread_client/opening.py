"""Opens the session of a `Client` with the settings of a command, or raises the cause.

Invariant: after an error, the client is closed, or it is closed after its connect timeout at the
latest. Imports `zoolet.client.connecting`.
"""

import threading

from zoolet.client.connecting.opening import (
    SessionWait,
    chroot_missing,
    login_refused,
    options_of,
)
from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.client.errors import AuthFailedError, NoNodeError, ZooKeeperError
from zoolet.client.thread_client.client import Client


def client_of(settings: ConnectionSettings) -> Client:
    """Return a client that is not started.

    Raises:
        AddressError: see ``ConnectionSettings.servers``.
    """
    return Client(str(settings.servers), options_of(settings))


class ClientOpener:
    """Opens the session of a client that is not started yet.

    Args:
        client: the client, made with `client_of`.
        settings: the settings of the connection.
        server_option: the command line option for the servers, for the advice in errors.
    """

    def __init__(self, client: Client, settings: ConnectionSettings, server_option: str) -> None:
        self._client = client
        self._settings = settings
        self._session = SessionWait(settings, server_option)
        self._lock = threading.Lock()
        self._is_given_up = False
        self._has_ended = threading.Event()
        self._error: Exception | None = None

    def open(self) -> None:
        """Start the client, and wait until it has a session and is logged in.

        Raises:
            NoSessionError: there is no session after the connect timeout, or a session is not
                possible.
        """
        self._session.check()
        # The client waits in another thread, because this thread looks for causes that cannot
        # disappear by waiting.
        threading.Thread(target=self._start, name="zoolet-client-start", daemon=True).start()
        try:
            self._session.wait(self._has_session)
        except BaseException:
            self._give_up()
            raise

    def _start(self) -> None:
        try:
            self._client.start()
        except Exception as error:  # noqa: BLE001 -- raised where the session is awaited
            self._error = error
        with self._lock:
            self._has_ended.set()
            is_given_up = self._is_given_up
        if is_given_up:
            self._client.close(0.0)

    def _give_up(self) -> None:
        """Close the client as soon as its start has ended, maybe in the thread of the start."""
        with self._lock:
            self._is_given_up = True
            has_ended = self._has_ended.is_set()
        if has_ended:
            self._client.close(0.0)

    def _has_session(self, limit_s: float) -> bool:
        if not self._has_ended.wait(limit_s):
            return False
        if isinstance(self._error, AuthFailedError):
            raise login_refused(scheme for scheme, _ in self._settings.auth) from self._error
        if isinstance(self._error, NoNodeError):
            raise chroot_missing(self._settings.servers) from self._error
        if isinstance(self._error, ZooKeeperError):
            return False
        if self._error is not None:
            raise self._error
        return True
