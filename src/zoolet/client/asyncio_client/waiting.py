"""Calls that are started and waited for later."""

from asyncio import Future
from typing import TypeVar

from zoolet.client.asyncio_client.methods import AsyncRequests

FutureRequests = AsyncRequests
"""The requests as methods that return a future; those of `AsyncClient` do."""

Pending = Future
"""The result of a call that may not have ended yet."""

T = TypeVar("T")


async def result_of(future: Future[T]) -> T:
    """Wait for the result of a future, and return it or raise its error."""
    return await future


def known(future: Future[T]) -> T | None:
    """Return the result of a future, without waiting; None if there is no result."""
    has_result = future.done() and not future.cancelled() and future.exception() is None
    return future.result() if has_result else None


def forget(future: Future[T]) -> None:
    """Do not wait for a future any more."""
    if not future.cancel() and not future.cancelled():
        future.exception()  # asyncio reports an error that nobody reads
