"""Finds servers that came back with an older zxid, for example from a backup.

Such servers refuse each client that has seen a newer zxid, and give it no reason. So the client
would try to connect without end. This module asks with another client, which has seen nothing.

Imports ``client`` and ``model``.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.errors import ZooKeeperError
from zoolet.client.protocol.states import SERVED
from zoolet.model import paths

_LEAST_PAUSE_S: Final = 0.5


async def find_older(client: AsyncClient, new_client: Callable[[], AsyncClient]) -> int:
    """Wait until the servers have lost changes that a client has seen; return their last zxid.

    The servers are asked when the client has had no connection for its session timeout, and again
    after each further session timeout.

    Args:
        client: the client, which is started.
        new_client: returns another client of the same servers, which is not started.
    """
    while True:
        pause_s = max(_LEAST_PAUSE_S, client.session_timeout_ms / 1000)
        await _is_away_for(client, pause_s)
        zxid = await _zxid_of(new_client())
        if zxid is not None and zxid < client.last_zxid and client.state not in SERVED:
            return zxid


async def _is_away_for(client: AsyncClient, pause_s: float) -> None:
    """Wait until a client has had no connection for a time."""
    changed = asyncio.Event()

    def note(_: object) -> None:
        changed.set()

    client.add_listener(note)
    try:
        while True:
            changed.clear()
            limit_s = None if client.state in SERVED else pause_s
            try:
                async with asyncio.timeout(limit_s):
                    await changed.wait()  # a connected client has no limit to wait for
            except TimeoutError:
                return
    finally:
        client.remove_listener(note)


async def _zxid_of(probe: AsyncClient) -> int | None:
    """Return the last zxid of the servers; None if they do not answer."""
    try:
        async with probe:
            await probe.sync(paths.ROOT)  # the client's server may be behind its leader
            await probe.exists(paths.ROOT)
            return probe.last_zxid
    except ZooKeeperError:
        return None
