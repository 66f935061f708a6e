"""A semaphore: at most a number of clients hold a lease.

`release.client_methods` makes the module of the client for threads from this module. So it contains
nothing that depends on asyncio except ``async`` and ``await``.
"""

import uuid
from types import TracebackType
from typing import Self

from zoolet.client.asyncio_client.primitives import Deadline, Event, is_set_within
from zoolet.client.asyncio_client.recipes.ephemeral import DELETE_S, AsyncEphemeral
from zoolet.client.asyncio_client.recipes.lock import LOCK, AsyncContender, Kind
from zoolet.client.asyncio_client.recipes.tools import AsyncTools
from zoolet.client.errors import (
    BadVersionError,
    ConnectionLossError,
    LockLostError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)
from zoolet.client.protocol.batches import Multi
from zoolet.model import paths
from zoolet.model.codes import CreateMode


class _LeaseZnode(AsyncEphemeral):
    """The znode of a lease, which only the holder of the semaphore's lock may create."""

    def __init__(self, tools: AsyncTools, parent: str, data: bytes, gate: AsyncContender) -> None:
        super().__init__(tools, parent, uuid.uuid4().hex, data, CreateMode.EPHEMERAL)
        self._gate = gate

    async def _create(self, deadline: Deadline) -> str:
        path = paths.join(self.parent, self._name)
        batch = Multi().check(self._gate.path).create(path, self._data, mode=self._mode)
        client = self.tools.client
        while True:
            try:
                with deadline.of_call() as limit_s:
                    await client.multi(batch, timeout_s=limit_s)
            except ConnectionLossError:
                continue
            except NodeExistsError:
                return path  # the reply of an earlier try was lost
            except NoNodeError:
                raise LockLostError("", self._gate.path, "its znode was deleted") from None
            return path


class AsyncLease:
    """A lease of a semaphore, until `release`. It is also a context manager.

    Any task or thread may release it, not only the one that acquired it. It is lost like a lock;
    then `lost` is set, and the end of the ``with`` block raises LockLostError.
    """

    def __init__(self, znode: AsyncEphemeral) -> None:
        """Make a lease of a znode; a program calls ``semaphore.acquire`` instead."""
        self._znode = znode
        self._is_released = False

    @property
    def token(self) -> int:
        """The zxid of the lease, which is higher for each later lease."""
        return self._znode.czxid

    @property
    def is_held(self) -> bool:
        """Whether the lease is neither released nor lost."""
        return not self._is_released and not self._znode.lost.is_set()

    @property
    def lost(self) -> Event:
        """The event that is set when the lease is lost."""
        return self._znode.lost

    async def release(self, *, timeout_s: float | None = DELETE_S) -> bool:
        """Give the lease back; return whether it was held until now.

        This waits at most ``timeout_s`` seconds for the server.
        """
        was_held = self.is_held
        if not self._is_released:
            self._is_released = True
            await self._znode.delete(timeout_s)
        return was_held

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.release()
        if exc is None and self._znode.lost.is_set():
            raise self._znode.error()


