"""The received bytes of an incomplete frame, and the longest frames of a server."""

from typing import Final, final

from zoolet.wire.frames import LENGTH_BYTES

MAX_REPLY_BYTES: Final = (1 << 31) - 1
"""The longest possible frame. The server's jute.maxbuffer limits its replies, not the client's."""

MAX_GRANT_BYTES: Final = 64 << 10
"""The longest first frame of a server. Without this limit, the first bytes of another protocol,
like ``HTTP``, could be the length of a frame of more than 1 GiB."""


@final
class IncompleteFrame:
    """Joins the pieces of a frame, only when the frame is complete."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size_bytes = 0
        self._needed_bytes = 0

    def join(self, data: bytes) -> bytes:
        """Return the kept bytes and ``data``; b"" if a frame is still incomplete."""
        if not self._pieces:
            return data
        self._pieces.append(data)
        self._size_bytes += len(data)
        if self._size_bytes < self._needed_bytes:
            return b""
        joined = b"".join(self._pieces)
        self._pieces.clear()
        return joined

    def keep(self, rest: bytes) -> None:
        """Keep the first bytes of a frame."""
        self._pieces.append(rest)
        self._size_bytes = len(rest)
        self._needed_bytes = LENGTH_BYTES
        if len(rest) >= LENGTH_BYTES:
            self._needed_bytes += int.from_bytes(rest[:LENGTH_BYTES], "big")

    def clear(self) -> None:
        """Forget the kept bytes, because the connection has ended."""
        self._pieces.clear()
