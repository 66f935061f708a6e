"""Frames for tests: where they begin and end, and the formats of their headers.

The server finds and processes its frames one by one (``wire.frames``). One call of this module
finds all frames in the received bytes, and processes none of them.
"""

import struct
from typing import Final, NamedTuple

from zoolet.wire.frames import LENGTH_BYTES, frame_end
from zoolet.wire.jute import MalformedError

REQUEST_HEADER: Final = struct.Struct(">ii")
"""The header of every request except the connect request: xid and op code."""

REPLY_HEADER: Final = struct.Struct(">iqi")
"""The header of every reply except the first reply: xid, zxid and error code."""

LARGEST_FRAME_BYTES: Final = (1 << 31) - 1


class Frames(NamedTuple):
    """The complete frames at the beginning of some bytes.

    Attributes:
        bounds: the start and the end of the content of each frame, without the length before it.
        rest: the position of the first byte after the complete frames.
        is_malformed: whether the rest is not the beginning of a frame, because its length is below
            0 or above the limit.
    """

    bounds: list[tuple[int, int]]
    rest: int
    is_malformed: bool


def find_frames(data: bytes, max_bytes: int = LARGEST_FRAME_BYTES) -> Frames:
    """Find the complete frames; a frame longer than ``max_bytes`` is malformed."""
    bounds = []
    position = 0
    try:
        while (end := frame_end(data, position, max_bytes)) >= 0:
            bounds.append((position + LENGTH_BYTES, end))
            position = end
    except MalformedError:
        return Frames(bounds, position, is_malformed=True)
    return Frames(bounds, position, is_malformed=False)
