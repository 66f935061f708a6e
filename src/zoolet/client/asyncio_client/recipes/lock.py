"""Locks: one holder, or one writer and many readers.

`release.client_methods` makes the module of the client for threads from this module. So it contains
nothing that depends on asyncio except ``async`` and ``await``.
"""

import re
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from zoolet.client.asyncio_client.primitives import (
    Deadline,
    Event,
    Holder,
    Mutex,
    is_set_within,
)
from zoolet.client.asyncio_client.recipes.ephemeral import DELETE_S, AsyncEphemeral
from zoolet.client.asyncio_client.recipes.tools import AsyncTools
from zoolet.client.errors import (
    LockLostError,
    NoNodeError,
    SessionExpiredError,
    WaitCancelledError,
)
from zoolet.model import paths
from zoolet.model.codes import CreateMode

if TYPE_CHECKING:
    from zoolet.client.protocol.watches import Watcher

LOCK: Final = "__lock__"
READ_LOCK: Final = "__rlock__"


class Kind:
    """A kind of lock: the name of its znodes, and the names of the znodes that it waits for."""

    def __init__(self, name: str, blockers: tuple[str, ...]) -> None:
        self.name = name
        self._blockers = _pattern(blockers)
        self._all = _pattern((name, *blockers))

    def blocker(self, own: str, names: tuple[str, ...]) -> str | None:
        """Return the last of the znodes before ``own`` for which it waits; None if none is left."""
        mine = _sequence(self._all, own)
        before = [
            (sequence, name)
            for name in names
            if (sequence := _sequence(self._blockers, name)) is not None
            and mine is not None
            and sequence < mine
        ]
        return max(before)[1] if before else None

    def sorted(self, names: tuple[str, ...]) -> list[str]:
        """Return the znodes of contenders, in the order in which they get the lock."""
        found = [(_sequence(self._all, name), name) for name in names]
        return [name for _, name in sorted((at, name) for at, name in found if at is not None)]


def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?:{'|'.join(re.escape(name) for name in names)})(-?\d{{10}})$")


def _sequence(pattern: re.Pattern[str], name: str) -> int | None:
    found = pattern.search(name)
    return None if found is None else int(found[1])


class AsyncContender(AsyncEphemeral):
    """The znode of one contender for a lock, which waits for the znodes before it."""

    def __init__(self, tools: AsyncTools, path: str, kind: Kind, data: bytes) -> None:
        super().__init__(tools, path, kind.name, data, CreateMode.EPHEMERAL_SEQUENTIAL)
        self._kind = kind
        self._is_cancelled = False
        self._watcher: Watcher | None = None

    def cancel(self) -> None:
        """Let `wait` and `is_first` raise WaitCancelledError."""
        self._is_cancelled = True
        self.changed.set()

    async def wait(self, deadline: Deadline) -> None:
        """Wait until this contender is the first one.

        Raises:
            LockLostError: the znode is lost.
            WaitCancelledError: `cancel` was called.
            DeadlineError: the time is over.
        """
        while True:
            self.changed.clear()
            blocker = await self._blocker(deadline)
            if blocker is None:
                return
            if not await self._watch(blocker, deadline):
                continue
            if not await is_set_within(self.changed, deadline.left_s()):
                raise deadline.error()

    async def is_first(self, deadline: Deadline) -> bool:
        """Return whether this contender is the first one."""
        return await self._blocker(deadline) is None

    def end(self) -> None:
        """Watch neither this znode nor the one before it."""
        super().end()
        self.use(None)

    def use(self, watcher: "Watcher | None") -> None:
        """Forget the watcher of the last watch, and remember that of the next one."""
        last, self._watcher = self._watcher, watcher
        self.tools.forget(last)

    async def _blocker(self, deadline: Deadline) -> str | None:
        make = self.tools.make
        self.check()
        listed = await self.tools.run(lambda: make.children(self.parent), deadline)
        own = self.path.rpartition("/")[2]
        if own not in listed.names:
            raise LockLostError("", self.parent, "its znode was deleted")
        self.check()
        if self._is_cancelled:
            raise WaitCancelledError("", self.parent)
        return self._kind.blocker(own, listed.names)

    async def _watch(self, name: str, deadline: Deadline) -> bool:
        """Watch the deletion of a znode; return False if it does not exist."""
        path, make = paths.join(self.parent, name), self.tools.make
        try:
            _, watcher = await self.tools.watch(lambda: make.children(path, self.notify), deadline)
        except NoNodeError:
            return False
        self.use(watcher)
        return True


