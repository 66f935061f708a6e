"""An election: of several candidates, one is the leader.

`release.client_methods` makes the module of the client for threads from this module. So it contains
nothing that depends on asyncio except ``async`` and ``await``.
"""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from zoolet.client.asyncio_client.primitives import Event
from zoolet.client.asyncio_client.recipes.ephemeral import DELETE_S
from zoolet.client.asyncio_client.recipes.lock import AsyncLock

T = TypeVar("T")


class AsyncElection:
    """An election, which ``client.election(path)`` makes.

    Use it as a context manager: the block runs while this candidate is the leader. Or call `run`
    with a function, or `campaign` and `resign`.

    Guarantees: candidates become the leader in the order in which they began to wait. A candidate
    whose session expires is a candidate again in the next session. In the asyncio version, the
    block and the function of `run` are cancelled when the leadership is lost; in both versions they
    end with LockLostError.

    Not guaranteed: after a long pause of its process, a leader may not know yet that another
    candidate is the leader. `token` rises with each leader: see `AsyncLock`.

    Layout: that of kazoo's ``Election``, with the names of a lock. Candidates of kazoo and of
    zoolet take part in the same election.
    """

    def __init__(self, lock: AsyncLock) -> None:
        """Make an election from a lock; a program calls ``client.election`` instead."""
        self._lock = lock

    @property
    def token(self) -> int:
        """The fencing token; 0 if this candidate is not the leader. It rises with each leader."""
        return self._lock.token

    @property
    def is_leader(self) -> bool:
        """Whether this candidate is the leader and has not lost the leadership."""
        return self._lock.is_held

    @property
    def lost(self) -> Event:
        """The event that is set when the leadership is lost; it belongs to the present one."""
        return self._lock.lost

    async def campaign(self, *, timeout_s: float | None = None) -> int:
        """Wait until this candidate is the leader; return the fencing token.

        ``timeout_s`` is the longest wait in seconds; None is no limit.

        Raises:
            DeadlineError: another candidate is the leader for this time.
            WaitCancelledError: `cancel` was called.
        """
        return await self._lock.acquire(timeout_s=timeout_s)

    async def resign(self, *, timeout_s: float | None = DELETE_S) -> bool:
        """Give up the leadership; return whether this candidate had it until now.

        This waits at most ``timeout_s`` seconds for the server.
        """
        return await self._lock.release(timeout_s=timeout_s)

    async def run(
        self, function: Callable[[int], Awaitable[T]], *, timeout_s: float | None = None
    ) -> T:
        """Wait for the leadership, call ``function`` with the token, resign; return its result.

        ``timeout_s`` is the longest wait for the leadership in seconds; None is no limit.

        Raises:
            DeadlineError: another candidate is the leader for this time.
            WaitCancelledError: `cancel` was called.
            LockLostError: the leadership was lost before the function has ended.
        """
        token = await self.campaign(timeout_s=timeout_s)
        self._lock.begin()
        try:
            result = await function(token)
        except BaseException as error:
            await self._lock.__aexit__(type(error), error, error.__traceback__)
            raise
        await self._lock.__aexit__(None, None, None)
        return result

    def cancel(self) -> None:
        """End the wait of `campaign` or `run`, which then raises WaitCancelledError."""
        self._lock.cancel()

    async def leader(self, *, timeout_s: float | None = None) -> str | None:
        """Return the identifier of the leader; None if there is no candidate."""
        return next(iter(await self._lock.contenders(timeout_s=timeout_s, at_most=1)), None)

    async def candidates(self, *, timeout_s: float | None = None) -> list[str]:
        """Return the identifiers of the leader and of the other candidates, in their order."""
        return await self._lock.contenders(timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        await self._lock.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._lock.__aexit__(exc_type, exc, traceback)
