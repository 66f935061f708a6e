"""Barriers: clients wait until one is removed, or until all have come.

`release.client_methods` makes the module of the client for threads from this module. So it contains
nothing that depends on asyncio except ``async`` and ``await``.
"""

import uuid
from types import TracebackType
from typing import Final, Self

from zoolet.client.asyncio_client.primitives import Deadline, Event, is_set_within
from zoolet.client.asyncio_client.recipes.ephemeral import AsyncEphemeral
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
from zoolet.client.protocol.watches import Resynced
from zoolet.model import paths
from zoolet.model.codes import CreateMode, EventType
from zoolet.model.results import Event as WatchEvent
from zoolet.model.stat import Stat

READY: Final = "ready"


class AsyncBarrier:
    """A barrier: clients wait while a znode exists.

    ``client.barrier(path)`` makes it. Guarantees: `wait` returns only after a moment at which the
    znode did not exist. Lost replies and expired sessions change nothing. The znode is not
    ephemeral: it stays until a client removes it.

    Layout: that of kazoo's ``Barrier``.
    """

    def __init__(self, tools: AsyncTools, path: str) -> None:
        """Make a barrier; a program calls ``client.barrier`` instead."""
        self._tools = tools
        self._path = path

    async def create(self, *, timeout_s: float | None = None) -> None:
        """Create the barrier, if it does not exist.

        ``timeout_s`` is the longest wait for the server, in seconds; None is no limit.
        """
        deadline = Deadline(timeout_s, "barrier", self._path)
        await self._tools.repeat(lambda: self._tools.ensure_path(self._path, deadline), deadline)

    async def remove(self, *, timeout_s: float | None = None) -> None:
        """Remove the barrier, if it exists, so that the others go on.

        ``timeout_s`` is the longest wait for the server, in seconds; None is no limit.
        """
        deadline = Deadline(timeout_s, "barrier", self._path)
        await self._tools.repeat(lambda: self._tools.delete(self._path, deadline), deadline)

    async def wait(self, *, timeout_s: float | None = None) -> None:
        """Wait until the barrier is removed.

        ``timeout_s`` is the longest wait in seconds; None is no limit.

        Raises:
            DeadlineError: the barrier still exists after this time.
        """
        deadline = Deadline(timeout_s, "barrier", self._path)
        await self._tools.wait_until_deleted(self._path, deadline)


