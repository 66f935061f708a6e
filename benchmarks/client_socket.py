"""The least that a client in Python can do: bytes on a blocking socket, or on an asyncio stream.

The requests are made before the time is measured, by the encoder of zoolet's client. Of a reply
only the length and the error code are read. The scenarios ``...-decoded`` also encode the request
and decode the reply, in plain Python. Run by `client_bench`: python -m benchmarks.client_socket
SCENARIO PORT SECONDS.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Sequence

from benchmarks.attack import wire
from benchmarks.client_timing import (
    DATA,
    PATHS,
    THREADS,
    async_p50_us,
    batches_per_s,
    main,
    p50_us,
    threads_us,
)
from zoolet.client.protocol.batches import Multi
from zoolet.client.protocol.requests import RequestMaker

SESSION_TIMEOUT_MS = 30_000
MULTIS = 400
CREATES = 50

_NO_ERROR = bytes(4)
_GET = struct.Struct(">iiii")
_REPLY = struct.Struct(">iiqii")
_STAT = struct.Struct(">qqqqiiiqiiq")
_GET_DATA = 4
_READ_BYTES = 1 << 16


class Connection:
    """A blocking socket with a session."""

    def __init__(self, port: int) -> None:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.connect(connection, SESSION_TIMEOUT_MS)
        self._send = connection.sendall
        self._receive = connection.recv

    def ask(self, frame: bytes) -> bytes:
        """Send a request and return the frame of its reply; raises RuntimeError."""
        self._send(frame)
        reply = self._receive(_READ_BYTES)
        while len(reply) < 4 or len(reply) < 4 + int.from_bytes(reply[:4], "big"):
            more = self._receive(_READ_BYTES)
            if not more:
                raise EOFError("the server closed the connection")
            reply += more
        if reply[16:20] != _NO_ERROR:
            raise RuntimeError(f"the server refused a request: {reply[16:20]!r}")
        return reply


def encode_get(path: str, xid: int) -> bytes:
    """Return a getData request."""
    text = path.encode()
    return _GET.pack(13 + len(text), xid, _GET_DATA, len(text)) + text + b"\0"


def decode_get(reply: bytes) -> tuple[bytes, tuple[int, ...]]:
    """Return the data and the fields of the Stat in the reply to a getData request."""
    *_, data_bytes = _REPLY.unpack_from(reply)
    end = _REPLY.size + data_bytes
    return reply[_REPLY.size : end], _STAT.unpack_from(reply, end)


def gets() -> list[bytes]:
    """Return a get of each znode."""
    make = RequestMaker()
    return [make.get(path).frame for path in PATHS]


def multi_paths() -> list[list[str]]:
    """Return the paths of znodes that do not exist yet, by multi."""
    unique = f"/made/{os.getpid()}"
    return [
        [f"{unique}-{multi:04d}-{number:02d}" for number in range(CREATES)]
        for multi in range(MULTIS)
    ]


def multis(made: Sequence[Sequence[str]]) -> list[bytes]:
    """Return multis that create znodes with these paths."""
    make, frames = RequestMaker(), []
    for paths in made:
        batch = Multi()
        for path in paths:
            batch.create(path, DATA)
        frames.append(make.multi(batch).frame)
    return frames


def delete_made(port: int, made: Sequence[Sequence[str]]) -> None:
    """Delete the znodes of multis; fails if one of them does not exist."""
    connection, make = Connection(port), RequestMaker()
    for paths in made:
        batch = Multi()
        for path in paths:
            batch.delete(path)
        connection.ask(make.multi(batch).frame)


def _get(port: int, seconds: float) -> float:
    return p50_us(Connection(port).ask, gets(), seconds)


def _get_decoded(port: int, seconds: float) -> float:
    ask = Connection(port).ask
    return p50_us(lambda path: decode_get(ask(encode_get(path, 1))), PATHS, seconds)


def _get_threads(port: int, seconds: float) -> float:
    connections = [Connection(port) for _ in range(THREADS)]
    return threads_us([connection.ask for connection in connections], gets(), seconds)


def _multi(port: int, seconds: float) -> float:
    del seconds
    made = multi_paths()
    found = batches_per_s(Connection(port).ask, multis(made))
    delete_made(port, made)
    return found


class Stream:
    """An asyncio stream with a session."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._read = reader.readexactly
        self._write = writer.write

    async def begin(self) -> None:
        """Ask for a session."""
        self._write(wire.connect_request(SESSION_TIMEOUT_MS))
        await self._read(int.from_bytes(await self._read(4), "big"))

    async def ask(self, frame: bytes) -> bytes:
        """Send a request and return its reply, without its length; raises RuntimeError."""
        self._write(frame)
        reply = await self._read(int.from_bytes(await self._read(4), "big"))
        if reply[12:16] != _NO_ERROR:
            raise RuntimeError(f"the server refused a request: {reply[12:16]!r}")
        return reply


async def _connected(port: int) -> Stream:
    stream = Stream(*await asyncio.open_connection("127.0.0.1", port))
    await stream.begin()
    return stream


async def _stream(port: int, seconds: float) -> float:
    stream = await _connected(port)
    return await async_p50_us(stream.ask, gets(), seconds)


async def _stream_decoded(port: int, seconds: float) -> float:
    stream = await _connected(port)

    async def get(path: str) -> tuple[bytes, tuple[int, ...]]:
        return decode_get(bytes(4) + await stream.ask(encode_get(path, 1)))

    return await async_p50_us(get, PATHS, seconds)


def _get_async(port: int, seconds: float) -> float:
    import uvloop  # noqa: PLC0415 -- not every Python has uvloop

    return uvloop.run(_stream(port, seconds))


def _get_async_decoded(port: int, seconds: float) -> float:
    import uvloop  # noqa: PLC0415 -- not every Python has uvloop

    return uvloop.run(_stream_decoded(port, seconds))


if __name__ == "__main__":
    main(
        {
            "get": _get,
            "get-decoded": _get_decoded,
            "get-threads": _get_threads,
            "get-async": _get_async,
            "get-async-decoded": _get_async_decoded,
            "multi": _multi,
        }
    )
