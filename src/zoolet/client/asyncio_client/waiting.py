"""Calls that are started and waited for later."""

from asyncio import Future
from typing import TypeVar

from zoolet.client.asyncio_client.methods import AsyncRequests

FutureRequests = AsyncRequests
"""The requests as methods that return a future; those of `AsyncClient` do."""

T = TypeVar("T")


async def result_of(future: Future[T]) -> T:
    """Wait for the result of a future, and return it or raise its error."""
    return await future
