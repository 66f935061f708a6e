"""Many frames are sent together: each client gets all of them, in order, and only its own."""

import asyncio
import contextlib
import importlib.util
import os
import random
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.loops import LOOPS, runner
from tests.support.stage import Stage
from tests.unit.server.connections.test_sending import connected
from zoolet.server.connections.batches import Batch
from zoolet.server.connections.connection import Connection
from zoolet.server.pipeline.releases import RELEASED_AT_ONCE, SENT_TOGETHER_FROM

CLIENTS = RELEASED_AT_ONCE + 40
HAS_THREAD = importlib.util.find_spec("zoolet.server.connections.sending_thread") is not None


class PartialSender:
    """In place of the second thread: sockets take all, a part or nothing; sometimes it fails.

    Attributes:
        calls: the number of calls.
        error: what the next call raises after a part of the sends.
    """

    def __init__(self, seed: int) -> None:
        self.calls = 0
        self.error: Exception | None = None
        self._chance = random.Random(seed)

    def send_each(self, descriptors: list[int], frames: list[bytes]) -> list[int]:
        self.calls += 1
        assert len(set(descriptors)) == len(descriptors) == len(frames)
        counts = []
        for descriptor, frame in zip(descriptors, frames, strict=True):
            part = frame[: self._chance.choice((0, 1, len(frame) // 2, len(frame), len(frame)))]
            try:
                counts.append(os.write(descriptor, part) if part else 0)
            except OSError:
                counts.append(0)
            if self.error is not None and len(counts) > len(frames) // 2:
                raise self.error
        return counts

    def close(self) -> None:
        """There is no thread."""


class Client:
    """A client, its connection to the stage, and what it should have received."""

    def __init__(self, connection: Connection, theirs: socket.socket) -> None:
        self.connection = connection
        self.theirs = theirs
        self.expected = bytearray()
        self.received = bytearray()

    def hold(self, batch: Batch, frames: list[bytes]) -> None:
        """Let frames wait for a batch."""
        hold = batch.hold_of(self.connection)
        for frame in frames:
            hold.add(frame)
            hold.size_bytes += len(frame)
            self.connection.held_bytes += len(frame)
            self.expected += frame

    def send(self, frame: bytes) -> None:
        """Send a frame that shows no batch; it goes behind those that wait."""
        hold = self.connection.hold
        if hold is not None:
            self.hold(hold.batch, [frame])
        else:
            self.expected += frame
            self.connection.out().write(frame)
            self.connection.flush()

    def receive(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while piece := self.theirs.recv(1 << 20):
                self.received += piece


class Room:
    """A stage with clients on real sockets."""

    def __init__(self, seed: int, sender: Any) -> None:
        self.stage = Stage()
        self.releases = self.stage.commit._releases
        if sender is not None:
            self.releases._sending_thread = sender
        self.clients: list[Client] = []
        self.chance = random.Random(seed)
        self.batches = 0

    async def open(self) -> None:
        for _ in range(CLIENTS):
            connection = Connection(self.stage.processor)
            theirs = await connected(connection)
            assert connection._transport is not None
            ours = connection._transport.get_extra_info("socket")
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
            self.clients.append(Client(connection, theirs))

    def new_batch(self, frames_of: Callable[[], list[bytes]], clients: list[Client]) -> None:
        """Let frames wait for a batch, and release it."""
        self.batches += 1
        batch = Batch(self.batches)
        for client in clients:
            if client.connection.is_open and (frames := frames_of()):
                client.hold(batch, frames)
        batch.is_released = True
        self.releases.add(batch)

    def random_frames(self) -> list[bytes]:
        number = self.chance.choice((1, 1, 2, 3))
        sizes = self.chance.choices((1, 76, 3_000, 10_000, 300_000), (8, 8, 4, 1, 0.1), k=number)
        return [self.chance.randbytes(size) for size in sizes]

    def lose_one(self) -> None:
        client = self.chance.choice(self.clients)
        if self.chance.random() < 0.5:
            client.theirs.close()
            self.clients.remove(client)
        else:
            client.connection.abort()

    async def do_something(self) -> None:
        """Release one or two batches, send other frames, and let some clients read."""
        chance = self.chance
        for _ in range(chance.choice((1, 1, 2))):
            number = chance.choice((len(self.clients), chance.randrange(1, len(self.clients))))
            self.new_batch(self.random_frames, chance.sample(self.clients, number))
        for client in chance.sample(self.clients, 5):
            if client.connection.is_open:
                client.send(chance.randbytes(40))
        for _ in range(chance.randrange(4)):
            self.stage.iterate()
            await asyncio.sleep(0)
        for client in chance.sample(self.clients, chance.randrange(len(self.clients))):
            client.receive()
        if chance.random() < 0.2:
            self.lose_one()

    async def until_all_is_received(self) -> None:
        while any(
            client.connection.is_open and len(client.received) < len(client.expected)
            for client in self.clients
        ):
            self.stage.iterate()
            await asyncio.sleep(0)
            for client in self.clients:
                client.receive()

    def close(self) -> None:
        for client in self.clients:
            client.theirs.close()
        self.releases.close()


SENDERS: dict[str, Callable[[int], Any]] = {"partial": PartialSender, "own": lambda _seed: None}


@pytest.mark.parametrize("sender_name", SENDERS)
@pytest.mark.parametrize("loop_name", LOOPS)
@pytest.mark.parametrize("seed", range(3))
def test_each_client_gets_its_frames_in_order(seed: int, loop_name: str, sender_name: str) -> None:
    """Random frames to clients that read at random, and come and go."""
    sender = SENDERS[sender_name](seed)

    async def scenario() -> None:
        room = Room(seed, sender)
        await room.open()
        for _ in range(25):
            await room.do_something()
        await room.until_all_is_received()
        for client in room.clients:
            client.receive()
            if client.connection.is_open:
                assert client.received == client.expected
            else:
                assert client.expected.startswith(client.received)
        assert sum(client.connection.is_open for client in room.clients) > CLIENTS / 2
        assert (room.releases._sending_thread is not None) == (HAS_THREAD or sender is not None)
        room.close()

    runner(loop_name)(scenario())
    assert sender is None or sender.calls > 10


def test_after_a_failed_send_all_its_connections_are_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody knows how much each client has got, so a rest could be sent twice or be lost."""
    sender = PartialSender(1)

    async def scenario() -> None:
        room = Room(1, sender)
        await room.open()
        others, last = room.clients[:SENT_TOGETHER_FROM], room.clients[-1]
        sender.error = MemoryError("no memory")
        room.new_batch(lambda: [b"event"], others)
        sender.error = None
        await asyncio.sleep(0)
        assert not any(client.connection.is_open for client in others)
        room.new_batch(lambda: [b"event"], [last])
        await room.until_all_is_received()
        for client in others:
            client.receive()
            assert b"event".startswith(client.received)
        assert last.received == b"event"
        room.close()

    runner("asyncio")(scenario())
    assert "perhaps sent in part" in caplog.text


def test_a_few_frames_need_no_second_thread() -> None:
    sender = PartialSender(1)

    async def scenario() -> None:
        room = Room(1, sender)
        await room.open()
        for _ in range(3):
            room.new_batch(lambda: [b"event"], room.clients[: SENT_TOGETHER_FROM // 2])
        await room.until_all_is_received()
        assert sender.calls == 0
        room.close()

    runner("asyncio")(scenario())


def test_without_a_second_thread_all_frames_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has only one processor starts none."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0}, raising=False)

    async def scenario() -> None:
        room = Room(1, None)
        await room.open()
        room.new_batch(lambda: [b"event"], room.clients)
        await room.until_all_is_received()
        assert room.releases._sending_thread is None
        room.close()

    runner("asyncio")(scenario())
