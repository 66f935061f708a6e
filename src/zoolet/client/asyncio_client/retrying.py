"""The requests of an `AsyncClient` that are repeated after errors.

`client/retries.py` has the rule. This module imports the client's protocol, ``client/retries`` and
asyncio.
"""

import asyncio
from asyncio import Future
from typing import TypeVar, cast

from zoolet.client.asyncio_client.engine import Engine
from zoolet.client.asyncio_client.methods import AsyncRequests
from zoolet.client.errors import ZooKeeperError
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.requests import RequestMaker
from zoolet.client.retries import Attempts, Retry

T = TypeVar("T")

_NO_LIMIT = float("inf")


class AsyncRetryingRequests(AsyncRequests):
    """The requests of a client, which are repeated after errors; ``client.retrying`` makes it.

    The time limit of a call is for all attempts and pauses together. After the last attempt, the
    call raises the error of this attempt.
    """

    def __init__(
        self, make: RequestMaker, engine: Engine, retry: Retry, call_timeout_s: float
    ) -> None:
        super().__init__(make)
        self._engine = engine
        self._retry = retry
        self._call_timeout_s = call_timeout_s

    def _run(self, call: Call[T], timeout_s: float | None) -> Future[T]:
        limit_s = self._call_timeout_s if timeout_s is None else timeout_s
        attempts = Attempts(
            self._retry, cast("Call[object]", call), renews_session=self._engine.renews_session
        )
        # The first attempt begins here, so that the calls of the program keep their order.
        first = self._engine.run(call, limit_s)
        loop = asyncio.get_running_loop()
        end_s = loop.time() + limit_s if limit_s else _NO_LIMIT
        task = loop.create_task(self._repeat(first, attempts, end_s))
        task.add_done_callback(lambda _: first.cancel())  # a task may be cancelled before it begins
        return task

    async def _repeat(self, first: Future[T], attempts: Attempts, end_s: float) -> T:
        now = asyncio.get_running_loop().time
        future = first
        while True:
            try:
                return await future
            except ZooKeeperError as error:
                pause_s = attempts.next(error, end_s - now())
                if pause_s is None:
                    raise
            await asyncio.sleep(pause_s)
            # A time limit of 0 would be no limit.
            left_s = 0.0 if end_s == _NO_LIMIT else max(end_s - now(), 0.001)
            future = self._engine.run(cast("Call[T]", attempts.call), left_s)
