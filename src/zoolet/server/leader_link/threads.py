"""Waits for calls on the threads that use the disk."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from zoolet.server.common.disk_thread import DiskThread

T = TypeVar("T")


async def on_thread(thread: DiskThread, call: Callable[[], T]) -> T:
    """Run ``call`` on a thread, after the calls before it; return its result.

    The wait ends when the call ends. If this coroutine is cancelled, the call still runs.
    """
    ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    results: list[T] = []

    def done(failure: Exception | None) -> None:
        if not ended.done():
            ended.set_result(failure)

    thread.submit(lambda: results.append(call()), done)
    if (failure := await ended) is not None:
        raise failure
    return results[0]
