"""A queue between the engine of a `Client` and one thread."""

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):  # noqa: N818 -- not an error
    """The mailbox is closed, and nothing is left in it."""


class Mailbox(Generic[T]):
    """Items for one thread.

    If more than ``limit`` items wait, they are dropped, and ``overflow`` replaces them.
    """

    def __init__(self, limit: int, overflow: T) -> None:
        self._items: deque[T] = deque()
        self._limit = limit
        self._overflow = overflow
        self._changed = threading.Condition()
        self._is_closed = False
        self._error: Exception | None = None

    def put(self, item: T) -> None:
        """Add an item."""
        with self._changed:
            if len(self._items) >= self._limit:
                self._items.clear()
                item = self._overflow
            self._items.append(item)
            self._changed.notify()

    def take_all(self) -> list[T]:
        """Return all items that are there, without waiting."""
        with self._changed:
            items = list(self._items)
            self._items.clear()
        return items

    def close(self, error: Exception | None = None) -> None:
        """Let `get` raise Closed, or ``error``, when nothing is left."""
        with self._changed:
            self._is_closed = True
            self._error = error
            self._changed.notify_all()

    def get(self, timeout_s: float | None = None) -> T:
        """Return the next item; wait for it at most for ``timeout_s``.

        Raises:
            TimeoutError: there is no item in time.
            Closed: the mailbox is closed and empty; or the error of `close`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._is_closed, timeout_s)
            if self._items:
                return self._items.popleft()
            if self._is_closed:
                raise self._error or Closed
        raise TimeoutError(f"no item within {timeout_s:g} s")
