"""Frames as testing looks at them: where they begin and end, and their headers.

The server finds its frames one by one as it takes them (``wire.frames``); here all that have
arrived are found at once, and read without being taken.
"""

import struct
from typing import Final, NamedTuple

from zoolet.wire.frames import LENGTH_BYTES, frame_end
from zoolet.wire.jute import MalformedError

REQUEST_HEADER: Final = struct.Struct(">ii")
"""xid and op code, with which every request after the first begins."""

REPLY_HEADER: Final = struct.Struct(">iqi")
"""xid, zxid and error code, with which every reply after the first begins."""

LARGEST_FRAME_BYTES: Final = (1 << 31) - 1


class Frames(NamedTuple):
    """The whole frames at the beginning of some bytes.

    Attributes:
        bounds: of each one's content; its length stands before it.
        rest: where what is not whole yet begins.
        is_malformed: whether that can never be a frame: it begins with a length below 0 or above
            what is allowed.
    """

    bounds: list[tuple[int, int]]
    rest: int
    is_malformed: bool


def find_frames(data: bytes, max_bytes: int = LARGEST_FRAME_BYTES) -> Frames:
    """Find the whole frames, none of them longer than ``max_bytes``."""
    bounds = []
    position = 0
    try:
        while (end := frame_end(data, position, max_bytes)) >= 0:
            bounds.append((position + LENGTH_BYTES, end))
            position = end
    except MalformedError:
        return Frames(bounds, position, is_malformed=True)
    return Frames(bounds, position, is_malformed=False)
