"""Begins the session of a kazoo client, and says why there is none.

What holds: the wait ends after the connect timeout, and earlier if the cause does not go away by
waiting. Imports ``model`` and kazoo.
"""

from collections.abc import Callable
from typing import Any, Final

from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, ConnectionClosedError, KazooException
from kazoo.protocol.states import KeeperState

from zoolet.client.diagnosis import Cause, Kind, unresolved, why_no_session
from zoolet.client.settings import ConnectionSettings

_PATIENCE_S: Final = 2.0
"""How long a session is waited for before the cause is looked for."""

_ADVICE = {
    Kind.NAME: "Correct the address ({server} HOST:PORT)",
    Kind.TLS_MISSING: "Give --tls-ca FILE, or the address of the port without TLS",
    Kind.TLS_NOT_SERVED: "Leave out --tls-ca, or give the address of the port with TLS",
    Kind.TLS_FILES: "Look at the files of --tls-ca, --tls-cert and --tls-key",
    Kind.SERVER_CERTIFICATE: "Look at --tls-ca FILE and at the host name in {server} HOST:PORT",
    Kind.CLIENT_CERTIFICATE_MISSING: "Give --tls-cert FILE",
    Kind.CLIENT_CERTIFICATE_REFUSED: "Give another --tls-cert FILE, or let the server trust its CA",
    Kind.TLS_VERSION: "Look at ssl.enabledProtocols and ssl.ciphersuites of the server",
}


class NoSessionError(Exception):
    """No server gave a session; the message names the cause and says what to do.

    Attributes:
        is_late: whether the wait ended at the connect timeout, and not for a cause that stays.
    """

    def __init__(self, message: str, *, is_late: bool = False) -> None:
        super().__init__(message)
        self.is_late = is_late


class SessionOpener:
    """Begins the session of a client that has these settings; the client is not started yet.

    Args:
        client: made with ``settings.for_kazoo()``.
        settings: how to connect.
        server_option: the option that names the servers, for the advice in errors.
    """

    def __init__(
        self, client: KazooClient, settings: ConnectionSettings, server_option: str
    ) -> None:
        self._client = client
        self._settings = settings
        self._servers = settings.servers
        self._timeout_s = settings.connect_timeout_s
        self._patience_s = min(self._timeout_s, _PATIENCE_S)
        self._server_option = server_option

    def open(self, wait: Callable[[float], bool] | None = None) -> None:
        """Start the client, and return when it has a session and has logged in.

        ``wait`` waits up to that many seconds until the client is connected, and says whether it
        is. The caller closes the client after an error.

        Raises:
            NoSessionError: there is no session after the connect timeout, or cannot be one.
        """
        if (reason := unresolved(self._servers)) is not None:
            raise NoSessionError(f"{reason}. {self._advice(Kind.NAME)}")
        if self._settings.tls is not None and len(self._servers.addresses) == 1:
            # kazoo says nothing of a failed handshake, and tries again until the timeout.
            self._refuse_final(self._look())
        live = self._client.start_async()
        self._wait(wait or live.wait)
        if self._client.auth_data:
            self._check_login()

    def _wait(self, wait: Callable[[float], bool]) -> None:
        if wait(self._patience_s):
            return
        self._refuse_final(self._look())
        if wait(self._timeout_s - self._patience_s):
            return
        cause = self._look()
        self._refuse_final(cause)
        seen = "" if cause is None else f" ({cause.text})"
        raise NoSessionError(
            f"no ZooKeeper server answers at {self._settings.hosts} within"
            f" {_in_words(self._settings.connect_timeout_ms)}{seen}: is it running, and is the"
            f" address right ({self._server_option} HOST:PORT)?",
            is_late=True,
        )

    def _look(self) -> Cause | None:
        return why_no_session(self._servers, self._settings.tls, self._patience_s)

    def _refuse_final(self, cause: Cause | None) -> None:
        if cause is not None and cause.is_final:
            raise NoSessionError(f"{cause.text}. {self._advice(cause.kind)}")

    def _advice(self, kind: Kind) -> str:
        return _ADVICE[kind].format(server=self._server_option)

    def _check_login(self) -> None:
        """Raise NoSessionError if the server refuses the login.

        kazoo logs in on each connection before it sends a request, and gives up if that fails.
        """
        schemes = ", ".join(sorted({scheme for scheme, _ in self._client.auth_data}))
        refused = f"the server refuses the login with {schemes}. Look at --auth SCHEME:SECRET"
        answer: Any = self._client.exists_async("/")
        try:
            answer.get(timeout=self._timeout_s)
        except (AuthFailedError, ConnectionClosedError) as error:
            raise NoSessionError(refused) from error
        except (KazooException, self._client.handler.timeout_exception) as error:
            if self._client.client_state in {KeeperState.AUTH_FAILED, KeeperState.CLOSED}:
                raise NoSessionError(refused) from error


def _in_words(timeout_ms: int) -> str:
    return f"{timeout_ms / 1000:g} s"
