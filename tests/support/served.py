"""An acceptor that serves an echo, and what its clients see."""

import asyncio
import gc
import socket
import ssl
from typing import cast

from tests.support.loops import count_descriptors, until
from zoolet.server.sockets.admission import AcceptedSocket, Admission, Limits
from zoolet.server.sockets.listening import Acceptor, open_listening_sockets
from zoolet.server.zoo_cfg.config import Listener

BACKLOG = 1000
UNLIMITED = Limits(0, 0, 8)


class Echo(asyncio.Protocol):
    """Sends back what it gets."""

    def __init__(self, accepted: AcceptedSocket) -> None:
        self.accepted = accepted
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.accepted.opened(self.transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.accepted.closed()


class Served:
    """An acceptor on a port of 127.0.0.1."""

    def __init__(
        self,
        limits: Limits = UNLIMITED,
        tls: ssl.SSLContext | None = None,
        handshake_timeout_ms: int = 10_000,
        *,
        accepts_plain: bool = False,
    ) -> None:
        self.refused = 0
        self.accepts_plain = accepts_plain
        self.admission = Admission(limits, lambda: 0, self.count_refused)
        self.protocols: list[Echo] = []
        self.acceptor = Acceptor(
            open_listening_sockets(Listener("127.0.0.1", 0), BACKLOG),
            self.admission,
            self.new_protocol,
            lambda: 0,
            tls=None if tls is None else lambda: tls,
            accepts_plain=accepts_plain,
            handshake_timeout_ms=handshake_timeout_ms,
        )
        self.port = self.acceptor.sockets[0].port

    def count_refused(self, count: int) -> None:
        self.refused += count

    def new_protocol(self, accepted: AcceptedSocket) -> asyncio.Protocol:
        self.protocols.append(Echo(accepted))
        return self.protocols[-1]

    def connect(self) -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", self.port))
        connected.setblocking(False)
        return connected


async def echoed(client: socket.socket, data: bytes = b"hello") -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, data)
    return await loop.sock_recv(client, 100)


async def is_closed(client: socket.socket) -> bool:
    try:
        return await asyncio.get_running_loop().sock_recv(client, 100) == b""
    except ConnectionResetError:
        return True


async def count_when_warm(served: Served) -> int:
    """Return how many descriptors are open when the loop has opened its own."""
    with served.connect() as client:
        if served.accepts_plain:
            client.send(b"\0")  # else the connection gets no transport
    await until(lambda: len(served.protocols) == 1 and not served.admission.open)
    served.protocols.clear()
    gc.collect()  # what other tests have left must not be closed later
    return count_descriptors()
