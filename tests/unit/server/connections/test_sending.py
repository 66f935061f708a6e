"""A connection writes to its socket itself while no bytes wait in the transport."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import pytest

from tests.support.loops import LOOPS, reset, runner
from tests.support.stage import Stage, StageTransport
from tests.support.waiting import WAIT_S
from zoolet.server.connections.connection import Connection


class BufferingTransport(StageTransport):
    """A transport in which bytes wait until ``drain``."""

    def __init__(self) -> None:
        super().__init__(1)
        self.waiting_bytes = 0

    def get_write_buffer_size(self) -> int:
        return self.waiting_bytes

    def write(self, data: Any) -> None:
        super().write(data)
        self.waiting_bytes += len(data)

    def drain(self) -> None:
        self.waiting_bytes = 0


class Side(NamedTuple):
    """A connection over a pair of sockets, and the two ends."""

    connection: Connection
    transport: BufferingTransport
    ours: socket.socket
    theirs: socket.socket


@pytest.fixture
def side() -> Iterator[Side]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.settimeout(WAIT_S)
        transport = BufferingTransport()
        connection = Connection(Stage().processor)
        connection.bypass_transport(ours)
        connection.connection_made(transport)
        yield Side(connection, transport, ours, theirs)


def send(connection: Connection, frames: bytes) -> None:
    connection.out().write(frames)
    connection.flush()


def test_bytes_go_around_the_transport(side: Side) -> None:
    send(side.connection, b"some")
    assert (side.theirs.recv(100), side.transport.written) == (b"some", b"")


def test_bytes_go_behind_those_in_the_transport(side: Side) -> None:
    connection, transport, _, theirs = side
    while not transport.written:  # fill the buffer of the socket
        send(connection, bytes(10_000))
    assert transport.waiting_bytes == len(transport.written)
    theirs.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while theirs.recv(1 << 20):  # now the socket has room
            pass
    written = len(transport.written)
    send(connection, b"more")
    assert transport.written[written:] == b"more"
    transport.drain()
    send(connection, b"last")
    assert len(transport.written) == written + len(b"more")


def test_a_broken_socket_is_left_to_the_transport(side: Side) -> None:
    connection, transport, ours, theirs = side
    theirs.close()
    send(connection, b"some")
    ours.close()
    transport.drain()
    send(connection, b"more")
    assert transport.written == b"somemore"


async def connected(connection: Connection) -> socket.socket:
    """Connect the connection to a socket of this loop, as the acceptor does; return its peer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours = listening.accept()[0]
    theirs.setblocking(False)
    connection.bypass_transport(ours)
    protocol = cast("asyncio.Protocol", connection)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, ours)
    return theirs


@pytest.mark.parametrize("loop_name", LOOPS)
@pytest.mark.parametrize("seed", range(4))
def test_a_client_gets_all_bytes_in_order(seed: int, loop_name: str) -> None:
    """Frames of random sizes, to a client that reads at random times."""
    chance = random.Random(seed)
    stage = Stage()
    connection = Connection(stage.processor)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        theirs = await connected(connection)
        sent, received = bytearray(), bytearray()
        with theirs:
            for _ in range(80):
                for _ in range(chance.randrange(4)):
                    frames = chance.randbytes(chance.choice((1, 50, 5_000, 400_000)))
                    sent += frames
                    if chance.random() < 0.3:
                        connection.send_long([frames[:10], frames[10:]])
                    else:
                        send(connection, frames)
                for _ in range(chance.randrange(6)):
                    try:
                        received += theirs.recv(chance.choice((100, 1 << 20)))
                    except BlockingIOError:
                        await asyncio.sleep(0)
                    stage.iterate()
            while len(received) < len(sent):
                stage.iterate()
                received += await asyncio.wait_for(_some(loop, theirs, stage), WAIT_S)
        assert received == sent

    runner(loop_name)(scenario())


async def _some(loop: asyncio.AbstractEventLoop, sock: socket.socket, stage: Stage) -> bytes:
    """Return bytes that arrive, while the connection gets its turns."""
    receiving = asyncio.ensure_future(loop.sock_recv(sock, 1 << 20))
    while not receiving.done():
        stage.iterate()
        await asyncio.sleep(0)
    return receiving.result()


@pytest.mark.parametrize("loop_name", LOOPS)
def test_a_client_that_resets_loses_only_its_connection(loop_name: str) -> None:
    stage = Stage()
    connection = Connection(stage.processor)

    async def scenario() -> None:
        theirs = await connected(connection)
        reset(theirs)
        while connection.is_open:
            send(connection, b"some")
            await asyncio.sleep(0)
        assert connection not in stage.processor.connections
        send(connection, b"more")

    runner(loop_name)(scenario())
