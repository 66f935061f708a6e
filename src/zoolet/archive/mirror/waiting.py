"""Waits for several calls of a client. Imports the errors of ``client``."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from zoolet.client.errors import ZooKeeperError

T = TypeVar("T")


async def all_of(futures: Sequence[Awaitable[T]]) -> list[T | ZooKeeperError]:
    """Wait for all futures, and return their results or errors.

    Other exceptions than ZooKeeperError are raised after all have ended.
    """
    results = await asyncio.gather(*futures, return_exceptions=True)
    found: list[T | ZooKeeperError] = []
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, ZooKeeperError):
            raise result
        found.append(result)
    return found