class AsyncSemaphore:
    """A semaphore with a number of leases, which ``client.semaphore(path, leases)`` makes.

    `acquire` returns a lease: ``async with await semaphore.acquire():``. One semaphore object can
    have many leases at the same time.

    Guarantees: at most ``leases`` znodes of leases exist at any time. Clients get leases in the
    order in which they asked. A lost reply neither takes two leases nor leaves a znode. If the
    session expires while `acquire` waits, it waits again in the next session. Only the first client
    that waits watches the leases; each other one watches the one before it.

    Not guaranteed: a holder may learn late that its session has expired, as with `AsyncLock`.

    Layout: that of kazoo's ``Semaphore``. The children of PATH are the leases, PATH-__lock__ is the
    lock of those that wait, and the data of PATH is the number of leases. Clients of kazoo and of
    zoolet share the leases.
    """

    def __init__(self, tools: AsyncTools, path: str, leases: int, identifier: str) -> None:
        """Make a semaphore; a program calls ``client.semaphore`` instead."""
        if leases < 1:
            raise ValueError(f"leases={leases}: a semaphore has at least 1 lease")
        self._tools = tools
        self._path = path
        self._leases = leases
        self._data = identifier.encode()
        self._kind = Kind(LOCK, (LOCK,))
        self._waiting: list[AsyncContender] = []
        self._is_checked = False

    async def acquire(self, *, timeout_s: float | None = None) -> AsyncLease:
        """Wait for a lease and return it.

        ``timeout_s`` is the longest wait in seconds; None is no limit.

        Raises:
            ValueError: the semaphore at this path has another number of leases.
            DeadlineError: no lease is free, or no server answers, for this time.
            WaitCancelledError: `cancel` was called.
            SessionExpiredError: the session has expired, and the client asks for no other one.
        """
        deadline = Deadline(timeout_s, "semaphore", self._path)
        lease = None
        while lease is None:
            lease = await self._try(deadline, waits=True)
        return lease

    async def try_acquire(self, *, timeout_s: float | None = None) -> AsyncLease | None:
        """Return a lease, or None if none is free at once.

        ``timeout_s`` is the longest wait for the server, in seconds; None is no limit.
        """
        return await self._try(Deadline(timeout_s, "semaphore", self._path), waits=False)

    def cancel(self) -> None:
        """End the waits of each `acquire` of this object, which then raises WaitCancelledError."""
        for gate in tuple(self._waiting):
            gate.cancel()

    async def holders(self, *, timeout_s: float | None = None) -> list[str]:
        """Return the identifiers of those that hold a lease, in no order."""
        deadline = Deadline(timeout_s, "holders", self._path)
        found: list[str] = []
        try:
            listed = await self._tools.run(lambda: self._tools.make.children(self._path), deadline)
        except NoNodeError:
            return found
        for name in listed.names:
            data = await self._tools.data_of(paths.join(self._path, name), deadline)
            if data is not None:
                found.append(data.decode(errors="replace"))
        return found

    async def _try(self, deadline: Deadline, *, waits: bool) -> AsyncLease | None:
        """Try to get a lease; with ``waits``, None says that the session has expired."""
        await self._check_leases(deadline)
        gate = AsyncContender(self._tools, f"{self._path}-{LOCK}", self._kind, self._data)
        self._waiting.append(gate)
        znode: AsyncEphemeral | None = None
        is_taken = False
        try:
            await gate.create(deadline)
            if waits:
                await gate.wait(deadline)
                await self._wait_for_room(gate, deadline)
            elif not await gate.is_first(deadline) or not await self._has_room(gate, deadline):
                return None
            znode = _LeaseZnode(self._tools, self._path, self._data, gate)
            await znode.create(deadline)
            znode.hold()
            await gate.delete()
            is_taken = True
            return AsyncLease(znode)
        except (LockLostError, SessionExpiredError):
            if not waits:
                raise
        finally:
            self._waiting.remove(gate)
            if not is_taken:
                gate.abandon()
                if znode is not None:
                    znode.abandon()
        await self._tools.wait_for_session(deadline)
        return None

    async def _wait_for_room(self, gate: AsyncContender, deadline: Deadline) -> None:
        while True:
            gate.changed.clear()
            if await self._has_room(gate, deadline):
                return
            if not await is_set_within(gate.changed, deadline.left_s()):
                raise deadline.error()

    async def _has_room(self, gate: AsyncContender, deadline: Deadline) -> bool:
        """Return whether a lease is free; if none is, a change of the leases wakes the gate."""
        make = self._tools.make
        gate.check()
        try:
            listed, watcher = await self._tools.watch(
                lambda: make.children(self._path, gate.notify), deadline
            )
        except NoNodeError:
            self._is_checked = False
            await self._check_leases(deadline)
            return True
        gate.use(watcher)
        gate.check()
        return len(listed.names) < self._leases

    async def _check_leases(self, deadline: Deadline) -> None:
        """Create the semaphore, or check that it has the same number of leases."""
        make = self._tools.make
        wanted = str(self._leases)
        while not self._is_checked:
            try:
                read = await self._tools.run(lambda: make.get(self._path), deadline)
            except NoNodeError:
                await self._tools.ensure_path(self._path, deadline)
                continue
            if read.data:
                found = read.data.decode(errors="replace")
                if found.isdecimal() and int(found) != self._leases:
                    raise ValueError(f"the semaphore {self._path} has {found} leases, not {wanted}")
                self._is_checked = True
                return
            try:
                with deadline.of_call() as limit_s:
                    await self._tools.client.set(
                        self._path,
                        wanted.encode(),
                        version=read.stat.version,
                        timeout_s=limit_s,
                    )
            except (BadVersionError, ConnectionLossError, NoNodeError):
                continue
