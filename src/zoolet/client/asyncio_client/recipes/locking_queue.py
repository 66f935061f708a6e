"""A queue whose values are taken under a lock, so that no value is lost when a consumer dies.

`release.client_methods` makes the module of the client for threads from this module. So it contains
nothing that depends on asyncio except ``async`` and ``await``.
"""

import uuid
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

from zoolet.client.asyncio_client.primitives import (
    Deadline,
    Event,
    Mutex,
    in_background,
    is_set_within,
)
from zoolet.client.asyncio_client.recipes.ephemeral import AsyncEphemeral
from zoolet.client.asyncio_client.recipes.once import AsyncOnce
from zoolet.client.asyncio_client.recipes.queue import AsyncEntries, AsyncValues
from zoolet.client.asyncio_client.recipes.tools import AsyncTools
from zoolet.client.errors import (
    ConnectionLossError,
    DeadlineError,
    LockLostError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
    ZooKeeperError,
)
from zoolet.client.protocol.batches import Multi
from zoolet.client.protocol.watches import Watcher
from zoolet.model import paths
from zoolet.model.codes import CreateMode

ENTRIES: Final = "entries"
TAKEN: Final = "taken"
TAKERS: Final = "__takers__"


class AsyncQueueEntry:
    """A value that a consumer has taken from a `LockingQueue`, until `consume` or `release`.

    As a context manager, it is consumed at the end of the block, or released if the block raises.

    Attributes:
        value: the value.
    """

    def __init__(
        self, name: str, value: bytes, taker: AsyncEphemeral, end: Callable[..., Awaitable[None]]
    ) -> None:
        """Make an entry; a program calls ``queue.get`` instead."""
        self.value = value
        self._name = name
        self._taker = taker
        self._end = end
        self._is_over = False

    @property
    def lost(self) -> Event:
        """The event that is set when the session has ended, so others may take the value."""
        return self._taker.lost

    async def consume(self, *, timeout_s: float | None = None) -> None:
        """Delete the value from the queue, exactly once.

        ``timeout_s`` is the longest wait for the server, in seconds; None is no limit.

        Raises:
            LockLostError: the session has ended, or `release` was called, so the value is in the
                queue again.
            DeadlineError: the time is over; the value may have been deleted.
        """
        if self._is_over:
            raise LockLostError("queue", self._name, "the value was released or consumed before")
        try:
            await self._end(self._name, self._taker, timeout_s, deletes=True)
        except DeadlineError:
            raise  # the program may try it again
        except BaseException:
            self._is_over = True
            raise
        self._is_over = True

    async def release(self, *, timeout_s: float | None = None) -> None:
        """Put the value back, at its old place; do nothing if it is back already.

        ``timeout_s`` is the longest wait for the server, in seconds; None is no limit.
        """
        if self._is_over:
            return
        # From now on, another consumer may have it.
        self._is_over = True
        try:
            await self._end(self._name, self._taker, timeout_s, deletes=False)
        except LockLostError:
            return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            await self.consume()
        else:
            await self.release()