class AsyncLock:
    """A lock that at most one client holds; or a read lock or a write lock.

    ``client.lock(path)``, ``client.read_lock(path)`` and ``client.write_lock(path)`` make it. Use
    it as a context manager, or call `acquire` and `release`. It is not re-entrant. Tasks or threads
    that share one object wait for each other. `release` a lost lock too, before the next `acquire`.

    Guarantees: contenders get the lock in the order in which they asked for it. A read lock waits
    only for earlier write locks, a write lock for all earlier ones. A lost reply neither loses the
    lock nor leaves a znode. If the session expires while `acquire` waits, it waits again in the
    next session. A contender watches only the znode before its own.

    The lock is lost when the session expires, when another client deletes its znode, and when no
    server was connected for the session timeout. Then `lost` is set, and the end of the ``with``
    block raises LockLostError.

    Not guaranteed: after a long pause of this process, or with a wrong clock, this client may
    still think that it holds the lock while another client has it. So give `token` to the resource
    which the lock protects. The resource must refuse a token that is lower than one it has seen.
    `token` rises with each holder, also if others delete and create the parent again.

    Layout: that of kazoo's ``Lock``, ``ReadLock`` and ``WriteLock``: ``PATH/ID__lock__SEQUENCE``
    and ``PATH/ID__rlock__SEQUENCE``, with the identifier as data. Contenders of kazoo and of zoolet
    wait for each other. Here, the ID is Curator's: ``_c_UUID-``.
    """

    def __init__(
        self,
        tools: AsyncTools,
        path: str,
        kind: Kind,
        identifier: str,
        timeout_s: float | None,
        holder: Holder,
    ) -> None:
        """Make a lock that is not held; a program calls ``client.lock`` instead."""
        self._tools = tools
        self._path = path
        self._kind = kind
        self._data = identifier.encode()
        self._timeout_s = timeout_s
        self._mutex = Mutex()
        self._waiting: AsyncContender | None = None
        self._held: AsyncContender | None = None
        self._never_lost = Event()
        self._holder = holder

    @property
    def path(self) -> str:
        """The path of the lock."""
        return self._path

    @property
    def token(self) -> int:
        """The fencing token; 0 if the lock is not held. It rises with each holder."""
        return 0 if self._held is None else self._held.czxid

    @property
    def is_held(self) -> bool:
        """Whether this client holds the lock and has not lost it."""
        return self._held is not None and not self._held.lost.is_set()

    @property
    def lost(self) -> Event:
        """The event that is set when the lock is lost; it belongs to the present holder."""
        return self._never_lost if self._held is None else self._held.lost

    async def acquire(self, *, timeout_s: float | None = None) -> int:
        """Wait for the lock; return its fencing token.

        ``timeout_s`` is the longest wait in seconds; None is no limit.

        Raises:
            DeadlineError: another client holds the lock, or no server answers, for this time.
            WaitCancelledError: `cancel` was called.
            SessionExpiredError: the session has expired, and the client asks for no other one.
        """
        token = await self._acquire(Deadline(timeout_s, "lock", self._path), waits=True)
        return token or 0

    async def try_acquire(self, *, timeout_s: float | None = None) -> int | None:
        """Take the lock if it is free; return its fencing token, or None if it is not free.

        ``timeout_s`` is the longest wait for the server, in seconds; None is no limit.

        Raises:
            DeadlineError: no server answers in time.
        """
        return await self._acquire(Deadline(timeout_s, "lock", self._path), waits=False)

    async def release(self, *, timeout_s: float | None = DELETE_S) -> bool:
        """Release the lock; return whether it was held until now.

        This waits at most ``timeout_s`` seconds for the server. After that, the client goes on to
        delete its znode in the background.
        """
        held, self._held = self._held, None
        if held is None:
            return False
        was_lost = held.lost.is_set()
        self._mutex.release()
        await held.delete(timeout_s)
        return not was_lost

    def cancel(self) -> None:
        """End the wait of an `acquire`, which then raises WaitCancelledError."""
        waiting = self._waiting
        if waiting is not None:
            waiting.cancel()

    async def contenders(
        self, *, at_most: int | None = None, timeout_s: float | None = None
    ) -> list[str]:
        """Return the identifiers of the holder and of those that wait, in their order.

        ``at_most`` is the longest list; None is no limit.
        """
        deadline = Deadline(timeout_s, "contenders", self._path)
        make = self._tools.make
        found: list[str] = []
        try:
            listed = await self._tools.run(lambda: make.children(self._path), deadline)
        except NoNodeError:
            return found
        for name in self._kind.sorted(listed.names):
            data = await self._tools.data_of(paths.join(self._path, name), deadline)
            if data is not None:
                found.append(data.decode(errors="replace"))
            if len(found) == at_most:
                break
        return found

    async def _acquire(self, deadline: Deadline, *, waits: bool) -> int | None:
        if waits:
            await self._mutex.acquire(deadline)
        elif not self._mutex.try_acquire():
            return None
        try:
            self._held = await self._contend(deadline, waits=waits)
        finally:
            if self._held is None:
                self._mutex.release()
        return None if self._held is None else self._held.czxid

    async def _contend(self, deadline: Deadline, *, waits: bool) -> AsyncContender | None:
        while True:
            contender = AsyncContender(self._tools, self._path, self._kind, self._data)
            self._waiting = contender
            is_held = False
            try:
                await contender.create(deadline)
                if waits:
                    await contender.wait(deadline)
                elif not await contender.is_first(deadline):
                    return None
                contender.hold(self._holder.cancel)
                is_held = True
            except (LockLostError, SessionExpiredError):
                # Wait again, with another znode, in the next session.
                pass
            finally:
                self._waiting = None
                if not is_held:
                    contender.abandon()
            if is_held:
                return contender
            await self._tools.wait_for_session(deadline)

    async def __aenter__(self) -> Self:
        await self.acquire(timeout_s=self._timeout_s)
        self.begin()
        return self

    def begin(self) -> None:
        """Note the task that runs while the lock is held, which ``cancel_on_loss`` cancels."""
        self._holder.begin()
        if not self.is_held:
            self._holder.cancel()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        held, is_cancelled = self._held, False
        try:
            is_cancelled = await self._holder.end(exc)
        finally:
            await self.release()
        if held is not None and held.lost.is_set() and (exc is None or is_cancelled):
            raise held.error() from exc
