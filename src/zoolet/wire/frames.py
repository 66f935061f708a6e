"""Frames: the length-prefixed messages on a connection, and the header that each starts with.

Source: the original's ``NIOServerCnxn`` (frames), ``ConnectRequest``, ``ConnectResponse``,
``RequestHeader`` and ``ReplyHeader`` in ``zookeeper.jute``.
"""

import struct

from zoolet.model.requests import Connect
from zoolet.wire.jute import INT, MalformedError, Reader, pack_buffer

REQUEST_HEADER = struct.Struct(">ii")
"""xid and op code, with which every request after the first begins."""

REPLY_HEADER = struct.Struct(">iiqi")
"""Frame length, xid, zxid and error code, with which every reply begins."""

REPLY_HEADER_BYTES = REPLY_HEADER.size - INT.size
"""What the length of a reply without a body says."""

DEFAULT_MAX_FRAME_BYTES = 0xFFFFF
"""``jute.maxbuffer`` where it is not set."""


def split_frames(data: bytes, max_bytes: int) -> tuple[list[tuple[int, int]], int]:
    """Find the whole frames in ``data``.

    Returns the bounds of each frame's content, and where the rest that is not whole yet begins.
    Raises MalformedError at a length below 0 or above ``max_bytes``.
    """
    bounds: list[tuple[int, int]] = []
    position = 0
    size = len(data)
    read_length = INT.unpack_from
    while size - position >= 4:
        (length,) = read_length(data, position)
        if length < 0 or length > max_bytes:
            raise MalformedError(f"a frame of {length} bytes; jute.maxbuffer is {max_bytes}")
        start = position + 4
        position_after = start + length
        if position_after > size:
            break
        bounds.append((start, position_after))
        position = position_after
    return bounds, position


def decode_connect(data: bytes, start: int, end: int) -> Connect:
    """Read the first frame of a connection.

    Clients before 3.4 leave ``read_only`` out; so do some newer ones of other languages.
    """
    reader = Reader(data, start, end)
    protocol_version = reader.read_int()
    last_zxid_seen = reader.read_long()
    timeout_ms = reader.read_int()
    session_id = reader.read_long()
    password = reader.read_buffer() or b""
    has_read_only = reader.remaining >= 1
    read_only = reader.read_bool() if has_read_only else False
    return Connect(
        protocol_version,
        last_zxid_seen,
        timeout_ms,
        session_id,
        password,
        read_only,
        has_read_only,
    )


def encode_connected(
    timeout_ms: int, session_id: int, password: bytes, *, has_read_only: bool
) -> bytes:
    """Return the frame that answers a Connect; all zero where the session is over."""
    body = b"".join(
        (
            INT.pack(0),
            INT.pack(timeout_ms),
            session_id.to_bytes(8, "big", signed=True),
            pack_buffer(password),
            b"\x00" if has_read_only else b"",
        )
    )
    return INT.pack(len(body)) + body


def encode_reply(xid: int, zxid: int, err: int, body: bytes = b"") -> bytes:
    """Return a reply's frame."""
    return REPLY_HEADER.pack(REPLY_HEADER_BYTES + len(body), xid, zxid, err) + body
