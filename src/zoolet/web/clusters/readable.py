"""Which znodes a client may read now.

ZooKeeper checks READ for getData with every server; exists needs no permission on Apache ZooKeeper.
Invariant: few requests are in progress at a time, because data can be long.
"""

from collections.abc import Iterable
from typing import Final

from zoolet.client import AsyncClient, NoAuthError, NoNodeError, ZnodeData

_OUTSTANDING: Final = 8


async def readable(client: AsyncClient, wanted: Iterable[str]) -> dict[str, bool | None]:
    """Return for each path whether the client may read it; None if the znode does not exist.

    Raises:
        ZooKeeperError: the server cannot say it.
    """
    found: dict[str, bool | None] = {}
    async for path, result in client.read_many(wanted, outstanding=_OUTSTANDING):
        if isinstance(result, ZnodeData):
            found[path] = True
        elif isinstance(result, NoAuthError):
            found[path] = False
        elif isinstance(result, NoNodeError):
            found[path] = None
        else:
            raise result
    return found
