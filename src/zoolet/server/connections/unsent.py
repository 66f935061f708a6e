"""Bytes that wait until a client reads, in addition to the bytes in its transport.

A transport gets at most CHUNK_BYTES bytes at a time. So one iteration of the event loop writes a
bounded number of bytes for each connection.
"""

from collections import deque
from typing import Final, final

from mypy_extensions import i64

CHUNK_BYTES: Final = 1 << 18


@final
class Unsent:
    """A queue of bytes to send.

    Attributes:
        size_bytes: the number of bytes in the queue.
    """

    def __init__(self) -> None:
        self.size_bytes: i64 = 0
        self._parts: deque[bytes] = deque()
        self._at: i64 = 0

    def add(self, parts: list[bytes]) -> None:
        """Add bytes at the end."""
        for part in parts:
            if part:
                self._parts.append(part)
                self.size_bytes += len(part)

    def next_chunk(self) -> bytes:
        """Remove and return the next bytes, at most CHUNK_BYTES; empty if the queue is empty."""
        taken: list[bytes] = []
        room: i64 = CHUNK_BYTES
        parts = self._parts
        while parts and room > 0:
            first = parts[0]
            end: i64 = self._at + room
            if end < len(first):
                taken.append(first[self._at : end])
                self._at = end
            else:
                taken.append(first[self._at :] if self._at else first)
                parts.popleft()
                self._at = 0
            room -= len(taken[-1])
        self.size_bytes -= CHUNK_BYTES - room
        return taken[0] if len(taken) == 1 else b"".join(taken)