class AsyncLockingQueue(AsyncValues):
    """A queue of values that stay in the queue while a consumer works on them.

    ``client.locking_queue(path)`` makes it: ``async with await queue.get() as entry``. `close` puts
    back what was taken; the queue can be used after it too.

    Guarantees: a value is deleted only by the consumer that has taken it, and only while the
    session of this consumer exists. If that session ends, others can take the value. `put` adds a
    value exactly once, and `consume` deletes it exactly once, also if replies are lost. Values come
    in the order of a `Queue`.

    Not guaranteed: if a session expires, its consumer may work on a value which another one has
    taken already. Its `consume` then raises LockLostError. Each change wakes all that wait.

    Layout: that of kazoo's ``LockingQueue``. The values are
    ``PATH/entries/entry-PRIORITY-SEQUENCE``, and an ephemeral of the same name below ``PATH/taken``
    says that a value is taken. Consumers of kazoo and of zoolet share the values. In addition, each
    consumer of zoolet has an ephemeral below PATH-__takers__, and the markers of `once.py` are
    below PATH-__once__.
    """

    def __init__(self, tools: AsyncTools, path: str) -> None:
        """Make a queue; a program calls ``client.locking_queue`` instead."""
        once = AsyncOnce(tools, path)
        entries = AsyncEntries(tools, paths.join(path, ENTRIES), "entry", once)
        super().__init__(tools, path, entries)
        self._taken = paths.join(path, TAKEN)
        self._mutex = Mutex()
        self._taker: AsyncEphemeral | None = None
        self._out: dict[str, AsyncEphemeral] = {}

    async def get(self, *, timeout_s: float | None = None) -> AsyncQueueEntry:
        """Wait for a value that nobody has taken, and take it.

        ``timeout_s`` is the longest wait in seconds; None is no limit.

        Raises:
            DeadlineError: there is no such value in time.
        """
        deadline = Deadline(timeout_s, "queue", self._path)
        while True:
            entry = await self._take(deadline)
            if entry is not None:
                return entry
            await self._wait(deadline)

    async def try_get(self, *, timeout_s: float | None = None) -> AsyncQueueEntry | None:
        """Take the next value; return None if there is none that nobody has taken.

        ``timeout_s`` is the longest wait for the server, in seconds; None is no limit.
        """
        return await self._take(Deadline(timeout_s, "queue", self._path))

    async def size(self, *, timeout_s: float | None = None) -> int:
        """Return the number of values, with those that are taken."""
        return await self._entries.size(Deadline(timeout_s, "queue", self._path))

    async def close(self) -> None:
        """Put all values back that this object has taken and not consumed."""
        last, self._taker = self._taker, None
        try:
            await self._close(last)
        except BaseException:
            in_background(self._close, last)
            raise

    async def _close(self, last: AsyncEphemeral | None) -> None:
        for name, taker in tuple(self._out.items()):
            await self._give_back(name, taker)
        if last is not None:
            await last.delete()

    async def _end(
        self, name: str, taker: AsyncEphemeral, timeout_s: float | None, *, deletes: bool
    ) -> None:
        """Give a taken value back, or delete it; if this fails, give it back in the background."""
        deadline = Deadline(timeout_s, "queue", self._path)
        try:
            await self._end_once(name, taker, deadline, deletes=deletes)
        except LockLostError:
            raise
        except BaseException as error:
            if not deletes or not isinstance(error, DeadlineError):  # the program may try it again
                in_background(self._give_back, name, taker)
            raise

    async def _end_once(
        self, name: str, taker: AsyncEphemeral, deadline: Deadline, *, deletes: bool
    ) -> None:
        # While the taker exists, its session exists, and so does the ephemeral below TAKEN.
        batch = Multi().check(taker.path).delete(paths.join(self._taken, name))
        if deletes:
            batch.delete(paths.join(self._entries.path, name))
        try:
            taker.check()
            await self._entries.once.apply(batch, deadline)
        except NoNodeError:
            self._forget(name, taker)
            reason = "the session has ended, or others have deleted the value"
            raise LockLostError("queue", self._path, reason) from None
        except LockLostError:
            self._forget(name, taker)
            raise
        self._forget(name, taker)

    async def _take(self, deadline: Deadline) -> AsyncQueueEntry | None:
        while True:
            taker = await self._registered(deadline)
            names, _ = await self._available(deadline)
            if not names:
                return None
            try:
                for name in names:
                    entry = await self._taken_entry(name, taker, deadline)
                    if entry is not None:
                        return entry
            except (LockLostError, SessionExpiredError):
                await self._tools.wait_for_session(deadline)

    async def _taken_entry(
        self, name: str, taker: AsyncEphemeral, deadline: Deadline
    ) -> AsyncQueueEntry | None:
        """Take one value; None if others have taken or deleted it."""
        other = self._out.get(name)
        if other is not None and not other.lost.is_set():
            return None  # another caller of this object takes it now, or gives it back
        self._out[name] = taker
        try:
            if not await self._lock(name, taker, deadline):
                self._forget(name, taker)
                return None
            value = await self._tools.data_of(paths.join(self._entries.path, name), deadline)
        except (LockLostError, SessionExpiredError):
            self._forget(name, taker)
            raise
        except BaseException:
            # The multi may have been applied, or may be applied later.
            in_background(self._give_back, name, taker)
            raise
        if value is None:  # others have deleted it in spite of the lock
            await self._end(name, taker, None, deletes=False)
            return None
        return AsyncQueueEntry(name, value, taker, self._end)

    async def _lock(self, name: str, taker: AsyncEphemeral, deadline: Deadline) -> bool:
        """Create the ephemeral that says that a value is taken; return False if others were faster.

        Raises:
            LockLostError: the session has ended.
        """
        taken, path = paths.join(self._taken, name), paths.join(self._entries.path, name)
        own = _name_of(taker)
        batch = Multi().check(taker.path).check(path)
        batch.create(taken, own, mode=CreateMode.EPHEMERAL)
        while True:
            try:
                with deadline.of_call() as limit_s:
                    await self._tools.client.multi(batch, timeout_s=limit_s)
            except ConnectionLossError:
                continue
            except NodeExistsError:
                return await self._tools.data_of(taken, deadline) == own
            except NoNodeError as error:
                if error.path == path:
                    return False
                if error.path == taker.path:
                    raise LockLostError("queue", self._path, "the session has ended") from None
                await self._tools.ensure_path(self._taken, deadline)
            else:
                return True

    async def _give_back(self, name: str, taker: AsyncEphemeral) -> None:
        """Give a value back, if this consumer has taken it."""
        no_limit = Deadline(None, "queue", self._path)
        taken = paths.join(self._taken, name)
        try:
            await self._tools.run(lambda: self._tools.make.sync(taken), no_limit)
            if await self._tools.data_of(taken, no_limit) == _name_of(taker):
                await self._end_once(name, taker, no_limit, deletes=False)
        except ZooKeeperError:
            pass  # the session has ended, and the ephemeral with it
        self._forget(name, taker)

    def _forget(self, name: str, taker: AsyncEphemeral) -> None:
        """Note that a value is not taken by this consumer any more."""
        if self._out.get(name) is taker:
            del self._out[name]

    async def _registered(self, deadline: Deadline) -> AsyncEphemeral:
        """Return the ephemeral of this consumer, which shows that its session exists."""
        await self._mutex.acquire(deadline)
        try:
            while self._taker is None or self._taker.lost.is_set():
                if self._taker is not None:
                    self._taker.end()
                    self._taker = None
                taker = AsyncEphemeral(
                    self._tools,
                    f"{self._path}-{TAKERS}",
                    uuid.uuid4().hex,
                    b"",
                    CreateMode.EPHEMERAL,
                )
                try:
                    await taker.create(deadline)
                    taker.hold()
                    self._taker = taker
                except (LockLostError, SessionExpiredError):
                    await self._tools.wait_for_session(deadline)
                finally:
                    if self._taker is None:
                        taker.abandon()
            return self._taker
        finally:
            self._mutex.release()

    async def _available(
        self, deadline: Deadline, changed: Event | None = None
    ) -> tuple[list[str], list[Watcher]]:
        """Return the names of the values that nobody has taken, and the watchers of changes."""
        notify = None if changed is None else _Setter(changed)
        watchers: list[Watcher] = []
        taken_entries = AsyncEntries(self._tools, self._taken, "", self._entries.once)
        # Whoever takes a value that is listed here fails if it is consumed meanwhile.
        taken, watcher = await taken_entries.watch(deadline, notify)
        if watcher is not None:
            watchers.append(watcher)
        names, watcher = await self._entries.watch(deadline, notify)
        if watcher is not None:
            watchers.append(watcher)
        is_taken = set(taken)
        return [name for name in names if name not in is_taken], watchers

    async def _wait(self, deadline: Deadline) -> None:
        """Wait until a value may be available."""
        changed = Event()
        listener = _Setter(changed)
        self._tools.engine.listeners.append(listener)
        watchers: list[Watcher] = []
        try:
            names, watchers = await self._available(deadline, changed)
            if not names and not await is_set_within(changed, deadline.left_s()):
                raise deadline.error()
        finally:
            self._tools.engine.listeners.remove(listener)
            for watcher in watchers:
                self._tools.forget(watcher)


def _name_of(taker: AsyncEphemeral) -> bytes:
    return taker.path.rpartition("/")[2].encode()


class _Setter:
    """Sets an event when it is called."""

    def __init__(self, event: Event) -> None:
        self._event = event

    def __call__(self, _: object) -> None:
        self._event.set()