class AsyncDoubleBarrier:
    """A barrier at which a number of clients begin together, and end together.

    ``client.double_barrier(path, count)`` makes it. Use it as a context manager, or call `enter`
    and `leave`.

    Guarantees: `enter` returns after ``count`` members were there at the same time. `leave` returns
    after no member was there. A member whose session expires while it waits to enter is a member
    again in the next session; a member that dies is no member any more. Lost replies change
    nothing. A client may enter again after its `leave` has returned.

    Not guaranteed: clients beyond ``count`` enter at once, until all have left.

    Layout: that of kazoo's ``DoubleBarrier``: the children of PATH are the members, and ``ready``,
    which exists from the moment at which all are there. But kazoo removes ``ready`` when the first
    member leaves, and zoolet when the last one does. So do not mix them: with members of kazoo,
    `leave` may return early.
    """

    def __init__(
        self,
        tools: AsyncTools,
        path: str,
        count: int,
        identifier: str,
        timeout_s: float | None,
    ) -> None:
        """Make a barrier; a program calls ``client.double_barrier`` instead."""
        self._tools = tools
        self._path = path
        self._ready_path = paths.join(path, READY)
        self._count = count
        self._data = identifier.encode()
        self._timeout_s = timeout_s
        self._member: AsyncEphemeral | None = None
        self._version = -1
        self._never_lost = Event()

    @property
    def lost(self) -> Event:
        """The event that is set when this member is lost, with its session."""
        return self._never_lost if self._member is None else self._member.lost

    async def enter(self, *, timeout_s: float | None = None) -> None:
        """Wait until all members are there.

        ``timeout_s`` is the longest wait in seconds; None is no limit.

        Raises:
            DeadlineError: not all came in time; this client is no member any more.
        """
        if self._member is not None:
            raise RuntimeError(f"this client has entered {self._path} already: call leave first")
        deadline = Deadline(timeout_s, "double_barrier", self._path)
        while self._member is None:
            mode = CreateMode.EPHEMERAL
            member = AsyncEphemeral(self._tools, self._path, uuid.uuid4().hex, self._data, mode)
            has_entered = False
            try:
                await member.create(deadline)
                await self._wait_for_all(member, deadline)
                member.hold()
                has_entered = True
            except (LockLostError, SessionExpiredError):
                pass
            finally:
                if not has_entered:
                    member.abandon()
            if has_entered:
                self._member = member
            else:
                await self._tools.wait_for_session(deadline)

    async def leave(self, *, timeout_s: float | None = None) -> None:
        """Wait until all members have left.

        ``timeout_s`` is the longest wait in seconds; None is no limit. After an error too, this
        client is no member any more.

        Raises:
            DeadlineError: not all have left in time.
        """
        member, self._member = self._member, None
        if member is None:
            return
        deadline = Deadline(timeout_s, "double_barrier", self._path)
        try:
            await self._tools.repeat(lambda: self._leave(member, deadline), deadline)
        finally:
            member.abandon()

    async def _wait_for_all(self, member: AsyncEphemeral, deadline: Deadline) -> None:
        make = self._tools.make
        has_come = Event()

        def note(event: WatchEvent | Resynced) -> None:
            if isinstance(event, WatchEvent) and event.type is EventType.NODE_CREATED:
                has_come.set()
            member.notify()

        while True:
            member.changed.clear()
            member.check()
            ready, watcher = await self._tools.watch(
                lambda: make.exists(self._ready_path, note), deadline
            )
            try:
                if has_come.is_set() or await self._is_valid(ready, member, deadline):
                    break
                names = await self._members(deadline)
                if ready is None and len(names) >= self._count:
                    await self._open(deadline)
                    break
                if ready is None and not await is_set_within(member.changed, deadline.left_s()):
                    raise deadline.error()
            finally:
                self._tools.forget(watcher)
        # While this member is there, the version changes only with the creation of READY.
        self._version = await self._round(deadline)

    async def _is_valid(
        self, ready: Stat | None, member: AsyncEphemeral, deadline: Deadline
    ) -> bool:
        """Return whether READY exists; delete it if all members of its round have died."""
        if ready is None:
            return False
        if member.czxid < ready.czxid:
            return True
        version = await self._round(deadline)
        for name in await self._members(deadline):
            found = await self._tools.stat_of(paths.join(self._path, name), deadline)
            if found is not None and found.czxid < ready.czxid:
                return True
        await self._close(Multi(), version, deadline)
        return False

    async def _round(self, deadline: Deadline) -> int:
        """Return the number of the round: the version of the parent."""
        found = await self._tools.stat_of(self._path, deadline)
        return -1 if found is None else found.version

    async def _members(self, deadline: Deadline) -> list[str]:
        make = self._tools.make
        try:
            listed = await self._tools.run(lambda: make.children(self._path), deadline)
        except NoNodeError:
            return []
        return sorted(name for name in listed.names if name != READY)

    async def _open(self, deadline: Deadline) -> None:
        """Create READY; the version of the parent is the number of the round."""
        while True:
            batch = Multi().create(self._ready_path).set(self._path, b"")
            try:
                with deadline.of_call() as limit_s:
                    await self._tools.client.multi(batch, timeout_s=limit_s)
            except ConnectionLossError:
                continue
            except NodeExistsError:
                return
            return

    async def _leave(self, member: AsyncEphemeral, deadline: Deadline) -> None:
        own = member.path.rpartition("/")[2]
        while True:
            ready = await self._tools.stat_of(self._ready_path, deadline)
            if ready is None or await self._round(deadline) != self._version:
                break  # all have left; others may have begun the next round
            names = await self._members(deadline)
            if names in ([], [own]):
                batch = Multi().delete(member.path) if names else Multi()
                await self._close(batch, self._version, deadline)
                continue
            if names[0] == own:
                # The first member leaves as the last one, so that the others watch only this one.
                await self._tools.wait_until_deleted(paths.join(self._path, names[-1]), deadline)
                continue
            await self._tools.delete(member.path, deadline)
            await self._tools.wait_until_deleted(paths.join(self._path, names[0]), deadline)
        await self._tools.delete(member.path, deadline)

    async def _close(self, batch: Multi, version: int, deadline: Deadline) -> None:
        """Delete READY together with a batch, if it is still that of a round."""
        batch.check(self._path, version=version).delete(self._ready_path)
        while True:
            try:
                with deadline.of_call() as limit_s:
                    await self._tools.client.multi(batch, timeout_s=limit_s)
            except ConnectionLossError:
                continue
            except (BadVersionError, NoNodeError):
                return
            return

    async def __aenter__(self) -> Self:
        await self.enter(timeout_s=self._timeout_s)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.leave(timeout_s=self._timeout_s)
