"""Queues: values that one of several consumers takes.

`release.client_methods` makes the module of the client for threads from this module. So it contains
nothing that depends on asyncio except ``async`` and ``await``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from zoolet.client.asyncio_client.primitives import Deadline, Event, is_set_within
from zoolet.client.asyncio_client.recipes.once import AsyncOnce
from zoolet.client.asyncio_client.recipes.tools import AsyncTools
from zoolet.client.errors import NoNodeError, SessionExpiredError
from zoolet.client.protocol.batches import Multi
from zoolet.client.protocol.watches import OnNotice
from zoolet.model import paths
from zoolet.model.codes import CreateMode

if TYPE_CHECKING:
    from zoolet.client.protocol.watches import Watcher

PRIORITY: Final = 100
"""The default priority; a lower number is taken earlier."""

_MOST: Final = 999


class AsyncEntries:
    """The entries of a queue: ``PATH/PREFIX-PRIORITY-SEQUENCE``, each with its value as data."""

    def __init__(self, tools: AsyncTools, path: str, prefix: str, once: AsyncOnce) -> None:
        self.tools = tools
        self.path = path
        self.once = once
        self._prefix = prefix

    async def put(self, values: Sequence[bytes], priority: int, deadline: Deadline) -> None:
        """Add values in one txn, exactly once."""
        if not 0 <= priority <= _MOST:
            raise ValueError(f"priority={priority}: must be 0 to {_MOST}")
        prefix = paths.join(self.path, f"{self._prefix}-{priority:03d}-")
        while values:
            batch = Multi()
            for value in values:
                batch.create(prefix, value, mode=CreateMode.PERSISTENT_SEQUENTIAL)
            try:
                await self.once.apply(batch, deadline)
            except NoNodeError:
                await self.ensure(deadline)
            else:
                return

    async def ensure(self, deadline: Deadline) -> None:
        """Create the parent of the entries, if it is missing."""
        await self.tools.repeat(lambda: self.tools.ensure_path(self.path, deadline), deadline)

    async def names(self, deadline: Deadline) -> list[str]:
        """Return the names of the entries in their order."""
        return (await self.watch(deadline, None))[0]

    async def watch(
        self, deadline: Deadline, notify: OnNotice | None
    ) -> "tuple[list[str], Watcher | None]":
        """Return the names of the entries in their order, and the watcher of their changes."""
        make = self.tools.make
        while True:
            try:
                listed, watcher = await self.tools.watch(
                    lambda: make.children(self.path, notify), deadline
                )
            except NoNodeError:
                await self.ensure(deadline)
            except SessionExpiredError:
                await self.tools.wait_for_session(deadline)
            else:
                return sorted(listed.names), watcher

    async def wait(self, deadline: Deadline) -> None:
        """Wait until there is an entry."""
        changed = Event()

        def note(_: object) -> None:
            changed.set()

        self.tools.engine.listeners.append(note)
        watcher: Watcher | None = None
        try:
            names, watcher = await self.watch(deadline, note)
            if not names and not await is_set_within(changed, deadline.left_s()):
                raise deadline.error()
        finally:
            self.tools.engine.listeners.remove(note)
            self.tools.forget(watcher)

    async def size(self, deadline: Deadline) -> int:
        """Return the number of entries."""
        make = self.tools.make
        stat = await self.tools.repeat(
            lambda: self.tools.run(lambda: make.exists(self.path), deadline), deadline
        )
        return 0 if stat is None else stat.num_children


class AsyncValues:
    """What both kinds of queues have in common: how values are added."""

    def __init__(self, tools: AsyncTools, path: str, entries: AsyncEntries) -> None:
        self._tools = tools
        self._path = path
        self._entries = entries

    async def put(
        self, value: bytes, *, priority: int = PRIORITY, timeout_s: float | None = None
    ) -> None:
        """Add a value.

        ``priority`` is 0 to 999; lower numbers come first. ``timeout_s`` is the longest wait for
        the server, in seconds; None is no limit.

        Raises:
            DeadlineError: the time is over; the value may have been added.
        """
        await self.put_all([value], priority=priority, timeout_s=timeout_s)

    async def put_all(
        self,
        values: Sequence[bytes],
        *,
        priority: int = PRIORITY,
        timeout_s: float | None = None,
    ) -> None:
        """Add several values in one txn; see `put`."""
        await self._entries.put(values, priority, Deadline(timeout_s, "queue", self._path))


class AsyncQueue(AsyncValues):
    """A queue of values, which ``client.queue(path)`` makes.

    Guarantees: each value that was put is taken at most once, and exactly once if no consumer dies.
    This is also true if replies are lost or sessions expire. Values with a lower priority come
    first, and values with the same priority in the order in which they were put.

    Not guaranteed: a value is deleted when it is taken. If the consumer dies, the value is lost; a
    `LockingQueue` avoids that. If `put` or `get` raises DeadlineError or is cancelled, the value
    may have been added or taken. Each new value wakes all consumers that wait.

    Layout: that of kazoo's ``Queue``: ``PATH/entry-PRIORITY-SEQUENCE``. Values can be put by kazoo
    and taken by zoolet, and the reverse. The markers of `once.py` are below PATH-__once__.
    """

    def __init__(self, tools: AsyncTools, path: str) -> None:
        """Make a queue; a program calls ``client.queue`` instead."""
        super().__init__(tools, path, AsyncEntries(tools, path, "entry", AsyncOnce(tools, path)))

    async def get(self, *, timeout_s: float | None = None) -> bytes:
        """Wait for the next value, delete it and return it.

        ``timeout_s`` is the longest wait in seconds; None is no limit.

        Raises:
            DeadlineError: there is no value in time.
        """
        deadline = Deadline(timeout_s, "queue", self._path)
        while True:
            value = await self._take(deadline)
            if value is not None:
                return value
            await self._entries.wait(deadline)

    async def try_get(self, *, timeout_s: float | None = None) -> bytes | None:
        """Delete the next value and return it; return None if the queue is empty.

        ``timeout_s`` is the longest wait for the server, in seconds; None is no limit.
        """
        return await self._take(Deadline(timeout_s, "queue", self._path))

    async def size(self, *, timeout_s: float | None = None) -> int:
        """Return the number of values."""
        return await self._entries.size(Deadline(timeout_s, "queue", self._path))

    async def _take(self, deadline: Deadline) -> bytes | None:
        """Take the first entry; None if there is none."""
        while True:
            names = await self._entries.names(deadline)
            if not names:
                return None
            for name in names:
                path = paths.join(self._path, name)
                value = await self._tools.data_of(path, deadline)
                if value is None:
                    continue
                try:
                    await self._entries.once.apply(Multi().delete(path), deadline)
                except NoNodeError:
                    continue  # another consumer was faster
                return value
