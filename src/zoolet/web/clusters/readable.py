"""Which znodes a client may read now.

ZooKeeper checks READ for getData with every server; exists needs no permission on Apache ZooKeeper.
Invariant: few requests are in progress at a time, because data can be long.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Final

from zoolet.client import AsyncClient, NoAuthError, NoNodeError, Stat, ZnodeData

_OUTSTANDING: Final = 8


class Denied(Enum):
    """The client may not read a znode."""

    READ = "READ"


async def readable(client: AsyncClient, wanted: Iterable[str]) -> dict[str, Stat | Denied | None]:
    """Return the Stat of each znode that the client may read; None if it does not exist.

    Raises:
        ZooKeeperError: the server cannot say it.
    """
    found: dict[str, Stat | Denied | None] = {}
    async for path, result in client.read_many(wanted, outstanding=_OUTSTANDING):
        if isinstance(result, ZnodeData):
            found[path] = result.stat
        elif isinstance(result, NoAuthError):
            found[path] = Denied.READ
        elif isinstance(result, NoNodeError):
            found[path] = None
        else:
            raise result
    return found
