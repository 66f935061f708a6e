"""A small ZooKeeper server for what real servers do only in an ensemble: read-only service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from zoolet.model.codes import ErrorCode, OpCode, Xid
from zoolet.model.requests import Connect
from zoolet.wire.jute import INT, LONG, Reader, pack_buffer

ADDRESS = "127.0.0.1"
_TIMEOUT_MS = 4000


class FakeZooKeeper:
    """Grants sessions, and answers each request without a body; writes fail while it is read-only.

    Attributes:
        is_read_only: whether it is a read-only server; a change closes no connection.
        hosts: the address to which a client connects.
        connects: the connect requests that it got.
        words: the four-letter words that it got.
    """

    def __init__(self, *, is_read_only: bool) -> None:
        self.is_read_only = is_read_only
        self.hosts = ""
        self.connects: list[Connect] = []
        self.words: list[bytes] = []
        self.granted: list[int] = []
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Close all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first = await reader.readexactly(4)
            if first.isalpha():
                self.words.append(first)
                writer.write(b"ro" if self.is_read_only else b"rw")
            else:
                await self._serve_session(first, reader, writer)
        self._writers.discard(writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _serve_session(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        body = Reader(await reader.readexactly(INT.unpack(first)[0]))
        connect = Connect(
            body.read_int(),
            body.read_long(),
            body.read_int(),
            body.read_long(),
            body.read_buffer() or b"",
            body.read_bool(),
            True,
        )
        self.connects.append(connect)
        if self.is_read_only and not connect.read_only:
            return  # Apache ZooKeeper closes the connection too
        session_id = connect.session_id or id(self) + len(self.connects)
        self.granted.append(session_id)
        granted = INT.pack(0) + INT.pack(_TIMEOUT_MS) + LONG.pack(session_id)
        self._send(writer, granted + pack_buffer(bytes(16)) + bytes([self.is_read_only]))
        while True:
            size = INT.unpack(await reader.readexactly(4))[0]
            frame = await reader.readexactly(size)
            xid, op_code = INT.unpack(frame[:4])[0], INT.unpack(frame[4:8])[0]
            is_write = op_code in {OpCode.CREATE2, OpCode.DELETE, OpCode.SET_DATA}
            err = -119 if is_write and self.is_read_only else ErrorCode.NO_NODE.value
            if xid in {Xid.PING, Xid.SET_WATCHES, Xid.AUTH} or op_code == OpCode.CLOSE_SESSION:
                err = 0
            self._send(writer, INT.pack(xid) + LONG.pack(1) + INT.pack(err))
            if op_code == OpCode.CLOSE_SESSION:
                return

    def _send(self, writer: asyncio.StreamWriter, content: bytes) -> None:
        writer.write(INT.pack(len(content)) + content)


@contextlib.asynccontextmanager
async def fake_zookeeper(*, is_read_only: bool) -> AsyncIterator[FakeZooKeeper]:
    """A fake server that listens."""
    fake = FakeZooKeeper(is_read_only=is_read_only)
    server = await asyncio.start_server(fake.serve, ADDRESS, 0)
    fake.hosts = f"{ADDRESS}:{server.sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        server.close()
        while fake._writers:
            fake.cut()
            await asyncio.sleep(0)
