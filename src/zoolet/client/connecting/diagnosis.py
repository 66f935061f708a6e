"""Finds out why a client gets no session from a ZooKeeper server.

kazoo reconnects again and again without an error. This module opens one separate connection, with
TLS if the client uses TLS, and sends a four-letter word, which creates no session. Imports only
``model``.
"""

import contextlib
import socket
import ssl
from enum import Enum, auto
from typing import Literal, NamedTuple

from zoolet.client.connecting.servers import Servers
from zoolet.client.connecting.tls import context_of
from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.model.addresses import Address, not_resolved

_WORD = b"srvr"
_VERIFY_EXPIRED = 10
_VERIFY_UNKNOWN_CA = frozenset({2, 18, 19, 20, 21})
_VERIFY_WRONG_NAME = frozenset({62, 64})
"""OpenSSL's codes ``X509_V_ERR_*``."""


class Kind(Enum):
    """The kinds of causes."""

    NAME = auto()
    UNREACHABLE = auto()
    SILENT = auto()
    TLS_MISSING = auto()
    TLS_NOT_SERVED = auto()
    TLS_FILES = auto()
    SERVER_CERTIFICATE = auto()
    CLIENT_CERTIFICATE_MISSING = auto()
    CLIENT_CERTIFICATE_REFUSED = auto()
    TLS_VERSION = auto()


class Cause(NamedTuple):
    """The cause of a missing session.

    Attributes:
        kind: the kind of the cause.
        text: a clause that describes the cause and names the server.
    """

    kind: Kind
    text: str

    @property
    def is_final(self) -> bool:
        """Whether the cause cannot disappear while the client waits."""
        return self.kind not in {Kind.UNREACHABLE, Kind.SILENT}


def unresolved(servers: Servers) -> str | None:
    """Return the reason if none of the host names resolves; otherwise None.

    The system's resolver has its own timeout.
    """
    reasons = []
    for host, port in servers.addresses:
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reasons.append(not_resolved(host, _reason(error)))
        else:
            return None
    return "; ".join(reasons)


def why_no_session(servers: Servers, tls: TlsFiles | None, timeout_s: float) -> Cause | None:
    """Check the servers in turn; return the first final cause, otherwise the first cause.

    Returns None if a server answers before a final cause is found. ``timeout_s`` applies to each
    connection and to each read.
    """
    first: Cause | None = None
    for address in servers.addresses:
        cause = why_no_answer(address, tls, timeout_s)
        if cause is None or cause.is_final:
            return cause
        first = first or cause
    return first


def why_no_answer(address: Address, tls: TlsFiles | None, timeout_s: float) -> Cause | None:
    """Check one server and return the cause; None if the server answers."""
    try:
        connection = socket.create_connection(address, timeout_s)
    except socket.gaierror as error:
        return Cause(Kind.NAME, not_resolved(address.host, _reason(error)))
    except TimeoutError:
        return Cause(Kind.UNREACHABLE, f"{address} does not accept connections (timeout)")
    except (OSError, UnicodeError) as error:
        return Cause(Kind.UNREACHABLE, f"{address}: {_reason(error)}")
    with connection:
        if tls is not None:
            return _secure(connection, address, tls, timeout_s)
        if _answers(connection):
            return None
    if _speaks_tls(address, timeout_s):
        return Cause(Kind.TLS_MISSING, f"{address} serves TLS, but the client uses plain text")
    return Cause(Kind.SILENT, f"{address} accepts connections but does not answer")


