"""The TLS layer of a connection, between the transport of the event loop and the server's protocol.

asyncio and uvloop have such layers too. This one copies less for each request, reports why a
handshake failed, and sends the alert. Invariants:

- What arrives is decrypted at once. All records of one read are one ``data_received``. So only an
  incomplete record waits here, and pausing the event loop's transport pauses the connection.
- What is written is encrypted at once, and waits only in the event loop's transport. So its limits,
  its ``pause_writing`` and its buffer size are those of the connection.
- OpenSSL's buffers never hold more than PIECE_BYTES and one record, after the handshake.
- An error of TLS ends this connection only. An exception of the protocol goes to the event loop.

The server imports this module only if it serves TLS.
"""

import asyncio
import ssl
from contextlib import suppress
from typing import Any, Final, cast, final

RECORD_BYTES: Final = 1 << 14
"""The most plain bytes in a record (RFC 8446, section 5.1). A read of this size takes a whole
record, so OpenSSL keeps no decrypted bytes."""

PIECE_BYTES: Final = 1 << 16
"""More bytes are passed to OpenSSL in pieces, because its buffers keep their largest size."""

HANDSHAKE_RECORD: Final = 22
"""The first byte of every TLS connection (RFC 8446, section 5.1)."""


@final
class TlsTransport:
    """The server's side of a TLS connection.

    It is the Protocol of the event loop's transport, and the Transport of the server's protocol.
    Neither base class of asyncio is inherited, because this class is compiled.

    Attributes:
        settled: gets a result when the handshake is complete, or when the connection is closed.
        is_established: whether the handshake was completed.
        failure: the error of TLS that ended the connection; None if there was none.
        plain_bytes: the first bytes of the client if they do not begin a handshake.
    """

    def __init__(
        self, context: ssl.SSLContext, protocol: asyncio.Protocol, settled: "asyncio.Future[None]"
    ) -> None:
        self.settled = settled
        self.is_established = False
        self.failure: Exception | None = None
        self.plain_bytes = b""
        self._context = context
        self._protocol: asyncio.Protocol | None = protocol
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._plain: asyncio.Transport | None = None
        self._is_closing = False
        self._has_begun = False

    # --- Called by the event loop's transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the client's handshake."""
        self._plain = cast("asyncio.Transport", transport)
        if self._is_closing:
            self._plain.abort()
            return
        try:
            self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        except Exception as error:  # noqa: BLE001 -- this connection fails with it
            self._fail(error)

    def data_received(self, data: bytes) -> None:
        """Decrypt bytes and pass them to the protocol."""
        if self.is_established:
            self._receive(data)
        else:
            self._continue_handshake(data)

    def eof_received(self) -> bool:
        """Close: the client has closed its side without a word of TLS."""
        self.close()
        return False

    def pause_writing(self) -> None:
        """Tell the protocol that the client does not read."""
        protocol = self._protocol
        if protocol is not None and self.is_established:
            protocol.pause_writing()

    def resume_writing(self) -> None:
        """Tell the protocol that the client reads again."""
        protocol = self._protocol
        if protocol is not None and self.is_established:
            protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the protocol; without a handshake it has never known of the connection."""
        protocol = self._protocol
        self._is_closing = True
        # The protocol refers to its transport. These references would be cycles.
        self._protocol = self._tls = None
        if not self.settled.done():
            self.settled.set_result(None)
        if protocol is not None and self.is_established:
            protocol.connection_lost(self.failure if exc is None else exc)

    # --- The handshake

    def _continue_handshake(self, data: bytes) -> None:
        tls = self._tls
        if tls is None or self._is_closing:
            return
        if not self._has_begun:
            self._has_begun = True
            if data[0] != HANDSHAKE_RECORD:  # OpenSSL would wait for five bytes
                self.plain_bytes = data
                self.abort()
                return
        try:
            self._incoming.write(data)
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send_own()
            return
        except Exception as error:  # noqa: BLE001 -- this connection fails with it
            self._fail(error)
            return
        self._send_own()
        self.is_established = True
        protocol = self._protocol
        if protocol is not None:
            protocol.connection_made(cast("asyncio.Transport", self))
        if not self.settled.done():
            self.settled.set_result(None)
        if self._incoming.pending:
            self._receive(b"")

    # --- Receiving

    def _receive(self, data: bytes) -> None:
        tls = self._tls
        if tls is None or self._is_closing:
            return
        records: list[bytes] = []
        failure: Exception | None = None
        has_ended = False
        try:
            has_ended = self._decrypt(tls, data, records)
        except Exception as error:  # noqa: BLE001 -- this connection fails with it
            failure = error
        protocol = self._protocol
        if records and protocol is not None:
            protocol.data_received(records[0] if len(records) == 1 else b"".join(records))
        if failure is not None:
            self._fail(failure)
        elif has_ended:
            self._end()
        elif self._outgoing.pending:
            self._send_own()

    def _decrypt(self, tls: ssl.SSLObject, data: bytes, records: list[bytes]) -> bool:
        """Add the plain bytes of each whole record; return whether a close_notify has arrived."""
        incoming = self._incoming
        incoming.write(data[:PIECE_BYTES])
        begin, size = PIECE_BYTES, len(data)
        while True:
            while incoming.pending:
                record = _read_record(tls)
                if record is None:
                    break
                if not record:
                    return True
                records.append(record)
            if begin >= size:
                return False
            incoming.write(data[begin : begin + PIECE_BYTES])
            begin += PIECE_BYTES

    def _end(self) -> None:
        """Close after the client's close_notify."""
        protocol = self._protocol
        if protocol is not None and not self._is_closing:
            protocol.eof_received()
        self.close()

    def _send_own(self) -> None:
        """Send what OpenSSL has written by itself: its side of a handshake, alerts, tickets."""
        plain = self._plain
        if plain is not None:
            plain.write(self._outgoing.read())

    def _fail(self, error: Exception) -> None:
        """Close the connection, after the alert that OpenSSL has written."""
        if self.failure is None:
            # The traceback refers to this object. This would be a cycle.
            self.failure = error.with_traceback(None)
        plain = self._plain
        if plain is None or self._is_closing:
            return
        self._is_closing = True
        if isinstance(error, ssl.SSLError):
            self._send_own()
            plain.close()
        else:
            plain.abort()

    # --- Called by the protocol

    def write(self, data: bytes) -> None:
        """Encrypt bytes and send them."""
        tls, plain = self._tls, self._plain
        if self._is_closing or tls is None or plain is None or not data:
            return
        if len(data) <= PIECE_BYTES:
            plain.write(self._encrypt(tls, data))
            return
        for begin in range(0, len(data), PIECE_BYTES):
            encrypted = self._encrypt(tls, data[begin : begin + PIECE_BYTES])
            if not self._is_closing:
                plain.write(encrypted)

    def _encrypt(self, tls: ssl.SSLObject, data: bytes) -> bytes:
        """Return the records with these bytes; empty if the connection has failed now."""
        try:
            tls.write(data)
            return self._outgoing.read()
        except Exception as error:  # noqa: BLE001 -- this connection fails with it
            self._fail(error)
            return b""

    def close(self) -> None:
        """Close after all bytes that were written, and a close_notify.

        The server does not wait for the client's close_notify (RFC 8446, section 6.1).
        """
        tls, plain = self._tls, self._plain
        if self._is_closing or plain is None:
            self._is_closing = True
            return
        self._is_closing = True
        if tls is not None and self.is_established:
            with suppress(Exception):  # SSLWantReadError: the client's close_notify is missing
                tls.unwrap()
            self._send_own()
        plain.close()

    def abort(self) -> None:
        """Close now, without the bytes that wait."""
        self._is_closing = True
        if self._plain is not None:
            self._plain.abort()

    def is_closing(self) -> bool:
        """Return whether the connection is closing or closed."""
        return self._is_closing

    def pause_reading(self) -> None:
        """Receive nothing more for now."""
        if self._plain is not None:
            self._plain.pause_reading()

    def resume_reading(self) -> None:
        """Receive again."""
        if self._plain is not None:
            self._plain.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the numbers of unsent bytes at which writing is paused and resumed."""
        if self._plain is not None:
            self._plain.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Return the number of encrypted bytes that are not sent yet."""
        return 0 if self._plain is None else self._plain.get_write_buffer_size()

    def get_extra_info(self, name: str, default: object = None) -> Any:
        """Return ``ssl_object``, or what the event loop's transport knows."""
        if name == "ssl_object":
            return self._tls
        return default if self._plain is None else self._plain.get_extra_info(name, default)


def _read_record(tls: ssl.SSLObject) -> bytes | None:
    """Return the bytes of the next record: empty after close_notify, None if it is incomplete."""
    try:
        return tls.read(RECORD_BYTES)
    except ssl.SSLWantReadError:
        return None
    except ssl.SSLZeroReturnError:
        return b""
