"""A client's connection: bytes in, whole frames to the processor, frames out.

Owns the socket's side of a session: what has arrived and is no whole frame yet, what is to be sent,
and the limits on both. Knows frames and four-letter words, and no request.
"""

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Protocol, cast

from zoolet.model.acl import Id
from zoolet.server.fourletter import TRACE_MASK_BYTES, TRACE_MASK_WORD, WORD_BYTES, WORDS
from zoolet.server.stats import ConnectionStats
from zoolet.wire.frames import split_frames
from zoolet.wire.jute import INT, MalformedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoolet.core.sessions import Session

log = logging.getLogger(__name__)

MAX_UNSENT_BYTES = 16 << 20
"""Past this much that its client does not read, or that waits for the disk, nothing more that a
connection asks for is taken until it is less."""

MAX_UNREAD_BY_CLIENT_BYTES = 4 * MAX_UNSENT_BYTES
"""Past this much that its client does not read (watch events come unasked), it is cut off."""


class Requests(Protocol):
    """Who takes what connections bring (``processor.RequestProcessor``)."""

    max_frame_bytes: int
    keeps_alive: bool

    def connection_opened(self, connection: "Connection") -> bool:
        """Take a connection in; False: it is not to be."""
        ...

    def connection_closed(self, connection: "Connection") -> None:
        """Forget a connection."""
        ...

    def answer_word(self, connection: "Connection", word: str, argument: bytes) -> None:
        """Answer a four-letter word, and close; ``argument`` is what follows it, if it is stmk."""
        ...

    def process(self, connection: "Connection", data: bytes, bounds: list[tuple[int, int]]) -> int:
        """Take the requests in the frames of ``data``; return how many were taken."""
        ...


class Connection(asyncio.Protocol):
    """One client's connection.

    Attributes:
        session: what the client connected to; None before.
        identities: who it has proven to be; its address at first.
        stats: what it did.
        established_ms: when it was opened, on the clock that only rises.
        out: frames to be sent when the processor is through with what has arrived.
    """

    def __init__(self, requests: Requests) -> None:
        self.session: Session | None = None
        self.identities: Sequence[Id] = ()
        self.address = ""
        self.peer = ""
        self.out: list[bytes] = []
        self.stats = ConnectionStats()
        self.established_ms = 0
        self.is_open = False
        self._requests = requests
        self._transport: asyncio.Transport | None = None
        self._unread = b""
        self._out_bytes = 0
        self._held_bytes = 0
        self._client_reads = True
        self._is_reading = True
        self._closes_when_sent = False

    # -- what the loop calls -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce the connection to the processor."""
        self._transport = cast("asyncio.Transport", transport)
        host, port = self._transport.get_extra_info("peername")[:2]
        self.address = host
        self.peer = f"/{host}:{port}"
        self.identities = (Id("ip", host),)
        self._transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)
        if self._requests.keeps_alive:
            peer = cast("socket.socket", self._transport.get_extra_info("socket"))
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.is_open = True
        if not self._requests.connection_opened(self):
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Hand the whole frames on, keep the rest for the next time."""
        self._unread = self._unread + data if self._unread else data
        self._take_unread()

    def pause_writing(self) -> None:
        """The client does not read: take nothing more from it."""
        self._client_reads = False
        self._read_or_wait()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._client_reads = True
        self._read_or_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take leave of the processor."""
        if self.is_open:
            self.is_open = False
            self._requests.connection_closed(self)
        if exc is not None:
            log.debug("the connection of %s broke: %s", self.peer, exc)

    # -- what the processor calls ------------------------------------------------------------------

    @property
    def takes_requests(self) -> bool:
        """Whether the next request may be taken: it is open, and what is unsent is not too much."""
        return (
            self._client_reads
            and not self._closes_when_sent
            and self._out_bytes + self._held_bytes <= MAX_UNSENT_BYTES
        )

    def send(self, frame: bytes) -> None:
        """Send a frame with the others of this turn."""
        self.out.append(frame)
        self._out_bytes += len(frame)

    def count_held(self, size_bytes: int) -> None:
        """Note that a frame waits for the disk."""
        self._held_bytes += size_bytes

    def release(self, frames: list[bytes]) -> None:
        """Send frames that waited for the disk until now."""
        self._held_bytes -= sum(map(len, frames))
        self._write(frames)
        if not self._is_reading:
            self._read_or_wait()

    def finish(self) -> None:
        """Read nothing more, and close once what is to be sent, held or not, has been sent."""
        self._closes_when_sent = True
        self._close_if_sent()

    def abort(self) -> None:
        """Close now, whatever is to be sent."""
        self._closes_when_sent = True
        if self._transport is not None:
            self._transport.abort()

    def answer_and_close(self, text: str) -> None:
        """Send an answer that is no frame, and close."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(text.encode())
            self._transport.close()

    # ----------------------------------------------------------------------------------------------

    def _take_unread(self) -> None:
        """Hand the whole frames that have arrived to the processor, as many as it may take."""
        data = self._unread
        if self._closes_when_sent:
            return
        if self.session is None and (word := data[:WORD_BYTES]) in WORDS:
            argument = data[WORD_BYTES : WORD_BYTES + TRACE_MASK_BYTES]
            if word == TRACE_MASK_WORD and len(argument) < TRACE_MASK_BYTES:
                return
            self._closes_when_sent = True
            self._requests.answer_word(self, word.decode(), argument)
            return
        try:
            bounds, rest = split_frames(data, self._requests.max_frame_bytes)
        except MalformedError as error:
            log.warning("closing the connection of %s: %s", self.peer, error)
            self.abort()
            return
        taken = self._requests.process(self, data, bounds) if bounds else 0
        self._unread = data[rest if taken == len(bounds) else bounds[taken][0] - INT.size :]
        self._flush()
        if taken < len(bounds) or not self.takes_requests:
            self._read_or_wait()

    def _flush(self) -> None:
        if self.out:
            frames, self.out = self.out, []
            self._out_bytes = 0
            self._write(frames)

    def _write(self, frames: list[bytes]) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self.stats.packets_sent += len(frames)
            transport.write(b"".join(frames))
            if transport.get_write_buffer_size() > MAX_UNREAD_BY_CLIENT_BYTES:
                log.warning("cutting %s off: it does not read what it is sent", self.peer)
                self.abort()
        self._close_if_sent()

    def _close_if_sent(self) -> None:
        has_sent = not self.out and not self._held_bytes
        if self._closes_when_sent and has_sent and self._transport is not None:
            self._transport.close()

    def _read_or_wait(self) -> None:
        """Go on with what was left, then read on, or wait until there is room again."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._closes_when_sent:
            return
        wanted = self.takes_requests
        if wanted != self._is_reading:
            self._is_reading = wanted
            if wanted:
                transport.resume_reading()
            else:
                transport.pause_reading()
        if wanted:
            # In a turn of its own, so that other connections get theirs.
            asyncio.get_running_loop().call_soon(self._take_unread)
