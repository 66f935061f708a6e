"""Runs the coroutines of ``async def`` tasks, with their soft timeouts.

A soft timeout raises SoftTimeoutError at the ``await`` at which the task waits. The task may catch
it. This module imports `zoolet.jobs.errors`.
"""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from zoolet.jobs.errors import SoftTimeoutError


def run_alone(coroutine: Coroutine[Any, Any, Any], soft_timeout_ms: int | None) -> Any:
    """Run a coroutine in an event loop of its own, and return its result."""
    return asyncio.run(drive(coroutine, soft_timeout_ms))


async def drive(coroutine: Coroutine[Any, Any, Any], soft_timeout_ms: int | None) -> Any:
    """Run a coroutine in the current event loop, and return its result."""
    if soft_timeout_ms is None:
        return await coroutine
    driven = _Driven(coroutine, soft_timeout_ms)
    timer = asyncio.get_running_loop().call_later(soft_timeout_ms / 1000, driven.interrupt)
    try:
        return await driven
    finally:
        timer.cancel()


class _Driven:
    """A coroutine in which SoftTimeoutError replaces the CancelledError of the soft timeout."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], soft_timeout_ms: int) -> None:
        self._coroutine = coroutine
        self._soft_timeout_ms = soft_timeout_ms
        self._task = asyncio.current_task()
        self._is_interrupted = False

    def interrupt(self) -> None:
        """Interrupt the coroutine at the place where it waits."""
        if self._task is not None and not self._task.done():
            self._is_interrupted = True
            self._task.cancel()

    def __await__(self) -> Generator[Any, None, Any]:
        error: BaseException | None = None
        while True:
            try:
                waits_for = (
                    self._coroutine.send(None) if error is None else self._coroutine.throw(error)
                )
            except StopIteration as returned:
                return returned.value
            error = None
            try:
                yield waits_for
            except asyncio.CancelledError as cancelled:
                error = self._replaced(cancelled)
            except BaseException as raised:  # noqa: BLE001 -- thrown into the coroutine
                error = raised

    def _replaced(self, cancelled: asyncio.CancelledError) -> BaseException:
        if not self._is_interrupted or self._task is None:
            return cancelled
        self._is_interrupted = False
        if self._task.uncancel():
            # The attempt was cancelled, too, which ends it for good.
            return cancelled
        return SoftTimeoutError(
            f"the task ran longer than its soft timeout of {self._soft_timeout_ms} ms"
        )
