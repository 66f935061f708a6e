"""A client with TLS whose encrypted bytes a test sends as it wants, and a protocol that records."""

import asyncio
import contextlib
import socket
import ssl

from tests.support.served import Echo, Served
from zoolet.server.sockets.admission import AcceptedSocket

READ_BYTES = 1 << 18
"""What both event loops read at once."""


class TlsPeer:
    """The client's side of a TLS connection, over buffers.

    Attributes:
        socket: the connection to the server, which does not block.
        tls: OpenSSL's side.
        received: the plain bytes that have arrived.
    """

    def __init__(self, port: int, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing)
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.received = bytearray()

    async def shake_hands(self, behind: bytes = b"") -> None:
        """Do the handshake; ``behind`` is sent together with its last bytes."""
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self.send_raw(self._outgoing.read())
                assert await self._read() != b"", "the server has closed"
        if behind:
            self.tls.write(behind)
        await self.send_raw(self._outgoing.read())

    def encrypted(self, *records: bytes) -> bytes:
        """Return the encrypted bytes of plain bytes; each argument is a record of its own."""
        for record in records:
            self.tls.write(record)
        return self._outgoing.read()

    def close_notify(self) -> bytes:
        """Return the encrypted bytes that end this side."""
        with contextlib.suppress(ssl.SSLError):  # the other side has not ended yet
            self.tls.unwrap()
        return self._outgoing.read()

    async def send_raw(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def send(self, *records: bytes) -> None:
        await self.send_raw(self.encrypted(*records))

    async def _read(self) -> bytes:
        data = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16)
        self._incoming.write(data)
        return data

    async def receive(self, size: int) -> bytes:
        """Wait for this number of plain bytes in all, and return all that have arrived."""
        while len(self.received) < size:
            ended = await self._receive_some()
            assert not ended, f"{ended} after {len(self.received)} bytes"
        return bytes(self.received)

    async def receive_end(self) -> str:
        """Wait for the end: "close_notify", "cut" (without one), "reset", or OpenSSL's reason."""
        while True:
            ended = await self._receive_some()
            if ended:
                return ended

    async def _receive_some(self) -> str:
        """Take what has arrived, or wait for more; return how the connection ended, or ""."""
        before = len(self.received)
        try:
            while part := self.tls.read(1 << 16):
                self.received += part
        except ssl.SSLWantReadError:
            if len(self.received) > before:
                return ""
        except ssl.SSLZeroReturnError:
            return "close_notify"
        except ssl.SSLError as error:
            return str(error.reason)
        else:
            return "close_notify"
        try:
            return "" if await self._read() else "cut"
        except ConnectionResetError:
            return "reset"


class Recorder(Echo):
    """Records what it is told, and sends only what a test lets it send.

    Attributes:
        arrived: the bytes of each ``data_received``.
        events: the names of the other calls, in order; "received" stands for any number of calls.
        lost_with: the argument of ``connection_lost``.
        fails_with: the exception to raise when data arrives; None for none.
    """

    def __init__(self, accepted: AcceptedSocket) -> None:
        super().__init__(accepted)
        self.arrived: list[bytes] = []
        self.events: list[str] = []
        self.lost_with: Exception | None = None
        self.fails_with: Exception | None = None

    @property
    def data(self) -> bytes:
        return b"".join(self.arrived)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        if self.events[-1] != "received":
            self.events.append("received")
        self.arrived.append(data)
        if self.fails_with is not None:
            raise self.fails_with

    def eof_received(self) -> bool:
        self.events.append("eof")
        return False

    def pause_writing(self) -> None:
        self.events.append("paused")

    def resume_writing(self) -> None:
        self.events.append("resumed")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost_with = exc
        self.events.append("lost")


class Recorded(Served):
    """An acceptor whose protocols record."""

    def new_protocol(self, accepted: AcceptedSocket) -> asyncio.Protocol:
        self.protocols.append(Recorder(accepted))
        return self.protocols[-1]

    @property
    def newest(self) -> Recorder:
        protocol = self.protocols[-1]
        assert isinstance(protocol, Recorder)
        return protocol

    async def connected(
        self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> tuple[TlsPeer, Recorder]:
        """Connect a client, and return it with the protocol that serves it."""
        peer = TlsPeer(self.port, version)
        await peer.shake_hands()
        protocol = self.newest
        while not protocol.events:
            await asyncio.sleep(0.001)
        return peer, protocol
