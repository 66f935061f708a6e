"""The methods of a client that make recipes.

`release.client_methods` makes the module of the client for threads from this module. So it contains
nothing that depends on asyncio except ``async`` and ``await``. The methods import the recipes when
they are called, because few programs use many of them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, overload

from zoolet.client.asyncio_client.engine import Engine
from zoolet.client.asyncio_client.primitives import Holder
from zoolet.client.asyncio_client.recipes.tools import AsyncTools
from zoolet.client.asyncio_client.subtrees.methods import AsyncSubtrees
from zoolet.client.asyncio_client.watching import MAX_EVENTS, AsyncWatch
from zoolet.client.protocol.requests import RequestMaker
from zoolet.model.codes import AddWatchMode

if TYPE_CHECKING:
    from zoolet.client.asyncio_client.recipes.barrier import AsyncBarrier, AsyncDoubleBarrier
    from zoolet.client.asyncio_client.recipes.counter import AsyncCounter
    from zoolet.client.asyncio_client.recipes.election import AsyncElection
    from zoolet.client.asyncio_client.recipes.lock import AsyncLock
    from zoolet.client.asyncio_client.recipes.locking_queue import AsyncLockingQueue
    from zoolet.client.asyncio_client.recipes.partitioner import AsyncSetPartitioner
    from zoolet.client.asyncio_client.recipes.party import AsyncParty
    from zoolet.client.asyncio_client.recipes.queue import AsyncQueue
    from zoolet.client.asyncio_client.recipes.semaphore import AsyncSemaphore
    from zoolet.client.asyncio_client.recipes.tree_cache import AsyncTreeCache
    from zoolet.client.asyncio_client.recipes.watchers import AsyncChildrenWatcher, AsyncDataWatcher


class AsyncRecipes(AsyncSubtrees):
    """The requests of a client, and the recipes: locks, elections, queues and others."""

    def __init__(self, make: RequestMaker, engine: Engine) -> None:
        super().__init__(make, engine)
        self._tools = AsyncTools(self, engine, make)

    def lock(
        self,
        path: str,
        identifier: str = "",
        *,
        timeout_s: float | None = None,
        other_names: tuple[str, ...] = (),
        cancel_on_loss: bool = False,  # asyncio only
    ) -> "AsyncLock":
        """Return a lock, which one client holds at a time.

        Args:
            path: the znode whose children are the contenders; it is created if it is missing.
            identifier: the data of this contender's znode, which `contenders` shows.
            timeout_s: the longest wait of a ``with`` block for the lock; None is no limit.
            other_names: names of znodes that are contenders too, as other clients write them,
                without the sequence number.
            cancel_on_loss: (asyncio only) whether the task in the block is cancelled when the lock
                is lost; the block then raises LockLostError.
        """
        from zoolet.client.asyncio_client.recipes.lock import LOCK, AsyncLock, Kind  # noqa: PLC0415

        kind = Kind(LOCK, (LOCK, *other_names))
        holder = Holder(is_cancelled=cancel_on_loss)
        return AsyncLock(self._tools, path, kind, identifier, timeout_s, holder)

    def election(
        self,
        path: str,
        identifier: str = "",
        *,
        timeout_s: float | None = None,
    ) -> "AsyncElection":
        """Return an election, in which one of several candidates is the leader.

        Args:
            path: the znode whose children are the candidates; it is created if it is missing.
            identifier: the data of this candidate's znode, which `candidates` shows.
            timeout_s: the longest wait of a ``with`` block for the leadership; None is no limit.
        """
        from zoolet.client.asyncio_client.recipes.election import AsyncElection  # noqa: PLC0415
        from zoolet.client.asyncio_client.recipes.lock import LOCK, AsyncLock, Kind  # noqa: PLC0415

        return AsyncElection(
            AsyncLock(
                self._tools,
                path,
                Kind(LOCK, (LOCK,)),
                identifier,
                timeout_s,
                Holder(is_cancelled=True),
            )
        )

    def semaphore(self, path: str, leases: int, identifier: str = "") -> "AsyncSemaphore":
        """Return a semaphore, of which clients hold at most ``leases`` leases at a time.

        Args:
            path: the znode whose children are the leases; it is created if it is missing.
            leases: the number of leases; all clients must give the same number.
            identifier: the data of this client's leases, which `holders` shows.
        """
        from zoolet.client.asyncio_client.recipes.semaphore import AsyncSemaphore  # noqa: PLC0415

        return AsyncSemaphore(self._tools, path, leases, identifier)

    @overload
    def counter(self, path: str, default: int = 0) -> "AsyncCounter[int]": ...

    @overload
    def counter(self, path: str, default: float) -> "AsyncCounter[float]": ...

    def counter(self, path: str, default: float = 0) -> "AsyncCounter[int] | AsyncCounter[float]":
        """Return a counter: a number in the data of the znode ``path``.

        ``default`` is the number while the znode has no data. If it is a float, the counter has
        floats.
        """
        from zoolet.client.asyncio_client.recipes.counter import AsyncCounter  # noqa: PLC0415

        if isinstance(default, int):
            return AsyncCounter[int](self._tools, path, default)
        return AsyncCounter[float](self._tools, path, default)

    def write_lock(
        self,
        path: str,
        identifier: str = "",
        *,
        timeout_s: float | None = None,
        cancel_on_loss: bool = False,  # asyncio only
    ) -> "AsyncLock":
        """Return the write lock of a read-write lock; nobody else has a lock at the same time.

        The arguments are those of `lock`.
        """
        from zoolet.client.asyncio_client.recipes.lock import LOCK, READ_LOCK, AsyncLock, Kind  # noqa: PLC0415

        kind = Kind(LOCK, (LOCK, READ_LOCK))
        holder = Holder(is_cancelled=cancel_on_loss)
        return AsyncLock(self._tools, path, kind, identifier, timeout_s, holder)

    def read_lock(
        self,
        path: str,
        identifier: str = "",
        *,
        timeout_s: float | None = None,
        cancel_on_loss: bool = False,  # asyncio only
    ) -> "AsyncLock":
        """Return a read lock of a read-write lock, which many clients hold at the same time.

        The arguments are those of `lock`.
        """
        from zoolet.client.asyncio_client.recipes.lock import LOCK, READ_LOCK, AsyncLock, Kind  # noqa: PLC0415

        kind = Kind(READ_LOCK, (LOCK,))
        holder = Holder(is_cancelled=cancel_on_loss)
        return AsyncLock(self._tools, path, kind, identifier, timeout_s, holder)

    def data_watcher(self, path: str) -> "AsyncDataWatcher":
        """Return an iterator of the data of a znode: the present ones, then each newer ones."""
        from zoolet.client.asyncio_client.recipes.watchers import AsyncDataWatcher  # noqa: PLC0415

        return AsyncDataWatcher(self._tools, path)

    def children_watcher(self, path: str) -> "AsyncChildrenWatcher":
        """Return an iterator of the children of a znode: the present ones, then each newer ones."""
        from zoolet.client.asyncio_client.recipes.watchers import AsyncChildrenWatcher  # noqa: PLC0415

        return AsyncChildrenWatcher(self._tools, path)

    def tree_cache(self, path: str, *, max_changes: int = MAX_EVENTS) -> "AsyncTreeCache":
        """Return a local copy of a subtree, which follows the changes at the server.

        If more than ``max_changes`` changes wait for the program, one change of the kind MISSED
        replaces them. This needs ZooKeeper 3.6 or later.
        """
        from zoolet.client.asyncio_client.recipes.tree_cache import AsyncTreeCache  # noqa: PLC0415

        watch = AsyncWatch(
            self._engine, self._make, path, AddWatchMode.PERSISTENT_RECURSIVE, max_changes
        )
        return AsyncTreeCache(self._tools, path, watch, max_changes)

    def barrier(self, path: str) -> "AsyncBarrier":
        """Return a barrier: clients wait while the znode ``path`` exists."""
        from zoolet.client.asyncio_client.recipes.barrier import AsyncBarrier  # noqa: PLC0415

        return AsyncBarrier(self._tools, path)

    def double_barrier(
        self,
        path: str,
        count: int,
        identifier: str = "",
        *,
        timeout_s: float | None = None,
    ) -> "AsyncDoubleBarrier":
        """Return a barrier at which ``count`` clients begin together, and end together.

        Args:
            path: the znode whose children are the members; it is created if it is missing.
            count: the number of members that must be there; the same for all.
            identifier: the data of this member's znode.
            timeout_s: the longest wait at each end of a ``with`` block; None is no limit.
        """
        from zoolet.client.asyncio_client.recipes.barrier import AsyncDoubleBarrier  # noqa: PLC0415

        return AsyncDoubleBarrier(self._tools, path, count, identifier, timeout_s)

    def party(self, path: str, identifier: str = "") -> "AsyncParty":
        """Return a party: the clients that are there now.

        ``identifier`` is the data of this member's znode, which `members` shows.
        """
        from zoolet.client.asyncio_client.recipes.party import AsyncParty  # noqa: PLC0415

        return AsyncParty(self._tools, path, identifier)

    def queue(self, path: str) -> "AsyncQueue":
        """Return a queue, whose values are deleted when they are taken."""
        from zoolet.client.asyncio_client.recipes.queue import AsyncQueue  # noqa: PLC0415

        return AsyncQueue(self._tools, path)

    def locking_queue(self, path: str) -> "AsyncLockingQueue":
        """Return a queue, whose values are locked when they are taken, and deleted later."""
        from zoolet.client.asyncio_client.recipes.locking_queue import AsyncLockingQueue  # noqa: PLC0415

        return AsyncLockingQueue(self._tools, path)

    def set_partitioner(
        self,
        path: str,
        items: Iterable[str],
        *,
        identifier: str = "",
        settle_s: float = 1.0,
        share: Callable[[str, Sequence[str], Sequence[str]], Iterable[str]] | None = None,
    ) -> "AsyncSetPartitioner":
        """Return what shares items among the clients that iterate over it.

        Args:
            path: the znode below which the members and the locks are.
            items: the items, which must be valid names of znodes; the same for all members.
            identifier: the name of this member, which no other one has; the default is a random
                one.
            settle_s: the time without a new or lost member after which the items are shared.
            share: returns the items of a member; its arguments are the member, all members and all
                items. The default gives each member the same number of items, plus or minus one.
        """
        from zoolet.client.asyncio_client.recipes.partitioner import AsyncSetPartitioner  # noqa: PLC0415

        return AsyncSetPartitioner(self._tools, path, items, identifier, settle_s, share)
