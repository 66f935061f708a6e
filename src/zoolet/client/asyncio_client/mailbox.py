"""A queue between the engine of an `AsyncClient` and one task. This module imports asyncio only."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):  # noqa: N818 -- not an error
    """The mailbox is closed, and nothing is left in it."""


class Mailbox(Generic[T]):
    """Items for one task.

    If more than ``limit`` items wait, they are dropped, and ``overflow`` replaces them.
    """

    def __init__(self, limit: int, overflow: T) -> None:
        self._items: deque[T] = deque()
        self._limit = limit
        self._overflow = overflow
        self._waiter: asyncio.Future[None] | None = None
        self._is_closed = False
        self._error: Exception | None = None

    def put(self, item: T) -> None:
        """Add an item."""
        if len(self._items) >= self._limit:
            self._items.clear()
            item = self._overflow
        self._items.append(item)
        self._wake()

    def take_all(self) -> list[T]:
        """Return all items that are there, without waiting."""
        items = list(self._items)
        self._items.clear()
        return items

    def close(self, error: Exception | None = None) -> None:
        """Let `get` raise Closed, or ``error``, when nothing is left."""
        self._is_closed = True
        self._error = error
        self._wake()

    async def get(self, timeout_s: float | None = None) -> T:
        """Return the next item; wait for it at most for ``timeout_s``.

        Raises:
            TimeoutError: there is no item in time.
            Closed: the mailbox is closed and empty; or the error of `close`.
        """
        async with asyncio.timeout(timeout_s):
            while not self._items:
                if self._is_closed:
                    raise self._error or Closed
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        return self._items.popleft()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
