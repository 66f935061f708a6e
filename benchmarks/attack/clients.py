"""The attackers' connections: they send bytes that are ready, and count what is answered.

Both are cheap on purpose: the attackers share two processors with the server and the bystander.
"""

import contextlib
import selectors
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Self

from benchmarks.attack import wire

SESSION_TIMEOUT_MS: Final = 15_000

_CONNECT_TIMEOUT_S: Final = 60.0
_READ_BYTES: Final = 1 << 18
_SEND_BYTES: Final = 1 << 16
_POLL_S: Final = 0.5


class Replies:
    """Counts frames in a stream of bytes.

    Attributes:
        events: how many were watch events.
        errors: how many replies had each error code; 0 is success.
    """

    def __init__(self) -> None:
        self.events = 0
        self.errors: Counter[int] = Counter()
        self._head = b""
        self._skip = 0

    @property
    def count(self) -> int:
        """How many replies have begun to arrive."""
        return self.errors.total()

    @property
    def is_whole(self) -> bool:
        """Whether no frame has arrived in part."""
        return not self._skip and not self._head

    def feed(self, data: bytes) -> None:
        """Count what has arrived."""
        if self._skip >= len(data):
            self._skip -= len(data)
            return
        if self._head:
            data = self._head + data
            self._head = b""
        at, size = self._skip, len(data)
        header = wire.REPLY_HEADER
        while at + header.size <= size:
            length, xid, _, err = header.unpack_from(data, at)
            if xid == -1:
                self.events += 1
            else:
                self.errors[err] += 1
            at += 4 + length
        if at < size:
            self._head = data[at:]
            self._skip = 0
        else:
            self._skip = at - size


class Client:
    """A connection with a session.

    Attributes:
        socket: it.
        session: its session; None if it was made without one.
        replies: what has arrived after the session was granted.
        is_closed: whether the server has closed it.
    """

    def __init__(
        self,
        port: int,
        *,
        address: str = "127.0.0.1",
        timeout_ms: int = SESSION_TIMEOUT_MS,
        has_session: bool = True,
    ) -> None:
        """Connect from a local address; raises OSError or EOFError."""
        self.socket = socket.create_connection(
            ("127.0.0.1", port), _CONNECT_TIMEOUT_S, source_address=(address, 0)
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies = Replies()
        self.is_closed = False
        self.session = wire.connect(self.socket, timeout_ms) if has_session else None
        self._xid = 0

    def next_xid(self) -> int:
        """Return a number for the next request."""
        self._xid += 1
        return self._xid

    def ask(self, op_code: int, body: bytes = b"") -> tuple[int, bytes]:
        """Send a request, wait for its reply; returns its error code and body.

        Raises OSError or EOFError.
        """
        xid = self.next_xid()
        self.socket.settimeout(_CONNECT_TIMEOUT_S)
        self.socket.sendall(wire.request(xid, op_code, body))
        while True:
            frame = wire.read_frame(self.socket)
            answered, _, err = struct.unpack_from(">iqi", frame)
            if answered == xid:
                return err, frame[16:]

    def take(self) -> int:
        """Read what is there without waiting; returns how many bytes that was."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if not data:
            self.is_closed = True
        self.replies.feed(data)
        return len(data)

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Load:
    """Bytes for one client to send, and how many replies end its work."""

    def __init__(self, client: Client, requests: Iterable[bytes], replies: int = -1) -> None:
        """Send these requests; ``replies`` is how many come, -1: one for each request."""
        parts = list(requests)
        self.client = client
        self.expected = client.replies.count + (len(parts) if replies < 0 else replies)
        self._unsent = memoryview(b"".join(parts))

    @property
    def has_unsent(self) -> bool:
        """Whether there is something to send."""
        return len(self._unsent) > 0

    @property
    def is_done(self) -> bool:
        """Whether everything is sent and answered, or never will be."""
        client = self.client
        answered = client.replies.count >= self.expected and client.replies.is_whole
        return client.is_closed or (answered and not self._unsent)

    def send(self) -> None:
        """Send what the socket takes."""
        try:
            sent = self.client.socket.send(self._unsent[:_SEND_BYTES])
        except BlockingIOError:
            return
        except OSError:
            self.client.is_closed = True
            return
        self._unsent = self._unsent[sent:]


def send_and_read(loads: Sequence[Load], deadline_s: float, *, reads: bool = True) -> None:
    """Send all loads at once, and read the replies, until all are done or the deadline is over.

    With ``reads`` False nothing is read, and it returns when nothing more can be sent.
    """
    with selectors.DefaultSelector() as selector:
        open_loads = set()
        for load in loads:
            if not load.is_done and not load.client.is_closed:
                load.client.socket.setblocking(False)
                selector.register(load.client.socket, _wanted(load, reads=reads), load)
                open_loads.add(load)
        while open_loads and time.monotonic() < deadline_s:
            ready = selector.select(_POLL_S)
            if not ready and not reads:
                return
            for key, mask in ready:
                load = key.data
                if mask & selectors.EVENT_READ:
                    load.client.take()
                if mask & selectors.EVENT_WRITE:
                    load.send()
                if load.is_done or (not reads and not load.has_unsent):
                    selector.unregister(load.client.socket)
                    open_loads.discard(load)
                elif mask & selectors.EVENT_WRITE and not load.has_unsent:
                    selector.modify(load.client.socket, selectors.EVENT_READ, load)


def _wanted(load: Load, *, reads: bool) -> int:
    wanted = selectors.EVENT_READ if reads else 0
    return wanted | (selectors.EVENT_WRITE if load.has_unsent else 0)


def reset(port: int, address: str = "127.0.0.1") -> None:
    """Connect, and reset the connection at once."""
    with contextlib.suppress(OSError):
        connection = socket.create_connection(
            ("127.0.0.1", port), _CONNECT_TIMEOUT_S, source_address=(address, 0)
        )
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
