"""The options that both clients have.

Invariant: no repr shows a credential. Imports the client's protocol, and no module of the standard
library that takes long to import, like dataclasses.
"""

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.client.protocol.session import MAX_OUTSTANDING_BYTES, ClientSession
from zoolet.client.protocol.session_id import NO_SESSION, SessionId

if TYPE_CHECKING:
    from zoolet.client.connecting.kerberos import KerberosLogin
    from zoolet.client.metrics import ClientMetrics
    from zoolet.client.protocol.logins import NewExchange

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
        auth: the logins; with the scheme ``sasl``, the secret is ``NAME:PASSWORD``, and the client
            authenticates with SASL's mechanism DIGEST-MD5. With ``kerberos``, the secret has the
            options of Kerberos, like ``keytab=FILE,principal=NAME``, and the mechanism is GSSAPI.
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


SASL: Final = "sasl"
"""The scheme of a credential ``NAME:PASSWORD`` for SASL's mechanism DIGEST-MD5."""

KERBEROS: Final = "kerberos"
"""The scheme of a credential for SASL's mechanism GSSAPI; its text has options."""

WAITS_FOR_TICKET: Final = "no ticket of Kerberos yet: the KDC has not replied"

SASL_SCHEMES: Final = frozenset({SASL, KERBEROS})
"""The schemes of credentials that the session itself uses, when a connection begins."""


def check_scheme(scheme: str) -> None:
    """Raise ValueError for a login with SASL, which is possible only when a connection begins."""
    if scheme in SASL_SCHEMES:
        raise ValueError("give a login with SASL in ClientOptions.auth, before the client connects")


def kerberos_of(auth: tuple[Credential, ...]) -> "KerberosLogin | None":
    """Return the login with Kerberos; None if there is none.

    Raises:
        ValueError: there are several credentials for SASL, or the options are invalid.
    """
    found = [login for login in auth if login.scheme in SASL_SCHEMES]
    if len(found) > 1:
        raise ValueError("a client can log in with only one user of SASL")
    if not found or found[0].scheme != KERBEROS:
        return None
    from zoolet.client.connecting.kerberos import kerberos_login  # noqa: PLC0415 -- rare

    return kerberos_login(found[0].secret)


def new_exchange_of(auth: tuple[Credential, ...]) -> "NewExchange | None":
    """Return the function that begins an authentication with DIGEST-MD5; None if there is none.

    Raises:
        ValueError: the credential has no colon.
    """
    found = [secret for scheme, secret in auth if scheme == SASL]
    if not found:
        return None
    if ":" not in found[0]:
        raise ValueError("the login of SASL must have the form NAME:PASSWORD")
    from zoolet.client.connecting.sasl import DigestExchange  # noqa: PLC0415 -- most need it not

    return partial(DigestExchange, found[0])


def new_session(
    options: ClientOptions, chroot: str, kerberos: "KerberosLogin | None"
) -> ClientSession:
    """Return the session of a client with these options, before its first connection."""
    return ClientSession(
        options.session_timeout_ms,
        chroot=chroot,
        resumed=options.session,
        takes_read_only=options.takes_read_only_server,
        max_outstanding_bytes=options.max_outstanding_bytes,
        renews=options.renews_session,
        new_exchange=kerberos.begin if kerberos is not None else new_exchange_of(options.auth),
    )


def try_limit_s(options: ClientOptions, session_timeout_ms: int, num_servers: int) -> float:
    """Return the time limit of one try to connect, in seconds.

    Each server gets its part of the time: of the connect timeout, and of the time after which the
    session may expire. A try has at least 0.1 s: the server may grant a longer session timeout than
    the client wants.
    """
    session_s = max(_SHORTEST_TRY_S * num_servers, session_timeout_ms * 2 / 3000)
    return min(options.connect_timeout_s, session_s) / num_servers
