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
from zoolet.server.connections.batches import Batch
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


@pytest.mark.parametrize(
    "later", [[], [b"a short frame"], [bytes(10_000)], [b"short", bytes(5000)]]
)
@pytest.mark.parametrize("first", [b"an event", bytes(5000)])
def test_what_is_sent_already_is_not_sent_again(
    side: Side, first: bytes, later: list[bytes]
) -> None:
    """Frames may come to a hold after its first bytes were sent, and before it is released."""
    connection, transport, _, theirs = side
    hold = Batch(1).hold_of(connection)
    hold.add(first)
    hold.sent_bytes = 3
    for frame in later:
        hold.add(frame)
    hold.size_bytes = connection.held_bytes = sum(map(len, [first, *later]))
    connection.release(hold)
    rest = (first + b"".join(later))[3:]
    theirs.setblocking(False)
    received = b""
    with contextlib.suppress(BlockingIOError):
        while piece := theirs.recv(1 << 20):
            received += piece
    assert received + transport.written == rest


def test_a_broken_socket_is_left_to_the_transport(side: Side) -> None:
    connection, transport, ours, theirs = side
    theirs.close()
    send(connection, b"some")
    ours.close()
    transport.drain()
    send(connection, b"more")
    assert transport.written == b"somemore"


def test_sending_now_never_waits_and_never_fails(side: Side) -> None:
    send_now = pytest.importorskip(
        "zoolet.server.connections.socket_send", reason="only in the compiled build for Linux"
    ).send_now
    ours, theirs = side.ours, side.theirs
    ours.setblocking(True)
    descriptor = ours.fileno()
    assert send_now(descriptor, b"some") == 4
    assert send_now(descriptor, b"") == 0
    sent = 4
    while count := send_now(descriptor, bytes(100_000)):
        sent += count
    theirs.setblocking(False)
    received = bytearray()
    with contextlib.suppress(BlockingIOError):
        while True:
            received += theirs.recv(1 << 20)
    assert (len(received), bytes(received[:4])) == (sent, b"some")
    theirs.close()
    assert send_now(descriptor, b"some") == 0
    ours.close()
    assert [send_now(number, b"some") for number in (descriptor, -1, 1 << 30)] == [0, 0, 0]
    for wrong in ((), (1,), (1, "text"), (1, bytearray(1)), ("1", b""), (None, b""), (1, b"", 0)):
        with pytest.raises(TypeError):
            send_now(*wrong)
    for number in (1 << 31, -1 << 40, 1 << 80):
        with pytest.raises(OverflowError):
            send_now(number, b"some")


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


class Ends(NamedTuple):
    """A connection, its client, and the byte that only this connection sends."""

    connection: Connection
    theirs: socket.socket
    mark: int

    def check(self) -> None:
        """Let the client receive what has arrived, which must be of its own connection."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while self.theirs.fileno() >= 0 and (received := self.theirs.recv(1 << 16)):
                assert set(received) == {self.mark}


class ComingAndGoing:
    """Connections that are opened and closed at random, and may send at any time."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.stage = Stage()
        self.all: list[Ends] = []
        self.opened: list[Ends] = []
        self.descriptors: list[int] = []

    async def open_one(self) -> None:
        connection = Connection(self.stage.processor)
        theirs = await connected(connection)
        assert connection._transport is not None
        self.descriptors.append(connection._transport.get_extra_info("socket").fileno())
        self.all.append(Ends(connection, theirs, len(self.all)))
        self.opened.append(self.all[-1])

    async def close_one(self) -> None:
        ends = self.opened.pop(self.chance.randrange(len(self.opened)))
        match self.chance.randrange(4):
            case 0:
                ends.connection.abort()
            case 1:
                ends.connection.finish()
            case 2:
                reset(ends.theirs)
            case _:
                ends.theirs.close()
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)

    async def run(self) -> None:
        for _ in range(250):
            if len(self.opened) < self.chance.randrange(1, 8):
                await self.open_one()
            else:
                await self.close_one()
            for ends in self.chance.sample(self.all, min(8, len(self.all))):
                send(ends.connection, bytes([ends.mark]) * self.chance.choice((1, 100, 5000)))
                ends.check()
            self.stage.iterate()
        for ends in self.all:
            ends.check()
            ends.theirs.close()


@pytest.mark.parametrize("loop_name", LOOPS)
@pytest.mark.parametrize("seed", range(4))
def test_a_closed_connection_never_writes_to_another_socket(seed: int, loop_name: str) -> None:
    """The system gives the number of a closed descriptor to the next socket."""
    clients = ComingAndGoing(seed)
    runner(loop_name)(clients.run())
    assert len(set(clients.descriptors)) < len(clients.descriptors) / 2


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
