"""The search for a read-write server, while a read-only server serves the session.

This module knows neither the session nor the engine. Imports ``client/connecting``, ``model`` and
asyncio.
"""

import asyncio

from zoolet.client.asyncio_client.opening import OpenError, open_connection, resolve
from zoolet.client.connecting.read_write import MAX_ANSWER_BYTES, WORD, Candidates, says_read_write
from zoolet.client.connecting.server_order import ServerOrder
from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.model.addresses import Address


async def find_read_write(
    order: ServerOrder, current: Address, tls: TlsFiles | None, limit_s: float
) -> Address:
    """Ask the other servers one after another, with pauses, until one is read-write; return it.

    ``current`` is the read-only server; it is asked only if there is no other server.
    ``limit_s`` is the limit for each connection and each answer.
    """
    candidates = Candidates(order, current)
    while True:
        await asyncio.sleep(candidates.pause_s())
        address = candidates.next()
        if await is_read_write(address, tls, limit_s):
            return address


async def is_read_write(address: Address, tls: TlsFiles | None, limit_s: float) -> bool:
    """Whether a server is reached and says that it is read-write."""
    try:
        for ip in await resolve(address, limit_s):
            if await _says(ip, address, tls, limit_s):
                return True
    except OpenError:
        pass
    return False


async def _says(ip: str, address: Address, tls: TlsFiles | None, limit_s: float) -> bool:
    asking = _Asking()
    try:
        transport = await open_connection(lambda: asking, ip, address, tls, limit_s)
        try:
            transport.write(WORD)
            async with asyncio.timeout(limit_s):
                return says_read_write(await asking.answer)
        finally:
            transport.abort()
    except (OpenError, TimeoutError):
        return False


class _Asking(asyncio.Protocol):
    """Reads what a server sends until it closes the connection."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._got = b""

    def data_received(self, data: bytes) -> None:
        """Keep the bytes."""
        self._got = (self._got + data)[:MAX_ANSWER_BYTES]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's
        """End the answer."""
        if not self.answer.done():
            self.answer.set_result(self._got)
