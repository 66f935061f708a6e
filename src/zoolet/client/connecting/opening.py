"""Waits for the first session of any client, or raises an error with the cause.

Invariant: the wait ends after the connect timeout, and earlier if the cause cannot disappear by
waiting. Imports only ``model`` and other modules of its package.
"""

import socket
from collections.abc import Callable, Iterable
from typing import Final

from zoolet.client.connecting.diagnosis import Cause, Kind, unresolved, why_no_session
from zoolet.client.connecting.options import ClientOptions, kerberos_of
from zoolet.client.connecting.servers import Servers
from zoolet.client.connecting.settings import ConnectionSettings

_PATIENCE_S: Final = 2.0
"""The time to wait for a session before searching for the cause; also the search's timeout."""

_MORE_S: Final = 1.0
"""How much longer than the connect timeout the client itself waits: the opener reports the cause
first."""

_ADVICE = {
    Kind.NAME: "Correct the address ({server} HOST:PORT)",
    Kind.TLS_MISSING: "Give --tls-ca FILE, or the address of the port without TLS",
    Kind.TLS_NOT_SERVED: "Leave out --tls-ca, or give the address of the port with TLS",
    Kind.TLS_FILES: "Check the files of --tls-ca, --tls-cert and --tls-key",
    Kind.SERVER_CERTIFICATE: "Check --tls-ca FILE and the host name in {server} HOST:PORT",
    Kind.CLIENT_CERTIFICATE_MISSING: "Give --tls-cert FILE",
    Kind.CLIENT_CERTIFICATE_REFUSED: "Give another --tls-cert FILE, or let the server trust its CA",
    Kind.TLS_VERSION: "Check ssl.enabledProtocols and ssl.ciphersuites of the server",
}


def options_of(settings: ConnectionSettings) -> ClientOptions:
    """Return the options of a client whose session a `SessionWait` waits for."""
    return ClientOptions(
        session_timeout_ms=settings.session_timeout_ms,
        connect_timeout_s=settings.connect_timeout_s + _MORE_S,
        auth=settings.auth,
        tls=settings.tls,
        takes_read_only_server=settings.takes_read_only_server,
    )


class NoSessionError(Exception):
    """The client got no session; the message names the cause and says what to do.

    Attributes:
        is_late: whether the wait ended at the connect timeout; False if it ended early, because of
            a cause that cannot disappear by waiting.
    """

    def __init__(self, message: str, *, is_late: bool = False) -> None:
        super().__init__(message)
        self.is_late = is_late


class SessionWait:
    """The wait for the first session of a client.

    Args:
        settings: the settings of the connection.
        server_option: the command line option for the servers, for the advice in errors.
    """

    def __init__(self, settings: ConnectionSettings, server_option: str) -> None:
        self._settings = settings
        self._servers = settings.servers
        self._timeout_s = settings.connect_timeout_s
        self._patience_s = min(self._timeout_s, _PATIENCE_S)
        self._server_option = server_option

    def check(self) -> None:
        """Look for causes that are known before the client is started.

        Raises:
            NoSessionError: a session is not possible.
        """
        if (reason := unresolved(self._servers)) is not None:
            raise NoSessionError(f"{reason}. {self._advice(Kind.NAME)}")
        self._check_tickets()
        if self._settings.tls is not None and len(self._servers.addresses) == 1:
            # A client does not report a failed handshake, and tries again until the timeout.
            self._refuse_final(self._look())

    def _check_tickets(self) -> None:
        """Raise NoSessionError if a login with Kerberos has no ticket for any of the servers."""
        kerberos = kerberos_of(self._settings.auth)
        if kerberos is None:
            return
        addresses = self._servers.addresses
        failures: list[str] = []
        for address in addresses:
            try:
                found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
                ticket = kerberos.prepare(address.host, str(found[0][4][0]))
                ticket.result(self._timeout_s / len(addresses))
            except TimeoutError:
                failures.append("the KDC of Kerberos does not reply")
            except (OSError, ValueError) as error:
                failures.append(str(error))
            else:
                return
        raise NoSessionError(failures[0])

    def wait(self, wait: Callable[[float], bool]) -> None:
        """Wait until the client, which is started, has a session.

        ``wait`` gets a number of seconds, waits at most this time until the client is connected,
        and returns whether it is.

        Raises:
            NoSessionError: there is no session after the connect timeout, or a session is not
                possible.
        """
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


def login_refused(schemes: Iterable[str]) -> NoSessionError:
    """Return the error for a refused login with these schemes."""
    named = ", ".join(sorted(set(schemes)))
    return NoSessionError(f"the server refuses the login with {named}. Check --auth SCHEME:SECRET")


def chroot_missing(servers: Servers) -> NoSessionError:
    """Return the error for a chroot that does not exist."""
    return NoSessionError(
        f"{servers}: {servers.chroot} does not exist; connect without this path and create it"
    )


def _in_words(timeout_ms: int) -> str:
    return f"{timeout_ms / 1000:g} s"
