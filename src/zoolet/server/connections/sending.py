"""The sending side of a connection: sends frames as fast as the client reads.

A turn is the time that the scheduler gives the connection. This module collects all frames of a
turn in a buffer. At the end of the turn, the subclass ``Connection`` calls ``_flush``, which sends
the buffer with one write. Bytes that the client does not read yet stay in ``Unsent``. This module
does not depend on requests or sessions.
"""

import os
from typing import TYPE_CHECKING, Final

from mypy_extensions import i32, i64

from zoolet.big_endian.buffers import BytesWriter
from zoolet.model.addresses import format_address
from zoolet.server.connections.batches import Hold, Receiver
from zoolet.server.connections.unsent import CHUNK_BYTES, Unsent
from zoolet.server.operator.answers import UNSENT_BYTES
from zoolet.server.operator.four_letter_words import failure

try:
    from zoolet.server.connections.socket_send import send_now
except ImportError:  # it is only in the compiled build for Linux

    def send_now(fd: int, data: bytes, /) -> int:
        """Send as many of the bytes as the socket takes now; 0 also if the socket has failed."""
        try:
            return os.write(fd, data)
        except OSError:
            return 0


if TYPE_CHECKING:
    import asyncio
    import socket

    from zoolet.server.operator.answers import Answer

MAX_UNSENT_BYTES: Final = 16 << 20
"""Limit of a connection's unsent frames and held frames together. Held frames wait until a batch is
synced to disk. Above the limit, the server processes no further request of the connection."""

MAX_UNREAD_BY_CLIENT_BYTES: Final = 4 * MAX_UNSENT_BYTES
"""Limit of a connection's unsent bytes. Above the limit, the server closes the connection. For
example, watch events can exceed the limit, because they are sent without a request."""


