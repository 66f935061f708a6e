"""Which connections are accepted, and how many there are.

Counts a connection from its accept to the close of its socket, so a TLS handshake, a connection
without a session and a half-open connection count like any other. Keeps descriptors free for the
server's own files: POSIX gives a new socket the lowest free number, so a socket with a number in
the reserved range shows that everything below is taken.

Invariant: every ``enter`` is followed by exactly one ``leave``; when all sockets are closed, all
counts are zero.
"""

import asyncio
import fcntl
import resource
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from zoolet.model.addresses import format_address

FILE_DESCRIPTORS: Final = 32
"""Descriptors that no connection can take: for logs, snapshots, directories and pid files."""

OPERATOR_DESCRIPTORS: Final = 16
"""More descriptors that no client can take, so that an operator can look at a full server."""

OPERATOR_CONNECTIONS: Final = 100
"""The most connections to the admin endpoint, and to the metrics endpoint."""

_FULL_RESERVE_FROM: Final = 256
"""A process that may open fewer descriptors reserves fewer, in proportion."""

_TCP_INFO: Final = struct.Struct("=24xI92xQ16xI")
"""Of Linux's ``struct tcp_info``: tcpi_unacked, tcpi_bytes_acked, tcpi_notsent_bytes."""

_TCP_INFO_OPTION: Final[int | None] = getattr(socket, "TCP_INFO", None)

_SIOCOUTQ: Final[int | None] = 0x5411 if sys.platform == "linux" else None
"""Of Linux's ``linux/sockios.h``: asks how many bytes the peer has not acknowledged."""

_NONE_QUEUED: Final = bytes(4)

_LEAST_UNCONFIRMED_BYTES: Final = 16 << 10
"""A client of which less may be unread is not looked at. Every client's kernel takes more than this
of what it has not read, so more than this was sent to any client that keeps the server waiting."""

_FULL: Final = "refusing the %s of %s: there are %d already (%s)"
_FULL_ADDRESS: Final = "refusing the %s of %s: its address has %d already (maxClientCnxns)"
_NO_DESCRIPTORS: Final = (
    "refusing the %s of %s: the file descriptors are used up. %d of %d are reserved for the"
    " server's own files. Allow the server more (ulimit -n, or LimitNOFILE in a systemd unit), or"
    " fewer connections (maxCnxns, maxClientCnxns)"
)


class Waiting(NamedTuple):
    """What a client has not read yet.

    Attributes:
        size_bytes: about how much waits, in the server's buffer and the kernel's; 0 is nothing.
        progress: a number that changes whenever the client's kernel takes some of it.
    """

    size_bytes: int
    progress: int


class Limits(NamedTuple):
    """How many connections there may be.

    Attributes:
        max_connections: in all; 0 is any number.
        max_per_address: of one address; 0 is any number.
        reserved_descriptors: how many descriptors these connections have to leave free.
        name: what the connections are, for the log.
        setting: what sets max_connections, for the log.
    """

    max_connections: int
    max_per_address: int
    reserved_descriptors: int
    name: str = "connection"
    setting: str = "maxCnxns"


class ClientSide(Protocol):
    """A client's connection, as far as an admission knows it."""

    is_open: bool
    unconfirmed_bytes: int
    """How much was sent since the client was last seen to have read everything."""

    @property
    def session(self) -> object | None:
        """What the client connected to; None before."""

    @property
    def peer(self) -> str:
        """The client's address and port, as logs show them."""

    @property
    def is_answering(self) -> bool:
        """Whether the answer to a four-letter word is on its way."""

    @property
    def unsent_bytes(self) -> int:
        """The number of bytes that the client has not taken, as far as this process knows."""


