"""Blocks that a cancellation does not end in the middle.

`thread_client/interruption.py` has the same names for threads; both are written by hand.
"""

import asyncio
from asyncio import Future
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")


class Uninterrupted:
    """Delays the cancellation of the task until the block has ended, or calls `check`.

    Without this, a cancellation between a reply and its count makes the count wrong. A second
    cancellation takes effect immediately. An exception of the block takes precedence.
    """

    def __init__(self) -> None:
        self._is_cancelled = False

    def check(self) -> None:
        """Raise CancelledError if a cancellation is delayed."""
        if self._is_cancelled:
            raise asyncio.CancelledError

    async def result_of(self, future: Future[T]) -> T:
        """Wait for the result of a future, and return it or raise its error."""
        while not future.done():
            try:
                await asyncio.wait([future])  # unlike await, it does not cancel the future
            except asyncio.CancelledError:
                if self._is_cancelled:
                    raise
                self._is_cancelled = True
        return future.result()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            self.check()
