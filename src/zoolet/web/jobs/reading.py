"""Which queues there are below a znode, and how a page reads a queue with its visitor's client.

The code of the job system runs in the event loop (`zoolet.jobs.AsyncDispatcher`), so a page needs
no thread, and the visitor's credentials count. Invariant: of a queue with many jobs, a page lists
and reads only a part.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from zoolet.client import AsyncClient, NoAuthError
from zoolet.jobs import AsyncDispatcher, JobError, JobTimeoutError, Overview
from zoolet.model import paths
from zoolet.web.clusters.clients import Connection
from zoolet.web.clusters.lists import ChildLists

DEFAULT_ROOT: Final = "/jobs"
"""The znode below which queues are looked for, unless the visitor names another one."""

MOST_NAMES: Final = 20_000
"""In a queue with one shard: most jobs of a place whose names are read for an overview."""

OPEN_S: Final = 10.0
"""The longest wait for the first answer about a queue, in seconds."""

QUEUES_AT_ONCE: Final = 50
"""The number of children that one page of queues shows."""

_SETTINGS: Final = "settings"


@dataclass(frozen=True, slots=True)
class FoundChild:
    """A child of the znode below which queues are looked for.

    Attributes:
        name: its name.
        is_queue: whether it is a queue; other znodes may have queues below them.
        overview: the overview of the queue; None if it is no queue, or cannot be read.
        error: why the queue cannot be read; "" if it can.
    """

    name: str
    is_queue: bool
    overview: Overview | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class FoundChildren:
    """A part of the children of a znode.

    Attributes:
        total: the number of all children.
        children: the children of this part, in the order of their names.
        is_queue: whether the znode itself is a queue.
    """

    total: int
    children: list[FoundChild]
    is_queue: bool


@asynccontextmanager
async def open_queue(connection: Connection, path: str) -> AsyncIterator[AsyncDispatcher]:
    """Give the block a dispatcher on the queue, whose requests the connection sends.

    ``await dispatcher.run(function, dispatcher.queue, ...)`` calls a function of `zoolet.jobs`.

    Raises:
        UnknownQueueError: there is no queue at this path.
        JobTimeoutError: the server does not answer within `OPEN_S`.
    """
    dispatcher = AsyncDispatcher(connection.client, path)
    try:
        async with asyncio.timeout(OPEN_S):
            await dispatcher.open()
    except TimeoutError as error:
        raise JobTimeoutError(
            f"no server of the cluster has answered within {OPEN_S:.0f} s: try again when the"
            " servers run"
        ) from error
    try:
        yield dispatcher
    finally:
        await dispatcher.close()


async def find_queues(
    lists: ChildLists,
    connection: Connection,
    root: str,
    start: int,
    filter_text: str,
    overview_of: Callable[[Connection, str], Awaitable[Overview]],
) -> FoundChildren:
    """Return a part of the children of ``root``, with an overview of those that are queues.

    Args:
        lists: the lists that users of the connection share.
        connection: the connection.
        root: the path of the znode.
        start: the position of the first child.
        filter_text: only children with this text in their name are selected.
        overview_of: returns the overview of a queue.

    Raises:
        NoNodeError: the znode does not exist.
        NoAuthError: the visitor may not list its children.
    """
    found = await lists.page(
        connection, root, start=start, count=QUEUES_AT_ONCE, filter_text=filter_text
    )
    client = connection.client
    wanted = [paths.join(paths.join(root, name), _SETTINGS) for name in found.names]
    are_queues = await asyncio.gather(
        *(_exists(client, path) for path in [paths.join(root, _SETTINGS), *wanted])
    )

    async def look(name: str) -> FoundChild:
        try:
            found = await overview_of(connection, paths.join(root, name))
        except JobError as error:
            return FoundChild(name, True, error=str(error))
        return FoundChild(name, True, found)

    async def not_a_queue(name: str) -> FoundChild:
        return FoundChild(name, False)

    pairs = zip(found.names, are_queues[1:], strict=True)
    children = await asyncio.gather(
        *(look(name) if is_queue else not_a_queue(name) for name, is_queue in pairs)
    )
    return FoundChildren(found.total, children, are_queues[0])


async def _exists(client: AsyncClient, path: str) -> bool:
    """Return whether a znode exists, also if the visitor may not know it."""
    try:
        return await client.exists(path) is not None
    except NoAuthError:
        return True