def _secure(
    connection: socket.socket, address: Address, tls: TlsFiles, timeout_s: float
) -> Cause | None:
    try:
        context = context_of(tls)
    except (OSError, ValueError) as error:
        return Cause(Kind.TLS_FILES, f"the certificate files of the client cannot be used: {error}")
    seen = _look(connection, context, address, tls, sends_word=True)
    if seen is Kind.SILENT:
        # If a server closes a connection with unread bytes, TCP resets the connection, and the TLS
        # alert is lost. So the second attempt sends no bytes.
        with contextlib.suppress(OSError), socket.create_connection(address, timeout_s) as again:
            seen = _look(again, context, address, tls, sends_word=False)
    if not isinstance(seen, Kind):
        return seen
    with_plain_text = why_no_answer(address, None, timeout_s)
    if with_plain_text is None:
        return Cause(Kind.TLS_NOT_SERVED, f"{address} serves plain text, but the client uses TLS")
    if with_plain_text.kind is not Kind.TLS_MISSING:
        return with_plain_text
    if tls.cert is None:
        return Cause(
            Kind.CLIENT_CERTIFICATE_MISSING,
            f"{address} ends the TLS handshake; it probably requires a client certificate",
        )
    return Cause(
        Kind.CLIENT_CERTIFICATE_REFUSED,
        f"{address} ends the TLS handshake; it probably does not accept the client's certificate",
    )


def _look(
    connection: socket.socket,
    context: ssl.SSLContext,
    address: Address,
    tls: TlsFiles,
    *,
    sends_word: bool,
) -> Cause | Literal[Kind.SILENT] | None:
    """Do a handshake and read the answer.

    Returns None if the server answers, the cause of a failure if it is known, otherwise SILENT.
    """
    try:
        with context.wrap_socket(connection, server_hostname=address.host) as secured:
            if sends_word:
                secured.sendall(_WORD)
            return None if secured.recv(1) else Kind.SILENT
    except ssl.SSLCertVerificationError as error:
        return Cause(Kind.SERVER_CERTIFICATE, _why_not_trusted(address, error))
    except ssl.SSLError as error:
        return _alert(address, tls, error.reason or "") or Kind.SILENT
    except (OSError, ValueError):
        return Kind.SILENT


def _why_not_trusted(address: Address, error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == _VERIFY_EXPIRED:
        return f"the certificate of {address} has expired"
    if error.verify_code in _VERIFY_UNKNOWN_CA:
        return f"the certificate of {address} is signed by an unknown CA ({error.verify_message})"
    if error.verify_code in _VERIFY_WRONG_NAME:
        return f"the certificate of {address} is for another name ({error.verify_message})"
    return f"the certificate of {address} is not valid: {error.verify_message}"


def _alert(address: Address, tls: TlsFiles, reason: str) -> Cause | None:
    """Return the cause for a TLS alert or a version error; None for any other TLS error."""
    if "ALERT" not in reason:
        is_version = reason in {"UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE"}
        text = f"{address} supports none of the client's versions of TLS"
        return Cause(Kind.TLS_VERSION, text) if is_version else None
    words = reason.partition("ALERT_")[2].replace("_", " ").lower()
    if "PROTOCOL_VERSION" in reason or "INSUFFICIENT_SECURITY" in reason:
        text = f"{address} supports none of the client's versions of TLS ({words})"
        return Cause(Kind.TLS_VERSION, text)
    if tls.cert is None and ("CERTIFICATE" in reason or "HANDSHAKE_FAILURE" in reason):
        return Cause(
            Kind.CLIENT_CERTIFICATE_MISSING,
            f"{address} requires a client certificate ({words})",
        )
    if "CERT" in reason or "UNKNOWN_CA" in reason or "ACCESS_DENIED" in reason:
        return Cause(
            Kind.CLIENT_CERTIFICATE_REFUSED,
            f"{address} does not accept the client's certificate ({words})",
        )
    return Cause(Kind.TLS_VERSION, f"{address} ends the TLS handshake ({words})")


def _answers(connection: socket.socket) -> bool:
    try:
        connection.sendall(_WORD)
        return bool(connection.recv(1))
    except OSError:
        return False


def _speaks_tls(address: Address, timeout_s: float) -> bool:
    """Return whether the server takes part in a TLS handshake; do not check its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection(address, timeout_s) as connection,
            context.wrap_socket(connection, server_hostname=address.host),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except (OSError, ValueError):
        return False


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
