"""Opens the session of a kazoo client, or raises an error with the cause.

Imports ``model``, `zoolet.client.connecting` and kazoo.
"""

from collections.abc import Callable
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, ConnectionClosedError, KazooException
from kazoo.protocol.states import KeeperState

from zoolet.client.connecting.opening import NoSessionError, SessionWait, login_refused
from zoolet.client.connecting.settings import ConnectionSettings

__all__ = ["NoSessionError", "SessionOpener"]


class SessionOpener:
    """Opens the session of a client that is not started yet.

    Args:
        client: the client, made with ``settings.for_kazoo()``.
        settings: the settings of the connection.
        server_option: the command line option for the servers, for the advice in errors.
    """

    def __init__(
        self, client: KazooClient, settings: ConnectionSettings, server_option: str
    ) -> None:
        self._client = client
        self._timeout_s = settings.connect_timeout_s
        self._session = SessionWait(settings, server_option)

    def open(self, wait: Callable[[float], bool] | None = None) -> None:
        """Start the client, and wait until it has a session and is logged in.

        ``wait`` gets a number of seconds, waits at most this time until the client is connected,
        and returns whether it is. The caller must close the client after an error.

        Raises:
            NoSessionError: there is no session after the connect timeout, or a session is not
                possible.
        """
        self._session.check()
        live = self._client.start_async()
        self._session.wait(wait or live.wait)
        if self._client.auth_data:
            self._check_login()

    def _check_login(self) -> None:
        """Raise NoSessionError if the server refuses the login.

        kazoo logs in on each new connection before it sends requests, and stops if the login fails.
        """
        refused = login_refused(scheme for scheme, _ in self._client.auth_data)
        answer: Any = self._client.exists_async("/")
        try:
            answer.get(timeout=self._timeout_s)
        except (AuthFailedError, ConnectionClosedError) as error:
            raise refused from error
        except (KazooException, self._client.handler.timeout_exception) as error:
            if self._client.client_state in {KeeperState.AUTH_FAILED, KeeperState.CLOSED}:
                raise refused from error
