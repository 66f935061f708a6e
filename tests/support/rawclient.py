"""A client without manners: it sends the bytes that a test wants, and shows what comes back."""

import socket
from types import TracebackType
from typing import NamedTuple, Self

from zoolet.model.acl import OPEN_ACL, AclList
from zoolet.model.codes import OpCode
from zoolet.testing.received_requests.frames import REQUEST_HEADER
from zoolet.wire.frames import REPLY_HEADER_BYTES
from zoolet.wire.jute import INT, LONG, Reader, pack_acl, pack_buffer, pack_ustring

TIMEOUT_S = 10.0

END_OF_MULTI = INT.pack(-1) + b"\1" + INT.pack(-1)
"""The header that ends a multi, and the reply to one."""


class Connected(NamedTuple):
    """The answer to a connect request."""

    protocol_version: int
    timeout_ms: int
    session_id: int
    password: bytes
    rest: bytes


class RawReply(NamedTuple):
    """A frame, taken apart no further than its header."""

    xid: int
    zxid: int
    err: int
    body: bytes


def framed(content: bytes) -> bytes:
    """Return a frame as it is sent."""
    return INT.pack(len(content)) + content


def request_frame(xid: int, op_code: int, body: bytes = b"") -> bytes:
    """Return the frame of a request."""
    return framed(REQUEST_HEADER.pack(xid, op_code) + body)


def connect_frame(
    timeout_ms: int = 4000,
    session_id: int = 0,
    password: bytes = bytes(16),
    last_zxid: int = 0,
    read_only: bytes = b"\0",
) -> bytes:
    """Return the frame of a connect request."""
    return framed(
        INT.pack(0)
        + LONG.pack(last_zxid)
        + INT.pack(timeout_ms)
        + LONG.pack(session_id)
        + pack_buffer(password)
        + read_only
    )


def parse_reply(content: bytes) -> RawReply:
    """Take the content of a reply's frame apart."""
    reader = Reader(content)
    xid, zxid, err = reader.read_int(), reader.read_long(), reader.read_int()
    return RawReply(xid, zxid, err, content[REPLY_HEADER_BYTES:])


class RawClient:
    """A connection on which nothing happens by itself: no pings, no retries."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._received = b""
        self._xid = 0

    def send_frame(self, content: bytes) -> None:
        self.socket.sendall(framed(content))

    def read_frame(self) -> bytes:
        (size,) = INT.unpack(self._read(4))
        return self._read(size)

    @property
    def has_frame(self) -> bool:
        """Whether a complete frame has been received and not been read."""
        received = self._received
        return len(received) >= 4 and len(received) - 4 >= INT.unpack(received[:4])[0]

    def read_reply(self) -> RawReply:
        return parse_reply(self.read_frame())

    def connect(
        self,
        timeout_ms: int = 4000,
        session_id: int = 0,
        password: bytes = bytes(16),
        last_zxid: int = 0,
        read_only: bytes = b"\0",
    ) -> Connected:
        self.socket.sendall(connect_frame(timeout_ms, session_id, password, last_zxid, read_only))
        reader = Reader(self.read_frame())
        fields = (reader.read_int(), reader.read_int(), reader.read_long())
        password = reader.read_buffer() or b""
        return Connected(*fields, password, reader.data[reader.position :])

    def send(self, op_code: int, body: bytes = b"", xid: int | None = None) -> int:
        """Send a request without waiting; returns its xid."""
        if xid is None:
            self._xid += 1
            xid = self._xid
        self.socket.sendall(request_frame(xid, op_code, body))
        return xid

    def request(self, op_code: int, body: bytes = b"", xid: int | None = None) -> RawReply:
        sent = self.send(op_code, body, xid)
        reply = self.read_reply()
        assert reply.xid == sent
        return reply

    def create(
        self, path: str, data: bytes | None = b"", flags: int = 0, acl: AclList = OPEN_ACL
    ) -> RawReply:
        body = pack_ustring(path) + pack_buffer(data) + pack_acl(acl) + INT.pack(flags)
        return self.request(OpCode.CREATE, body)

    def is_closed_by_server(self) -> bool:
        """Wait for the end of the connection."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the server closed the connection")
            self._received += data
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()


def multi_body(parts: list[tuple[int, bytes]]) -> bytes:
    """Put operations behind their headers, and the header that ends them."""
    body = b"".join(INT.pack(op_code) + b"\0" + INT.pack(-1) + part for op_code, part in parts)
    return body + END_OF_MULTI
