"""The received bytes of an incomplete frame, and the longest frames of a server."""

from collections import deque
from typing import Final, final

from zoolet.client.protocol.calls import SENT, Call
from zoolet.wire.frames import LENGTH_BYTES, REPLY_HEADER_BYTES
from zoolet.wire.jute import Reader
from zoolet.wire.lists_ahead import ListsAhead, begins_with_lists
from zoolet.wire.reply_bodies import reply_header

LONG_FRAME_BYTES: Final = 1 << 18
"""Lists in a longer frame are read while it arrives."""

_BODY: Final = LENGTH_BYTES + REPLY_HEADER_BYTES

MAX_REPLY_BYTES: Final = (1 << 31) - 1
"""The longest possible frame. The server's jute.maxbuffer limits its replies, not the client's."""

MAX_GRANT_BYTES: Final = 64 << 10
"""The longest first frame of a server. Without this limit, the first bytes of another protocol,
like ``HTTP``, could be the length of a frame of more than 1 GiB."""


@final
class IncompleteFrame:
    """Joins the pieces of a frame, only when the frame is complete.

    Lists at the beginning of a long reply are read as soon as they arrive. They are then in the
    call, and no longer in the frame.
    """

    def __init__(self, sent: deque[Call[object]]) -> None:
        """Begin without bytes; ``sent`` has the calls that wait for a reply, in order."""
        self._sent = sent
        self._pieces: list[bytes] = []
        self._size_bytes = 0
        self._needed_bytes = 0
        self._reads_ahead = False
        self._lists: ListsAhead | None = None
        self._header = b""

    def join(self, data: bytes) -> bytes:
        """Return the kept bytes and ``data``; b"" if a frame is still incomplete.

        Raises MalformedError if the frame is a reply with an invalid list.
        """
        if not self._pieces:
            return data
        self._pieces.append(data)
        self._size_bytes += len(data)
        if self._reads_ahead:
            self._read_ahead()
        if self._size_bytes < self._needed_bytes:
            return b""
        if self._header:
            length = REPLY_HEADER_BYTES + self._needed_bytes
            self._pieces.insert(0, length.to_bytes(LENGTH_BYTES, "big") + self._header)
        joined = b"".join(self._pieces)
        self.clear()
        return joined

    def keep(self, rest: bytes) -> None:
        """Keep the first bytes of a frame; raises MalformedError as `join` does."""
        self._pieces.append(rest)
        self._size_bytes = len(rest)
        self._needed_bytes = LENGTH_BYTES
        if len(rest) >= LENGTH_BYTES:
            self._needed_bytes += int.from_bytes(rest[:LENGTH_BYTES], "big")
            self._reads_ahead = self._needed_bytes > LONG_FRAME_BYTES
            if self._reads_ahead:
                self._read_ahead()

    def clear(self) -> None:
        """Forget the kept bytes, because the connection has ended."""
        self._pieces.clear()
        self._reads_ahead = False
        self._lists = None
        self._header = b""

    def _read_ahead(self) -> None:
        """Read the lists that are there; afterwards the kept bytes begin behind them."""
        data = b"".join(self._pieces)
        start = 0
        lists = self._lists
        if lists is None:
            if len(data) < _BODY:
                return
            lists = self._begin(data)
            if lists is None:
                self._reads_ahead = False
                return
            self._lists = lists
            self._header = data[LENGTH_BYTES:_BODY]
            start = _BODY
        missing_bytes = max(0, self._needed_bytes - len(data))
        reader = Reader(data, start, min(len(data), self._needed_bytes))
        lists.read(reader, missing_bytes)
        read_bytes: int = reader.position
        self._pieces = [data[read_bytes:]]
        self._size_bytes -= read_bytes
        self._needed_bytes -= read_bytes
        self._reads_ahead = not lists.is_over

    def _begin(self, data: bytes) -> ListsAhead | None:
        """Return what reads the lists of the frame; None if it has none that a program awaits."""
        xid, _zxid, err = reply_header(data, LENGTH_BYTES)
        call = self._sent[0] if self._sent else None
        if call is None or call.xid != xid or err or call.phase != SENT:
            return None
        if not begins_with_lists(call.op_code):
            return None
        call.lists = ListsAhead(call.op_code)
        return call.lists
