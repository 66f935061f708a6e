"""The connection of a `Client`: a socket that one thread reads while others write.

Invariants: `send` never blocks; `receive` blocks at most for its time limit. Reading and writing at
the same time is allowed, closing too. This module imports no other module of the client.
"""

import contextlib
import select
import socket
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl

RECEIVE_BYTES: Final = 64 << 10
"""The longest read. glibc maps buffers of 128 KiB or more into memory for each read, and unmaps
them: with 256 KiB, a get took twice as long in most processes."""

TICK_S: Final = 0.05
"""The longest time for which a read without poll blocks."""

_TICK: Final = (0).to_bytes(8, "little") + (50_000).to_bytes(8, "little")
"""The packed ``struct timeval`` of TICK_S, for SO_RCVTIMEO on 64-bit systems."""


class Transport(ABC):
    """A connection."""

    @abstractmethod
    def send(self, data: bytes) -> int:
        """Send as much as possible without waiting; return the number of bytes."""

    @abstractmethod
    def receive(self, limit_s: float, *, is_writing: bool) -> bytes | None:
        """Return bytes, b"" at the end of the connection, or None if nothing came in time.

        With ``is_writing``, also return None as soon as more bytes can be sent.
        """

    @abstractmethod
    def fileno(self) -> int:
        """Return the descriptor, for poll."""

    def has_buffered(self) -> bool:
        """Return whether bytes can be read without reading the descriptor."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Close the connection; a thread that reads it gets b"" or OSError."""


class PlainTransport(Transport):
    """A connection without TLS.

    The socket blocks, with a timeout of the kernel. Python's own timeout would need one more system
    call for each read.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(True)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TICK)
        self._connection = connection
        self._receive = connection.recv

    def send(self, data: bytes) -> int:
        """Send as much as possible without waiting."""
        try:
            return self._connection.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def receive(self, limit_s: float, *, is_writing: bool) -> bytes | None:
        """Return bytes, b"" at the end, or None."""
        if is_writing or limit_s < TICK_S:
            poll = select.poll()
            poll.register(self._connection, select.POLLIN | (is_writing and select.POLLOUT))
            ready = poll.poll(max(0.0, limit_s) * 1000)
            if not any(event & ~select.POLLOUT for _, event in ready):
                return None
        try:
            return self._receive(RECEIVE_BYTES)
        except BlockingIOError:
            return None

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._connection.fileno()

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)  # wakes a thread that reads
        self._connection.close()


class TlsTransport(Transport):
    """A connection with TLS. OpenSSL's object must not be used by two threads at the same time."""

    def __init__(self, connection: "ssl.SSLSocket") -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, data: bytes) -> int:
        """Send as much as possible without waiting."""
        import ssl  # noqa: PLC0415 -- slow import

        with self._lock:
            try:
                return self._connection.send(data)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return 0

    def receive(self, limit_s: float, *, is_writing: bool) -> bytes | None:
        """Return bytes, b"" at the end, or None."""
        data = self._read()
        if data is None:
            poll = select.poll()
            poll.register(self._connection, select.POLLIN | (is_writing and select.POLLOUT))
            poll.poll(max(0.0, limit_s) * 1000)
            data = self._read()
        return data

    def _read(self) -> bytes | None:
        import ssl  # noqa: PLC0415 -- slow import

        with self._lock:
            try:
                return self._connection.recv(RECEIVE_BYTES)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return None
            except ssl.SSLZeroReturnError:
                return b""

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._connection.fileno()

    def has_buffered(self) -> bool:
        """Return whether OpenSSL has decrypted bytes."""
        return self._connection.pending() > 0

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def connect(host: str, port: int, limit_s: float, context: "ssl.SSLContext | None") -> Transport:
    """Open a connection; raises OSError."""
    connection = socket.create_connection((host, port), limit_s)
    try:
        if context is None:
            return PlainTransport(connection)
        return TlsTransport(context.wrap_socket(connection, server_hostname=host))
    except BaseException:
        connection.close()
        raise
