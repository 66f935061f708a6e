"""Decides which connections are accepted, and counts the open connections.

A connection counts from its accept to the close of its socket. So a TLS handshake, a connection
without a session and a half-open connection count like any other connection. This module also keeps
the highest file descriptors free for the server's own files. POSIX gives a new socket the lowest
free number. So if a socket gets one of the highest numbers, all lower numbers are in use, and the
server refuses the connection.

Invariant: every ``enter`` is followed by exactly one ``leave``; when all sockets are closed, all
counts are zero.
"""

import asyncio
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from zoolet.model.addresses import format_address
from zoolet.process import descriptors

if sys.platform != "win32":
    import fcntl

FILE_DESCRIPTORS: Final = 32
"""The number of descriptors that no connection can use: for logs, snapshots, directories and pid
files."""

OPERATOR_DESCRIPTORS: Final = 16
"""The number of further descriptors that no client can use, so that operators can always connect
to the admin endpoint and the metrics endpoint."""

OPERATOR_CONNECTIONS: Final = 100
"""The maximum number of connections to the admin endpoint and the metrics endpoint together."""

_FULL_RESERVE_FROM: Final = 256
"""If the process may open fewer descriptors than this, it keeps proportionally fewer free."""

_TCP_INFO: Final = struct.Struct("=24xI92xQ16xI")
"""The fields tcpi_unacked, tcpi_bytes_acked and tcpi_notsent_bytes of Linux's ``tcp_info``."""

_TCP_INFO_OPTION: Final[int | None] = (
    getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
)
"""None on systems without Linux's ``tcp_info``; FreeBSD has one with other fields."""

_SIOCOUTQ: Final[int | None] = 0x5411 if sys.platform == "linux" else None
"""From Linux's ``linux/sockios.h``: returns the number of bytes that the peer has not
acknowledged."""

_NONE_QUEUED: Final = bytes(4)

_LEAST_UNCONFIRMED_BYTES: Final = 16 << 10
"""The server checks whether a client reads only after it has sent this many bytes since the client
had last read everything. The kernel of every client buffers more bytes than this. So if bytes wait
in the server because a client does not read, the server has sent more than this to the client."""

_FULL: Final = "refusing the %s of %s: the server has %d already (%s)"
_FULL_ADDRESS: Final = "refusing the %s of %s: its address has %d already (maxClientCnxns)"
_NO_DESCRIPTORS: Final = (
    "refusing the %s of %s: the file descriptors are used up. %d of %d are reserved for the"
    " server's own files. Raise the limit (ulimit -n, or LimitNOFILE in a systemd unit), or allow"
    " fewer connections (maxCnxns, maxClientCnxns)"
)


class Waiting(NamedTuple):
    """The bytes that a client has not read yet.

    Attributes:
        size_bytes: the approximate number of bytes in the buffers of the server and its kernel; 0
            if no bytes wait.
        progress: a number that changes whenever the client's kernel receives some of the bytes.
    """

    size_bytes: int
    progress: int


class Limits(NamedTuple):
    """The limits of the number of connections.

    Attributes:
        max_connections: the maximum number of connections; 0 means no limit.
        max_per_address: the maximum number of connections of one address; 0 means no limit.
        reserved_descriptors: the number of descriptors that these connections must leave free.
        name: the name of these connections, for the log.
        setting: the name of the setting for max_connections, for the log.
    """

    max_connections: int
    max_per_address: int
    reserved_descriptors: int
    name: str = "connection"
    setting: str = "maxCnxns"


class ClientSide(Protocol):
    """The interface of a client's connection that an admission uses."""

    is_open: bool
    unconfirmed_bytes: int
    """The number of bytes sent since the last check at which the client had read everything."""

    @property
    def session(self) -> object | None:
        """The client's session; None until the client has opened or resumed a session."""

    @property
    def peer(self) -> str:
        """The client's address and port, as logs show them."""

    @property
    def is_answering(self) -> bool:
        """Whether the answer to a four-letter word is being sent."""

    @property
    def unsent_bytes(self) -> int:
        """The number of bytes in this process that are not sent to the client yet."""


