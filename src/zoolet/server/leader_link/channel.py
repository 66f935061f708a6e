"""One connection to a member of the ensemble: the only module with the socket.

Received bytes wait here until they are read. Above a limit, the socket is not read, so the memory
is bounded.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from zoolet.server.leader_link.errors import LinkError

MAX_PENDING_BYTES: Final = 8 << 20
"""If more received bytes than this wait, the server reads no more from the socket."""

MAX_UNSENT_BYTES: Final = 256 << 20
"""If the leader does not read, the link ends above this number of unsent bytes."""


class Channel(asyncio.Protocol):
    """A connection to a member.

    Attributes:
        address: the address of the member, as text.
        heard_ms: the time at which the last bytes arrived, on the monotonic clock.
        limit_ms: the time for which the member may send nothing.
    """

    def __init__(self, address: str, now_ms: Callable[[], int], limit_ms: int) -> None:
        self.address = address
        self.limit_ms = limit_ms
        self.heard_ms = now_ms()
        self._now_ms = now_ms
        self._transport: asyncio.Transport | None = None
        self._pieces: list[bytes] = []
        self._pending_bytes = 0
        self._is_paused = False
        self._ended: str | None = None
        self._waiting: asyncio.Future[None] | None = None

    # --- Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self.heard_ms = self._now_ms()

    def data_received(self, data: bytes) -> None:
        """Keep bytes until they are read."""
        self.heard_ms = self._now_ms()
        self._pieces.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes > MAX_PENDING_BYTES and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the waiting read."""
        if self._ended is None:
            self._ended = "the member closed the connection" if exc is None else str(exc)
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # --- Called by the link

    async def read(self) -> bytes:
        """Return the next bytes; wait for them if necessary.

        The wait ends with the connection, at the latest because of ``check``. Raises LinkError.
        """
        while not self._pieces:
            if self._ended is not None:
                raise LinkError(self._ended)
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._pending_bytes = 0
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    def write(self, data: bytes) -> None:
        """Send bytes; do nothing if the connection has ended."""
        transport = self._transport
        if transport is None or self._ended is not None:
            return
        transport.write(data)
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.abort("the leader does not read what this server sends")

    def check(self) -> None:
        """End the connection if the member has been silent for too long."""
        silent_ms = self._now_ms() - self.heard_ms
        if silent_ms > self.limit_ms and not self._is_paused:
            self.abort(f"the member sent nothing for {silent_ms} ms")

    def abort(self, reason: str) -> None:
        """End the connection now."""
        if self._ended is None:
            self._ended = reason
        if self._transport is not None:
            self._transport.abort()
        self._wake()