class AcceptedSocket:
    """One connection, from its accept to the close of its socket.

    Attributes:
        socket: the socket; a transport owns it once the connection is open.
        address: the peer's address, without the port.
        accepted_ms: when it was accepted, on the clock that only rises.
        transport: what the protocol writes to; None until the connection is open (during a TLS
            handshake, for example).
        connection: a client's connection; None for an operator's.
        is_aborted: whether ``abort`` was called; the event loop closes the socket soon.
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
        self.address = sys.intern(address[0])  # many connections may have it
        self._peer = f"/{format_address(*address[:2])}"
        self.accepted_ms = now_ms
        self.transport: asyncio.Transport | None = None
        self.connection: ClientSide | None = None
        self.is_aborted = False
        self._admission = admission

    @property
    def is_counted(self) -> bool:
        """Whether it has not left the admission yet."""
        return self in self._admission.open

    @property
    def peer(self) -> str:
        """The peer's address and port, as logs show them."""
        return self._peer if self._peer or self.connection is None else self.connection.peer

    @property
    def is_sessionless(self) -> bool:
        """Whether a client could still open a session here, and has not.

        False while a four-letter word is answered, and when the connection is finished: then only
        its bytes have to leave, and a client may read them slowly.
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
        """Whether enough was sent that some of it may keep the server waiting."""
        connection = self.connection
        return connection is None or connection.unconfirmed_bytes >= _LEAST_UNCONFIRMED_BYTES

    def opened(self, transport: asyncio.Transport) -> None:
        """Note that the protocol has its transport: from now on ``closed`` is called by it."""
        self.transport = transport

    def known_to_connection(self) -> None:
        """Note that the connection can name its peer, so that the name is not kept twice."""
        self._peer = ""

    def closed(self) -> None:
        """Note that the connection is gone; a second call does nothing."""
        if self.is_counted:
            self._admission.leave(self)
        self.transport = self.connection = None

    def abort(self) -> None:
        """Close it now, whatever waits to be sent."""
        if self.transport is not None:
            self.is_aborted = True
            self.transport.abort()

    def has_read_all(self) -> bool:
        """Say whether nothing waits for the client; False where the system does not say.

        It costs a fifth of ``waiting``. If bytes wait in this process, some wait in the kernel.
        """
        try:
            has_read_all = (
                _SIOCOUTQ is not None
                and fcntl.ioctl(self.socket, _SIOCOUTQ, _NONE_QUEUED) == _NONE_QUEUED
            )
        except (OSError, ValueError):
            return False  # it is closed
        if has_read_all and self.connection is not None:
            self.connection.unconfirmed_bytes = 0
        return has_read_all

    def waiting(self) -> Waiting:
        """Return how much the client has not read.

        On Linux the kernel says what the client's kernel has acknowledged. Elsewhere only the
        server's own buffer is known; it changes in large steps.
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
        return Waiting(buffer_bytes + unsent_bytes + unacked_segments, acked_bytes)


class Admission:
    """The connections of one kind: those of clients, or those of one operators' endpoint.

    Attributes:
        open: those that are accepted and not closed, in the order in which they came.
        recent: those whose time to open a session may still run, in the same order; only
            ``IdleConnections`` removes from it.
        per_address: how many each address has; an address without any is not in it.
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
        """Return why a new socket is refused, as a log message; None if it is accepted."""
        limits = self._limits
        if 0 < limits.max_connections <= len(self.open):
            return _FULL, (limits.name, address, limits.max_connections, limits.setting)
        if 0 < limits.max_per_address <= self.per_address.get(address, 0):
            return _FULL_ADDRESS, (limits.name, address, limits.max_per_address)
        # The process's limit is asked for only if it matters: this is done for each connection.
        if fileno < self._first_reserved:
            return None
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if most == resource.RLIM_INFINITY:
            return None
        reserved = limits.reserved_descriptors * min(most, _FULL_RESERVE_FROM) // _FULL_RESERVE_FROM
        self._first_reserved = most - reserved
        if fileno < self._first_reserved:
            return None
        return _NO_DESCRIPTORS, (limits.name, address, reserved, most)

    def enter(self, sock: socket.socket, address: tuple[str, int]) -> AcceptedSocket:
        """Count a connection."""
        now_ms = self._now_ms()
        if now_ms != self._newest_ms:
            self._newest_ms = now_ms
        # Connections that come together share the number, which is an object of 32 bytes.
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
        """Count a connection no longer."""
        del self.open[accepted]
        left = self.per_address[accepted.address] - 1
        if left:
            self.per_address[accepted.address] = left
        else:
            del self.per_address[accepted.address]
