"""The search for a read-write server, while a read-only server serves the session.

Source: ``pingRwServer`` of Apache ZooKeeper's ``ClientCnxn``. This module knows neither the session
nor the engine. Imports ``client/connecting``, ``model`` and asyncio.
"""

import asyncio
import random
from typing import Final

from zoolet.client.asyncio_client.opening import OpenError, open_connection, resolve
from zoolet.client.connecting.server_order import ServerOrder
from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.model.addresses import Address

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 60.0
_WORD: Final = b"isro"
_READ_WRITE: Final = b"rw"


async def find_read_write(
    order: ServerOrder, current: Address, tls: TlsFiles | None, limit_s: float
) -> Address:
    """Ask the other servers one after another, with pauses, until one is read-write; return it.

    ``current`` is the read-only server; it is asked only if there is no other server.
    ``limit_s`` is the limit for each connection and each answer.
    """
    longest_s = FIRST_PAUSE_S
    left: list[Address] = []
    while True:
        await asyncio.sleep(longest_s * random.uniform(0.5, 1.0))  # noqa: S311 -- no secret
        longest_s = min(LONGEST_PAUSE_S, 2 * longest_s)
        if not left:
            servers = order.servers.addresses
            left = order.shuffled([one for one in servers if one != current] or servers)
        address = left.pop()
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
            transport.write(_WORD)
            async with asyncio.timeout(limit_s):
                return (await asking.answer).strip() == _READ_WRITE
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
        """Keep the bytes; an answer to this word has at most four."""
        self._got = (self._got + data)[:4]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's
        """End the answer."""
        if not self.answer.done():
            self.answer.set_result(self._got)
