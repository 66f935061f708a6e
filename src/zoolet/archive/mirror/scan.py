"""Reads the Stats and the names of all znodes of a subtree, with a bounded number of requests.

One getChildren2 for each znode returns both. Imports ``model``, ``client``, the errors and other
modules of its package.
"""

from collections import deque
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final, NamedTuple

from zoolet.archive.mirror.records.subtree import Subtree
from zoolet.archive.mirror.refusals import LOST, Part, refused
from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.errors import NoNodeError, ZooKeeperError
from zoolet.model.stat import Stat

if TYPE_CHECKING:
    import asyncio

    from zoolet.model.results import Children

_OUTSTANDING: Final = 200


class Scanned(NamedTuple):
    """A znode of a scan: its relative path, its Stat, and the names of its children."""

    relative: str
    stat: Stat
    names: tuple[str, ...]


async def scan(client: AsyncClient, subtree: Subtree, side: Part) -> AsyncGenerator[Scanned, None]:
    """Yield each znode of a subtree, parents before their children.

    Znodes that are deleted meanwhile are left out. A subtree that does not exist has no znodes.

    Raises:
        ArchiveError: the client may not read a znode.
    """
    waiting = [""]
    running: deque[tuple[str, asyncio.Future[Children]]] = deque()
    try:
        while waiting or running:
            while waiting and len(running) < _OUTSTANDING:
                relative = waiting.pop()
                running.append((relative, client.children(subtree.absolute(relative))))
            relative, future = running.popleft()
            try:
                names, stat = await future
            except NoNodeError:
                continue
            except LOST:
                raise
            except ZooKeeperError as error:
                raise refused(side, error) from error
            if not relative:
                names = tuple(name for name in names if f"/{name}" not in subtree.left_out)
            waiting += [f"{relative}/{name}" for name in names]
            yield Scanned(relative, stat, names)
    finally:
        for _, future in running:
            if not future.cancel() and not future.cancelled():
                future.exception()  # asyncio reports an error that nobody reads
