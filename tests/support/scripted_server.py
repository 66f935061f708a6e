"""A server that does what a test says: it accepts, grants sessions, and sends frames."""

import contextlib
import queue
import socket
import threading
from types import TracebackType
from typing import NamedTuple, Self

from tests.support.rawclient import framed
from tests.support.waiting import WAIT_S
from zoolet.model.codes import EventType, OpCode, Xid
from zoolet.testing.received_requests.frames import REQUEST_HEADER
from zoolet.wire.jute import INT, LONG, pack_buffer, pack_ustring

ADDRESS = "127.0.0.1"
STAT = bytes(68)
CONNECTED_STATE = 3


class Asked(NamedTuple):
    """The header of a request."""

    xid: int
    op_code: int


def reply_frame(xid: int, body: bytes = b"", err: int = 0, zxid: int = 1) -> bytes:
    """Return the frame of a reply."""
    return framed(INT.pack(xid) + LONG.pack(zxid) + INT.pack(err) + body)


def data_frame(xid: int, data: bytes = b"") -> bytes:
    """Return the frame of a reply to getData."""
    return reply_frame(xid, pack_buffer(data) + STAT)


def event_frame(event: EventType, path: str) -> bytes:
    """Return the frame of a watch event."""
    body = INT.pack(event.value) + INT.pack(CONNECTED_STATE) + pack_ustring(path)
    return reply_frame(Xid.NOTIFICATION.value, body, zxid=-1)


class Accepted:
    """One connection of a client."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(WAIT_S)
        self.socket = connection
        self._stream = connection.makefile("rb")

    def read_frame(self) -> bytes:
        """Return the content of the next frame; b"" at the end of the connection."""
        length = self._stream.read(4)
        return self._stream.read(INT.unpack(length)[0]) if len(length) == 4 else b""

    def grant(self, *, session_id: int = 7, timeout_ms: int = 600_000) -> None:
        """Read the request for a session, and grant it; session_id 0 says that it has expired."""
        assert self.read_frame()
        granted = INT.pack(0) + INT.pack(timeout_ms) + LONG.pack(session_id)
        self.send(framed(granted + pack_buffer(bytes(16)) + b"\0"))

    def request(self) -> Asked:
        """Return the next request that is no ping; it replies to pings."""
        while True:
            frame = self.read_frame()
            assert frame, "the client closed the connection"
            asked = Asked(*REQUEST_HEADER.unpack_from(frame))
            if asked.op_code != OpCode.PING.value:
                return asked
            self.send(reply_frame(Xid.PING.value))

    def send(self, *frames: bytes) -> None:
        """Send frames, in one piece."""
        self.socket.sendall(b"".join(frames))

    def serve(self) -> None:
        """Reply to each getData and closeSession until the end of the connection."""
        with contextlib.suppress(OSError, ValueError, AssertionError):
            while True:
                asked = self.request()
                is_close = asked.op_code == OpCode.CLOSE_SESSION.value
                self.send(reply_frame(asked.xid) if is_close else data_frame(asked.xid))

    def cut(self) -> None:
        """End the connection, also if another thread uses it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self._stream.close()
        self.socket.close()


class ScriptedServer:
    """Accepts connections, which the test takes with `next`.

    Attributes:
        hosts: the address to which a client connects.
        accepted_count: how many connections it has accepted.
    """

    def __init__(self, *, closes_at_once: bool = False) -> None:
        self._closes_at_once = closes_at_once
        self._listener = socket.create_server((ADDRESS, 0))
        self.hosts = f"{ADDRESS}:{self._listener.getsockname()[1]}"
        self.accepted_count = 0
        self._waiting: queue.Queue[Accepted] = queue.Queue()
        self._all: list[Accepted] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def next(self) -> Accepted:
        """Return the next connection."""
        return self._waiting.get(timeout=WAIT_S)

    def granted(self, **grant: int) -> Accepted:
        """Return the next connection, with a session."""
        connection = self.next()
        connection.grant(**grant)
        return connection

    def serve_all(self) -> None:
        """Grant each connection a session and serve it, in threads."""

        def serve(connection: Accepted) -> None:
            with contextlib.suppress(OSError, ValueError, AssertionError):
                connection.grant()
                connection.serve()

        def take() -> None:
            while True:
                connection = self._waiting.get()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=take, daemon=True).start()

    def cut(self) -> None:
        """Close all connections; new ones are accepted."""
        for connection in tuple(self._all):  # the next one comes at once
            connection.cut()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(WAIT_S)
        for connection in self._all:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted_count += 1
            if self._closes_at_once:
                connection.close()
                continue
            self._all.append(Accepted(connection))
            self._waiting.put(self._all[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