class SendingSide(Receiver):
    """The sending side of a connection.

    Attributes:
        address: the client's IP address; empty until the connection is opened.
        port: the client's port; 0 until the connection is opened.
        is_open: whether frames may be sent on the connection.
        answered: the number of frames in the buffer that is sent at the end of this turn.
        answered_long: the number of frames that left the buffer earlier in this turn: each long
            frame, and the frames before it.
        unconfirmed_bytes: the number of bytes that were sent since the last time at which a check
            found that the client had read everything.
    """

    def __init__(self) -> None:
        super().__init__()
        self.address = ""
        self.port = 0
        self.is_open = False
        # i32: the next two attributes together need the space of one int. So the object is small
        # enough for Python's allocator of small objects.
        self.answered: i32 = 0
        self.answered_long: i32 = 0
        self.unconfirmed_bytes = 0
        self._transport: asyncio.Transport | None = None
        # The descriptor of the transport's socket; -1 if only the transport may write to it, as
        # with TLS, and when the transport closes it.
        self._descriptor: i32 = -1
        self._may_be_buffered = False
        self._out: BytesWriter | None = None
        # None for most clients, because they read everything without delay.
        self._unsent: Unsent | None = None
        self._client_reads = True
        self._closes_when_sent = False
        self._answer: Answer | None = None

    @property
    def peer(self) -> str:
        """The client's address and port, as Apache ZooKeeper writes them."""
        return f"/{format_address(self.address, self.port)}" if self.address else "a new connection"

    def bypass_transport(self, sock: "socket.socket") -> None:
        """Write to the socket of the transport itself while no bytes wait in the transport.

        The caller calls this before the connection opens. A connection with TLS ignores it.
        """
        self._descriptor = sock.fileno()

    # --- Implemented by the receiving side

    def _wait_to_send(self) -> None:
        """Wait for a turn, in which ``_write_more`` is called."""
        raise NotImplementedError

    def _read_again(self) -> None:
        """Continue to read requests if there is now room for their replies."""
        raise NotImplementedError

    def _cut_off(self) -> None:
        """Close the connection, because the client does not read."""
        raise NotImplementedError

    # --- Frames

    def out(self) -> BytesWriter:
        """Return the buffer for one more frame; the buffer is sent at the end of this turn."""
        self.answered += 1
        out = self._out
        if out is None:
            out = self._out = BytesWriter()
        return out

    def send_long(self, parts: list[bytes]) -> None:
        """Send a long frame in parts, without a copy of them."""
        self.answered_long += self.answered + 1
        self._flush()
        if self._transport is not None and self.is_open:
            self.stats.packets_sent += 1
            self._add_unsent(parts)

    @property
    def unsent_bytes(self) -> int:
        """The number of bytes in this process that are not sent to the client yet."""
        transport = self._transport
        buffered = 0 if transport is None else transport.get_write_buffer_size()
        return buffered if self._unsent is None else self._unsent.size_bytes + buffered

    def _waiting_bytes(self) -> i64:
        """Return the number of bytes that wait until the client reads or a batch is synced."""
        waiting_bytes: i64 = self.held_bytes
        unsent = self._unsent
        if unsent is not None:
            waiting_bytes += unsent.size_bytes
        out = self._out
        if out is not None:
            waiting_bytes += i64(len(out))
        return waiting_bytes

    def _flush(self) -> None:
        out = self._out
        if out is not None:
            self._out = None
            answered, self.answered = self.answered, 0
            self._write(out.getvalue(), answered, 0)

    def _write(self, frames: bytes, count: int, sent_bytes: i64) -> None:
        transport = self._transport
        if transport is not None and self.is_open:
            self.stats.packets_sent += count
            if self._client_reads and self._unsent is None and len(frames) <= CHUNK_BYTES:
                self._give(transport, frames, sent_bytes)
            else:
                self._add_unsent([frames[sent_bytes:]])
        if self._closes_when_sent:
            self._close_if_sent()

    def _write_held(self, hold: Hold) -> None:
        """Send the frames of a hold, but not those that are sent already."""
        if hold.sent_bytes < 0:
            raise RuntimeError("frames were perhaps sent in part")
        if hold.long_parts is None:
            self._write(hold.newest(), 0, hold.sent_bytes)
        elif self._transport is not None and self.is_open:
            first, *others = hold.parts()  # what is sent already was the beginning of the first
            self._add_unsent([first[hold.sent_bytes :], *others])

    def descriptor_for(self, hold: Hold) -> i32:
        """Return the descriptor to which the bytes of ``hold.newest()`` may be sent now, or -1."""
        transport = self._transport
        if transport is None or not self.is_open or not self._client_reads:
            return -1
        if self._unsent is not None or hold.long_parts is not None:
            return -1
        if hold.size_bytes > CHUNK_BYTES or self._has_buffered(transport):
            return -1
        return self._descriptor

    def _has_buffered(self, transport: "asyncio.Transport") -> bool:
        """Whether bytes wait in the transport."""
        if self._may_be_buffered:
            self._may_be_buffered = transport.get_write_buffer_size() > 0
        return self._may_be_buffered

    def _give(self, transport: "asyncio.Transport", data: bytes, sent: i64 = 0) -> None:
        """Write bytes to the socket, or to the transport if bytes wait there.

        The first ``sent`` bytes are written already. See docs/decisions/0123-own-send.md: the
        transport needs more time for a write.
        """
        self.unconfirmed_bytes += len(data)
        descriptor: i32 = self._descriptor
        if descriptor >= 0 and sent == 0 and not self._has_buffered(transport):
            # If the socket has failed, the transport closes the connection for the same error.
            sent = send_now(descriptor, data)
        if sent < len(data):
            self._may_be_buffered = True
            transport.write(memoryview(data)[sent:] if sent else data)

    def _add_unsent(self, parts: list[bytes]) -> None:
        """Add bytes to ``_unsent``; begin to send them if ``_unsent`` had none."""
        unsent = self._unsent
        is_first = unsent is None
        if unsent is None:
            unsent = self._unsent = Unsent()
        unsent.add(parts)
        if unsent.size_bytes == 0:
            self._unsent = None
            return
        if is_first or unsent.size_bytes > MAX_UNREAD_BY_CLIENT_BYTES:
            self._write_more()

    def _write_more(self) -> None:
        """Write the next chunk to the transport; the rest waits until the client reads."""
        transport = self._transport
        unsent = self._unsent
        if transport is None or not self.is_open or unsent is None:
            return
        if self._client_reads:
            chunk = unsent.next_chunk()
            if unsent.size_bytes == 0:
                self._unsent = None
            self._give(transport, chunk)
        if unsent.size_bytes > MAX_UNREAD_BY_CLIENT_BYTES:
            self._cut_off()
        elif unsent.size_bytes and self._client_reads:
            self._wait_to_send()
        else:
            self._read_again()
        if self._closes_when_sent:
            self._close_if_sent()

    # --- Closing

    @property
    def is_finishing(self) -> bool:
        """Whether no more requests are processed, because the connection is closing."""
        return self._closes_when_sent

    def finish(self) -> None:
        """Process no more requests; close after all frames, even those that wait for a sync."""
        self._closes_when_sent = True
        self._close_if_sent()

    def abort(self) -> None:
        """Close now, without sending the remaining frames."""
        self._closes_when_sent = True
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def _close_if_sent(self) -> None:
        has_sent = self._out is None and not self.held_bytes and self._unsent is None
        if self._closes_when_sent and has_sent and self._transport is not None:
            self.is_open = False
            self._transport.close()

    def _send_no_more(self) -> None:
        """Drop the unsent bytes and the answer in progress: the connection is closed."""
        self.is_open = False
        self._descriptor = -1
        self._unsent = None
        if self._answer is not None:
            self._answer.stop()
            self._answer = None

    # --- The answer to a four-letter word: the methods of answers.Sink

    def answer_and_close(self, answer: "Answer") -> None:
        """Send the answer to a four-letter word, as fast as the client reads, and then close."""
        if self._transport is not None and self.is_open:
            self._answer = answer
            self._transport.set_write_buffer_limits(high=UNSENT_BYTES)
            answer.begin(self)

    @property
    def is_answering(self) -> bool:
        """Whether the answer to a four-letter word is being sent."""
        return self._answer is not None

    @property
    def has_room(self) -> bool:
        """Whether the client has read enough of the answer for one more chunk."""
        return self._client_reads and self.is_open

    def send_chunk(self, chunk: bytes) -> None:
        """Send a chunk of the answer."""
        if self._transport is not None and self.is_open:
            self._give(self._transport, chunk)

    def end_answer(self) -> None:
        """Close after the answer has been sent."""
        self.is_open = False
        if self._transport is not None:
            self._transport.close()

    def fail_answer(self, error: Exception) -> None:
        """Send the client an error in place of the answer, and close."""
        self.send_chunk(failure(error))
        self.end_answer()
