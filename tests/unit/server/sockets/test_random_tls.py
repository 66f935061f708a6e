"""Random connections with TLS, beside a model of two streams of bytes."""

import asyncio
import random
import ssl

import pytest

from tests.support.loops import RunOnLoop, until
from tests.support.tls_peer import READ_BYTES, Recorded, Recorder, TlsPeer
from zoolet.server.sockets.tls_transport import PIECE_BYTES, RECORD_BYTES


class RandomConnection:
    """A connection on which both sides do what chance says; the model is what each has sent."""

    def __init__(self, peer: TlsPeer, protocol: Recorder, chance: random.Random) -> None:
        self.peer = peer
        self.protocol = protocol
        self.chance = chance
        self.to_server = bytearray()
        self.to_client = bytearray()
        self._encrypted = bytearray()

    def size(self) -> int:
        sizes = [1, 100, RECORD_BYTES, PIECE_BYTES, PIECE_BYTES + 1, READ_BYTES]
        return self.chance.randrange(1, self.chance.choice(sizes) + 1)

    async def act(self) -> None:
        protocol, transport = self.protocol, self.protocol.transport
        action = self.chance.randrange(7)
        if action == 0:
            records = [self.chance.randbytes(self.size()) for _ in range(3)]
            self.to_server += b"".join(records)
            self._encrypted += self.peer.encrypted(*records)
        elif action in {1, 2}:
            await self.send_some()
        elif action == 3:
            data = self.chance.randbytes(self.size())
            self.to_client += data
            transport.write(data)
        elif action == 4:
            transport.pause_reading()
        elif action == 5:
            transport.resume_reading()
        else:
            await self.peer.receive(self.chance.randrange(len(self.to_client) + 1))
        assert self.to_server.startswith(protocol.data)
        assert self.to_client.startswith(self.peer.received)
        if self.chance.random() < 0.3:
            await asyncio.sleep(0)

    async def send_some(self) -> None:
        """Send a part of the encrypted bytes, which ends anywhere in a record."""
        part = bytes(self._encrypted[: self.size()])
        del self._encrypted[: len(part)]
        self.protocol.transport.resume_reading()  # what is sent must not fill the socket
        await self.peer.send_raw(part)

    async def end(self, how: str) -> None:
        """End the connection; everything that was sent before has arrived."""
        self.protocol.transport.resume_reading()
        await self.peer.send_raw(bytes(self._encrypted))
        if how == "server":
            await until(lambda: len(self.protocol.data) == len(self.to_server))
            self.protocol.transport.close()
            assert await self.peer.receive_end() == "close_notify"
        else:
            await self.peer.receive(len(self.to_client))
            await self.peer.send_raw(self.peer.close_notify())
        await until(lambda: "lost" in self.protocol.events)
        assert self.protocol.data == self.to_server
        assert self.peer.received == self.to_client
        assert self.protocol.events.count("eof") == (how == "client")
        assert self.protocol.lost_with is None
        self.peer.socket.close()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_streams_arrive_whatever_their_pieces_are(
    run: RunOnLoop, tls: ssl.SSLContext, version: ssl.TLSVersion, seed: int
) -> None:
    async def scenario() -> None:
        chance = random.Random(seed)
        served = Recorded(tls=tls)
        connections = [RandomConnection(*await served.connected(version), chance) for _ in range(3)]
        for _ in range(150):
            await chance.choice(connections).act()
        for connection in connections:
            await connection.end(chance.choice(["server", "client"]))
        assert not served.admission.open
        served.acceptor.close()

    run(scenario())
