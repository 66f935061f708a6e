"""TLS handshakes of clients.

Reports the reason of a failure in the server's log and to the client, and finds out whether a
client begins a handshake.

The server imports this module only if it serves TLS.
"""

import asyncio
import socket
import ssl
from typing import Final, cast

from zoolet.server.sockets.tls_transport import HANDSHAKE_RECORD, TlsTransport

_BY_REASON: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        "the client shows no certificate. Configure a certificate for the client, or set"
        " ssl.clientAuth=want or none"
    ),
    "CERTIFICATE_VERIFY_FAILED": "the client's certificate is not accepted: {detail}",
    "UNSUPPORTED_PROTOCOL": "the client offers only TLS versions that the server does not accept",
    "NO_SHARED_CIPHER": "the client and the server have no cipher suite in common",
    "TLSV1_ALERT_UNKNOWN_CA": (
        "the client does not know the authority that signed the server's certificate (unknown CA)"
    ),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client says that the server's certificate has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": (
        "the client does not accept the server's certificate. The host name that it connects to"
        " may not be in the certificate (wrong name)"
    ),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": (
        "the client does not accept the server's certificate. It may not know the authority"
        " (unknown CA), or the host name is not in the certificate (wrong name)"
    ),
}
"""The messages for OpenSSL's reasons that an operator can do something about."""

_SHOWN_BYTES: Final = 8


class PlainBytesError(ssl.SSLError):
    """The bytes that arrive on the TLS port are not TLS."""

    def __init__(self, data: bytes) -> None:
        super().__init__(f"plain bytes, {data[:_SHOWN_BYTES]!r}")
        self.data = data[:_SHOWN_BYTES]


class NothingSentError(ConnectionError):
    """A client has sent nothing, so it is unknown whether its connection uses TLS.

    Attributes:
        is_gone: whether the client has closed the connection.
    """

    def __init__(self, message: str, *, is_gone: bool) -> None:
        super().__init__(message)
        self.is_gone = is_gone


def cause_of(error: BaseException, timeout_ms: int) -> str:
    """Return the reason why a handshake failed, as the end of a sentence in the log."""
    if isinstance(error, PlainBytesError):
        return (
            f"plain bytes arrive on the TLS port; the first are {error.data!r}. The client must use"
            " TLS, or connect to clientPort"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return _BY_REASON["CERTIFICATE_VERIFY_FAILED"].format(detail=_advice(error.verify_message))
    if isinstance(error, ssl.SSLError):
        known = _BY_REASON.get(getattr(error, "reason", None) or "")
        return f"OpenSSL reports: {error}" if known is None else known
    if isinstance(error, ConnectionAbortedError | TimeoutError):
        return f"the client has not finished the handshake within {timeout_ms} ms"
    return "the client closed the connection during the handshake"


def _advice(verify_message: str) -> str:
    """Return OpenSSL's text; for an unknown CA, with the setting that the operator must check."""
    if "issuer" in verify_message or "self-signed" in verify_message:
        return (
            f"{verify_message} (unknown CA: ssl.trustStore.location does not contain the authority"
            " that signed the client's certificate)"
        )
    return verify_message


async def begins_with_tls(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, timeout_ms: int
) -> bool:
    """Return whether the first byte that a client sends begins a TLS handshake.

    The byte stays in the socket. Raises NothingSentError if no byte arrives within the timeout, or
    if the client closes the connection. This function closes the socket if it raises an exception.
    """
    try:
        sock.setblocking(False)
        await _until_readable(loop, sock, timeout_ms)
        return _first_byte_of(sock) == HANDSHAKE_RECORD
    except BaseException:
        sock.close()
        raise


def _first_byte_of(sock: socket.socket) -> int:
    """Return the first byte in a socket that is readable, without removing it."""
    try:
        first = sock.recv(1, socket.MSG_PEEK)
    except OSError as error:
        raise NothingSentError(str(error), is_gone=True) from error
    if not first:
        raise NothingSentError("the client has closed the connection", is_gone=True)
    return first[0]


async def _until_readable(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, timeout_ms: int
) -> None:
    """Wait until a socket has a byte or is closed; raises NothingSentError after the timeout."""
    readable = loop.create_future()
    descriptor = sock.fileno()
    loop.add_reader(descriptor, _set_done, readable)
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            await readable
    except TimeoutError:
        raise NothingSentError(
            f"the client has sent nothing within {timeout_ms} ms (nio.sessionlessCnxnTimeout)",
            is_gone=False,
        ) from None
    finally:
        loop.remove_reader(descriptor)


def _set_done(readable: "asyncio.Future[None]") -> None:
    if not readable.done():
        readable.set_result(None)


async def connect(
    loop: asyncio.AbstractEventLoop,
    protocol: asyncio.Protocol,
    sock: socket.socket,
    context: ssl.SSLContext,
    timeout_ms: int,
) -> None:
    """Do the TLS handshake of an accepted connection and connect its protocol.

    If the handshake fails, the client gets the TLS alert. Raises OSError (ssl.SSLError and
    TimeoutError are such errors) if it fails or takes longer than the timeout.
    """
    transport = TlsTransport(context, protocol, loop.create_future())
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            await loop.connect_accepted_socket(lambda: cast("asyncio.Protocol", transport), sock)
            await transport.settled
    except TimeoutError:
        if not transport.is_established:
            transport.abort()
            if transport.failure is None:
                raise
    except BaseException:
        transport.abort()
        raise
    if transport.is_established:
        return
    failure, transport.failure = transport.failure, None
    try:
        if transport.plain_bytes:
            raise PlainBytesError(transport.plain_bytes)
        if failure is None:
            raise ConnectionResetError("the client closed the connection during the handshake")
        raise failure
    finally:
        # The error refers to this frame. A reference cycle would keep the buffers of each failed
        # handshake until the next garbage collection.
        del failure
