"""Writes the names of jobs into their keys in a task of the event loop.

Invariant: after `finish`, no task is left. Imports `zoolet.jobs.submit`.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial

from zoolet.jobs.aio import bridge
from zoolet.jobs.errors import JobError
from zoolet.jobs.records.batches import CHUNK_JOBS
from zoolet.jobs.submit.keys import NAME_LATER_S, KeyNamer, Named
from zoolet.jobs.znodes.layout import Layout


class AsyncKeyNamer(KeyNamer):
    """A `KeyNamer` without a thread."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self._waiting: list[Named] = []
        self._task: asyncio.Task[None] | None = None
        self._is_closing = asyncio.Event()

    def name_later(self, named: Sequence[Named]) -> None:
        """Write the names of these jobs soon, in a task."""
        self._waiting += named
        if self._waiting and self._task is None:
            self._task = asyncio.create_task(self._name_all())

    def close(self, timeout_s: float | None) -> None:  # noqa: ARG002 -- of the base class
        """Write the remaining names, and wait for that; the caller limits the time."""
        self._is_closing.set()
        if self._task is not None:
            bridge.wait(self._task)

    async def _name_all(self) -> None:
        try:
            while self._waiting:
                # With the delay, the names do not delay the jobs, and many are in one multi.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(NAME_LATER_S):
                        await self._is_closing.wait()
                some, self._waiting = self._waiting[:CHUNK_JOBS], self._waiting[CHUNK_JOBS:]
                with contextlib.suppress(JobError):
                    await bridge.run(partial(self.name_now, some))
        finally:
            self._task = None
