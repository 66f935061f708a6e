"""TLS handshakes of clients.

Reports the reason of a failure in the server's log and to the client, and finds out whether a
client begins a handshake.

If a handshake fails, asyncio and uvloop close the connection without sending the TLS alert, so the
client does not learn the reason. ``ServerContext`` sends the alert. The server imports this module
only if it serves TLS.
"""

import asyncio
import contextlib
import contextvars
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, Self


class _Attempt:
    """One handshake: its socket, and the error that it failed with; None if it did not fail."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.failure: ssl.SSLError | None = None


_CURRENT: Final[contextvars.ContextVar[_Attempt | None]] = contextvars.ContextVar(
    "zoolet_handshake", default=None
)
"""The handshake in progress. Transports run their callbacks in the context of the task that created
them, so each task has its own value."""

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

_HANDSHAKE_RECORD: Final = 22
"""The first byte of every TLS connection (RFC 8446, section 5.1)."""

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


class _ServerSide(ssl.SSLObject):
    """The server's side of a TLS connection, which sends the alert of a failed handshake."""

    _attempt: _Attempt | None = None
    _incoming: ssl.MemoryBIO
    _outgoing: ssl.MemoryBIO
    _has_begun = False

    def watch(
        self,
        attempt: _Attempt | None,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
    ) -> Self:
        """Set the handshake, and the buffers from which OpenSSL reads and to which it writes."""
        self._attempt, self._incoming, self._outgoing = attempt, incoming, outgoing
        return self

    def _look_at_first_byte(self) -> None:
        """Raise PlainBytesError if the first byte is not TLS; OpenSSL would wait for five bytes."""
        if not self._has_begun and self._incoming.pending:
            self._has_begun = True
            data = self._incoming.read()
            self._incoming.write(data)
            if data[0] != _HANDSHAKE_RECORD:
                raise PlainBytesError(data)

    def do_handshake(self) -> None:
        """Continue the handshake; if it fails, send the alert and raise the error."""
        try:
            self._look_at_first_byte()
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            attempt = self._attempt
            if attempt is not None and attempt.failure is None:
                attempt.failure = error
                # The transport is closed next and would drop the alert. If the socket's buffer is
                # full, the client does not get the alert.
                with contextlib.suppress(OSError):
                    attempt.socket.send(self._outgoing.read())
            raise


class ServerContext(ssl.SSLContext):
    """A TLS context for the secure port; create it with ``ssl.PROTOCOL_TLS_SERVER``."""

    sslobject_class = _ServerSide

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **kwargs: Any
    ) -> Any:
        """Return the server's side of a TLS connection (``ssl.SSLContext.wrap_bio``)."""
        wrapped: Any = super().wrap_bio(incoming, outgoing, *args, **kwargs)
        return wrapped.watch(_CURRENT.get(), incoming, outgoing)


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
        return _first_byte_of(sock) == _HANDSHAKE_RECORD
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
    new_protocol: Callable[[], asyncio.BaseProtocol],
    sock: socket.socket,
    context: ssl.SSLContext,
    timeout_ms: int,
) -> None:
    """Do the TLS handshake of an accepted connection and connect its protocol.

    Raises OSError (ssl.SSLError is one) if the handshake fails or takes longer than the timeout.
    """
    attempt = _Attempt(sock)
    _CURRENT.set(attempt)
    try:
        await loop.connect_accepted_socket(
            new_protocol, sock, ssl=context, ssl_handshake_timeout=timeout_ms / 1000
        )
    except OSError:
        failure, attempt.failure = attempt.failure, None
        if failure is None:
            raise
        try:
            raise failure from None
        finally:
            # The error refers to this frame. A reference cycle would keep the buffers of each
            # failed handshake (256 KB) until the next garbage collection.
            del failure
