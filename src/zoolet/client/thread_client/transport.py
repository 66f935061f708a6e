"""The connection of a `Client`: a socket that one thread reads while others write.

Invariants: `send` never blocks; `receive` blocks at most for its time limit. Reading and writing at
the same time is allowed, `abort` too. Only the thread that reads calls `close`: otherwise it could
read from another descriptor with the same number. Of the client, this module imports
only `polling.py`.
"""

import contextlib
import errno
import os
import socket
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from zoolet.client.thread_client.polling import POLLIN, POLLOUT, new_poll

if TYPE_CHECKING:
    import ssl

RECEIVE_BYTES: Final = 64 << 10
"""The longest read. glibc maps buffers of 128 KiB or more into memory for each read, and unmaps
them: with 256 KiB, a get took twice as long in most processes."""

TICK_S: Final = 0.05
"""The longest time for which a read without poll blocks."""

_TICK: Final = (0).to_bytes(8, "little") + (50_000).to_bytes(8, "little")
"""The packed ``struct timeval`` of TICK_S, for SO_RCVTIMEO on 64-bit systems."""


_HAS_TIMEOUTS: Final = sys.platform != "win32"
"""Whether the timeout of the kernel has this form, and a single send can be without waiting."""

_DONT_WAIT: Final = socket.MSG_DONTWAIT if sys.platform != "win32" else 0


class Transport(ABC):
    """A connection.

    Attributes:
        is_aborted: whether it was aborted, so that nothing can be sent any more.
        receive_bytes: the longest read.
    """

    is_aborted = False
    receive_bytes = RECEIVE_BYTES

    @abstractmethod
    def send(self, data: bytes) -> int:
        """Send as much as possible without waiting; return the number of bytes.

        The next call must begin with the bytes that were not sent: TLS may have encrypted them.
        """

    @abstractmethod
    def receive(self, limit_s: float, *, is_writing: bool) -> bytes | None:
        """Return bytes, b"" at the end of the connection, or None if nothing came in time.

        With ``is_writing``, also return None as soon as more bytes can be sent.
        """

    @abstractmethod
    def fileno(self) -> int:
        """Return the descriptor, for poll."""

    @abstractmethod
    def peer(self) -> str:
        """Return the IP address of the server. Raises OSError."""

    def has_buffered(self) -> bool:
        """Return whether bytes can be read without reading the descriptor."""
        return False

    @abstractmethod
    def abort(self) -> None:
        """End the connection; the thread that reads it gets b"" or OSError, and closes it."""

    @abstractmethod
    def close(self) -> None:
        """End the connection and free its descriptor."""


class PlainTransport(Transport):
    """A connection without TLS.

    The socket blocks, with a timeout of the kernel. Python's own timeout would need one more system
    call for each read.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(_HAS_TIMEOUTS)
        if _HAS_TIMEOUTS:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TICK)
        self._connection = connection
        self._receive = connection.recv

    def send(self, data: bytes) -> int:
        """Send as much as possible without waiting."""
        try:
            return self._connection.send(data, _DONT_WAIT)
        except BlockingIOError:
            return 0

    def receive(self, limit_s: float, *, is_writing: bool) -> bytes | None:
        """Return bytes, b"" at the end, or None."""
        if is_writing or limit_s < TICK_S or not _HAS_TIMEOUTS:
            poll = new_poll()
            poll.register(self._connection, POLLIN | (is_writing and POLLOUT))
            ready = poll.poll(max(0.0, limit_s) * 1000)
            if not any(event & ~POLLOUT for _, event in ready):
                return None
        try:
            return self._receive(self.receive_bytes)
        except BlockingIOError:
            return None

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._connection.fileno()

    def peer(self) -> str:
        """Return the IP address of the server."""
        return str(self._connection.getpeername()[0])

    def abort(self) -> None:
        """End the connection."""
        self.is_aborted = True
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)  # wakes a thread that reads

    def close(self) -> None:
        """End the connection and free its descriptor."""
        self.abort()
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
            poll = new_poll()
            poll.register(self._connection, POLLIN | (is_writing and POLLOUT))
            poll.poll(max(0.0, limit_s) * 1000)
            data = self._read()
        return data

    def _read(self) -> bytes | None:
        import ssl  # noqa: PLC0415 -- slow import

        with self._lock:
            try:
                return self._connection.recv(self.receive_bytes)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return None
            except ssl.SSLZeroReturnError:
                return b""

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._connection.fileno()

    def peer(self) -> str:
        """Return the IP address of the server."""
        return str(self._connection.getpeername()[0])

    def has_buffered(self) -> bool:
        """Return whether OpenSSL has decrypted bytes."""
        with self._lock:
            return self._connection.pending() > 0

    def abort(self) -> None:
        """End the connection."""
        self.is_aborted = True
        # SSLSocket.shutdown would also end the encryption: a thread that sends at the same time
        # would send without it.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection and free its descriptor."""
        self.abort()
        with self._lock:
            self._connection.close()


def connect(
    host: str,
    port: int,
    limit_s: float,
    context: "ssl.SSLContext | None",
    check: Callable[[], None],
) -> Transport:
    """Open a connection.

    Calls ``check`` often while it waits; an exception of ``check`` ends the wait.

    Raises:
        TimeoutError: there is no connection within ``limit_s``.
        OSError: the connection was refused, the host name is not known, or TLS failed.
        UnicodeError: the host name has other letters than ASCII, and cannot be encoded.
    """
    end_s = time.monotonic() + limit_s
    # As bytes, an ASCII name needs no IDNA encoding, whose tables take 0.7 MB.
    name = host.encode() if host.isascii() else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    failure: OSError | None = None
    for tried, (family, kind, protocol, _, address) in enumerate(found):
        connection = socket.socket(family, kind, protocol)
        try:
            # Each address of the host gets the same part of the time that is left.
            share_s = (end_s - time.monotonic()) / (len(found) - tried)
            waits = _Waits(time.monotonic() + share_s, check)
            connection.setblocking(False)
            _open(connection, address, waits)
            if context is None:
                return PlainTransport(connection)
            connection = context.wrap_socket(
                connection, server_hostname=host, do_handshake_on_connect=False
            )
            _shake_hands(connection, waits)
            return TlsTransport(connection)
        except OSError as error:
            failure = error
            connection.close()
        except BaseException:
            connection.close()
            raise
    raise failure or OSError("the host has no address")


class _Waits:
    """Waits for a descriptor until a time."""

    def __init__(self, end_s: float, check: Callable[[], None]) -> None:
        self._end_s = end_s
        self._check = check

    def until_ready(self, connection: socket.socket, wanted: int) -> None:
        """Raises TimeoutError at the end of the time."""
        poll = new_poll()
        poll.register(connection, wanted)
        while not poll.poll(TICK_S * 1000):
            self._check()
            if time.monotonic() >= self._end_s:
                raise TimeoutError


def _open(connection: socket.socket, address: object, waits: _Waits) -> None:
    code = connection.connect_ex(address)  # type: ignore[arg-type]
    if code in {errno.EINPROGRESS, errno.EWOULDBLOCK}:
        waits.until_ready(connection, POLLOUT)
        code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _shake_hands(connection: "ssl.SSLSocket", waits: _Waits) -> None:
    import ssl  # noqa: PLC0415 -- slow import

    while True:
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            waits.until_ready(connection, POLLIN)
        except ssl.SSLWantWriteError:
            waits.until_ready(connection, POLLOUT)
        else:
            return
