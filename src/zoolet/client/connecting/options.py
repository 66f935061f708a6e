"""The options that both clients have.

Invariant: no repr shows a credential. Imports the client's protocol, and no module of the standard
library that takes long to import, like dataclasses.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.client.protocol.session import (
    MAX_OUTSTANDING_BYTES,
    NO_SESSION,
    ClientSession,
    SessionId,
)

if TYPE_CHECKING:
    from zoolet.client.metrics import ClientMetrics

DEFAULT_HOSTS: Final = "127.0.0.1:2181"
SESSION_TIMEOUT_MS: Final = 10_000
CONNECT_TIMEOUT_MS: Final = 10_000
CALL_TIMEOUT_S: Final = 30.0
"""The default time limit of a call, in seconds."""

_SHORTEST_TRY_S: Final = 0.1

NO_CHROOT: Final = (
    "the chroot does not exist: create it with a client without a chroot, or start the client with"
    " checks_chroot=False"
)


class Credential(NamedTuple):
    """The scheme and the secret of a login, for example ``digest`` and ``user:password``."""

    scheme: str
    secret: str

    def __repr__(self) -> str:
        return f"Credential({self.scheme!r}, ...)"


class ClientOptions(NamedTuple):
    """The options of a client.

    Attributes:
        session_timeout_ms: the session timeout that the client asks for, in milliseconds.
        connect_timeout_s: the longest wait for the first session, and for each connection.
        call_timeout_s: the default time limit of a call, in seconds; 0 for no limit.
        auth: the logins.
        tls: the files for TLS; None for a connection without encryption.
        takes_read_only_server: whether the client accepts a server without a quorum. It changes to
            another server as soon as one with a quorum is found.
        session: a session to continue; the default is a new one.
        renews_session: whether the client asks for another session after its session has expired.
        checks_chroot: whether `start` fails if the chroot does not exist; False for a program that
            creates the chroot itself.
        max_outstanding_bytes: the limit of the bytes of requests without a reply. Above it, calls
            wait.
        metrics: an object that the client tells about its work; None for no metrics.
    """

    session_timeout_ms: int = SESSION_TIMEOUT_MS
    connect_timeout_s: float = CONNECT_TIMEOUT_MS / 1000
    call_timeout_s: float = CALL_TIMEOUT_S
    auth: tuple[Credential, ...] = ()
    tls: TlsFiles | None = None
    takes_read_only_server: bool = False
    session: SessionId = NO_SESSION
    renews_session: bool = True
    checks_chroot: bool = True
    max_outstanding_bytes: int = MAX_OUTSTANDING_BYTES
    metrics: "ClientMetrics | None" = None


def new_session(options: ClientOptions, chroot: str) -> ClientSession:
    """Return the session of a client with these options, before its first connection."""
    return ClientSession(
        options.session_timeout_ms,
        chroot=chroot,
        resumed=options.session,
        takes_read_only=options.takes_read_only_server,
        max_outstanding_bytes=options.max_outstanding_bytes,
        renews=options.renews_session,
    )


def try_limit_s(options: ClientOptions, session_timeout_ms: int, num_servers: int) -> float:
    """Return the time limit of one try to connect, in seconds.

    Each server gets its part of the time: of the connect timeout, and of the time after which the
    session may expire. A try has at least 0.1 s: the server may grant a longer session timeout than
    the client wants.
    """
    session_s = max(_SHORTEST_TRY_S * num_servers, session_timeout_ms * 2 / 3000)
    return min(options.connect_timeout_s, session_s) / num_servers