class AcceptedSocket:
    """One connection, from its accept to the close of its socket.

    Attributes:
        socket: the socket; a transport owns the socket when the connection is open.
        address: the peer's address, without the port.
        accepted_ms: the time of the accept, on the monotonic clock.
        transport: the transport of the connection; None until the connection is open (for example
            during a TLS handshake), and after its end.
        connection: the client's connection; None for an operator's connection.
        is_aborted: whether ``abort`` was called; then the event loop closes the socket soon.
    """

    __slots__ = (
        "_admission",
        "_peer",
        "accepted_ms",
        "address",
        "connection",
        "is_aborted",
        "socket",
        "transport",
    )

    def __init__(
        self, admission: "Admission", sock: socket.socket, address: tuple[str, int], now_ms: int
    ) -> None:
        self.socket = sock
        self.address = sys.intern(address[0])  # many connections may have the same address
        self._peer = f"/{format_address(*address[:2])}"
        self.accepted_ms = now_ms
        self.transport: asyncio.Transport | None = None
        self.connection: ClientSide | None = None
        self.is_aborted = False
        self._admission = admission

    @property
    def is_counted(self) -> bool:
        """Whether the connection still counts in its admission."""
        return self in self._admission.open

    @property
    def peer(self) -> str:
        """The peer's address and port, as logs show them."""
        return self._peer if self._peer or self.connection is None else self.connection.peer

    @property
    def is_sessionless(self) -> bool:
        """Whether the client can still open a session on this connection, and has not opened one.

        False while a four-letter word is answered, and after the connection is finished: then the
        server only sends the remaining bytes, and the client may read them slowly.
        """
        connection = self.connection
        return (
            connection is not None
            and connection.is_open
            and connection.session is None
            and not connection.is_answering
        )

    @property
    def may_be_unread(self) -> bool:
        """Whether the client may still have a significant number of unread bytes."""
        connection = self.connection
        return connection is None or connection.unconfirmed_bytes >= _LEAST_UNCONFIRMED_BYTES

    def opened(self, transport: asyncio.Transport) -> None:
        """Set the transport; from now on, the protocol must call ``closed`` at the end."""
        self.transport = transport

    def known_to_connection(self) -> None:
        """Forget the text of the peer's address, to save memory: the connection has it now."""
        self._peer = ""

    def closed(self) -> None:
        """Remove the closed connection from the counts; a second call does nothing."""
        if self.is_counted:
            self._admission.leave(self)
        self.transport = self.connection = None

    def abort(self) -> None:
        """Close the connection now, without sending the remaining bytes."""
        if self.transport is not None:
            self.is_aborted = True
            self.transport.abort()

    def has_read_all(self) -> bool:
        """Return whether the client has read all bytes; False if the system cannot tell.

        This check of the kernel's buffer takes a fifth of the time of ``waiting``. It is
        sufficient: if bytes wait in this process, other bytes wait in the kernel.
        """
        try:
            has_read_all = (
                _SIOCOUTQ is not None
                and fcntl.ioctl(self.socket, _SIOCOUTQ, _NONE_QUEUED) == _NONE_QUEUED
            )
        except (OSError, ValueError):
            return False  # the socket is closed
        if has_read_all and self.connection is not None:
            self.connection.unconfirmed_bytes = 0
        return has_read_all

    def waiting(self) -> Waiting:
        """Return the number of bytes that the client has not read, and its progress.

        On Linux, the kernel reports the bytes that the client's kernel has acknowledged. On other
        systems, only the size of the server's own buffer is known, which changes in large steps.
        This is also true for a kernel that fills ``tcp_info`` only in part, like that of gVisor: it
        reports that no bytes were acknowledged.
        """
        if self.transport is None:
            return Waiting(0, 0)
        connection = self.connection
        if connection is not None:
            buffer_bytes = connection.unsent_bytes
        else:
            buffer_bytes = self.transport.get_write_buffer_size()
        if _TCP_INFO_OPTION is None:
            return Waiting(buffer_bytes, buffer_bytes)
        try:
            info = self.socket.getsockopt(socket.IPPROTO_TCP, _TCP_INFO_OPTION, _TCP_INFO.size)
        except OSError:
            return Waiting(buffer_bytes, buffer_bytes)  # closed, or not TCP
        if len(info) < _TCP_INFO.size:
            return Waiting(buffer_bytes, buffer_bytes)  # an old kernel
        unacked_segments, acked_bytes, unsent_bytes = _TCP_INFO.unpack(info)
        progress = acked_bytes or buffer_bytes
        return Waiting(buffer_bytes + unsent_bytes + unacked_segments, progress)


class Admission:
    """The open connections of one kind: the connections of clients, or of operators.

    Attributes:
        open: the connections that are accepted and not closed, in the order of their accepts.
        recent: the connections that perhaps still have time to open a session, in the same order;
            only ``IdleConnections`` removes connections from this queue.
        per_address: the number of connections by address, without addresses that have none.
    """

    def __init__(
        self,
        limits: Limits,
        now_ms: Callable[[], int],
        count_refused: Callable[[int], None] | None = None,
    ) -> None:
        self.open: dict[AcceptedSocket, None] = {}
        self.recent: deque[AcceptedSocket] = deque()
        self.per_address: dict[str, int] = {}
        self._count_refused = count_refused
        self._first_reserved = 0
        self._limits = limits
        self._now_ms = now_ms
        self._newest_ms = 0

    def refusal(self, fileno: int, address: str) -> tuple[str, tuple[object, ...]] | None:
        """Return the log message for a refused socket; None if the socket is accepted.

        The message is a format string with its arguments.
        """
        limits = self._limits
        if 0 < limits.max_connections <= len(self.open):
            return _FULL, (limits.name, address, limits.max_connections, limits.setting)
        if 0 < limits.max_per_address <= self.per_address.get(address, 0):
            return _FULL_ADDRESS, (limits.name, address, limits.max_per_address)
        # Asking for the limit of the process is slow. So it is done only for high numbers.
        if fileno < self._first_reserved:
            return None
        most = descriptors.limit()
        if most is None:
            return None
        reserved = limits.reserved_descriptors * min(most, _FULL_RESERVE_FROM) // _FULL_RESERVE_FROM
        self._first_reserved = most - reserved
        if fileno < self._first_reserved:
            return None
        return _NO_DESCRIPTORS, (limits.name, address, reserved, most)

    def enter(self, sock: socket.socket, address: tuple[str, int]) -> AcceptedSocket:
        """Add a new connection to the counts."""
        now_ms = self._now_ms()
        if now_ms != self._newest_ms:
            self._newest_ms = now_ms
        # Connections of the same millisecond share one int object, to save 32 bytes each.
        accepted = AcceptedSocket(self, sock, address, self._newest_ms)
        self.open[accepted] = None
        self.per_address[accepted.address] = self.per_address.get(accepted.address, 0) + 1
        self.recent.append(accepted)
        return accepted

    def count_refused(self, count: int) -> None:
        """Count connections that were refused."""
        if self._count_refused is not None:
            self._count_refused(count)

    def leave(self, accepted: AcceptedSocket) -> None:
        """Remove a closed connection from the counts."""
        del self.open[accepted]
        left = self.per_address[accepted.address] - 1
        if left:
            self.per_address[accepted.address] = left
        else:
            del self.per_address[accepted.address]
