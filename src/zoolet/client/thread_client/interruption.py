"""Blocks that a Ctrl-C does not end in the middle.

`asyncio_client/interruption.py` has the same names for asyncio; both are written by hand.
"""

from types import TracebackType
from typing import Self, TypeVar

from zoolet.client.thread_client.futures import CallFuture
from zoolet.process.interrupts import held_back

T = TypeVar("T")


class Uninterrupted:
    """Delays the KeyboardInterrupt of a Ctrl-C until the block has ended, or calls `check`.

    Without this, a Ctrl-C between a reply and its count makes the count wrong. A Ctrl-C while the
    client reads would even lose the replies to all requests in progress. A second Ctrl-C takes
    effect immediately. An exception of the block takes precedence.
    """

    def __init__(self) -> None:
        self._held_back = held_back()

    def check(self) -> None:
        """Raise KeyboardInterrupt if a Ctrl-C is delayed."""
        self._held.check()

    def result_of(self, future: CallFuture[T]) -> T:
        """Wait for the result of a future, and return it or raise its error."""
        return future.result()

    def __enter__(self) -> Self:
        self._held = self._held_back.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._held_back.__exit__(exc_type, exc, traceback)
