"""The requests of a `Client` that are repeated after errors.

`client/retries.py` has the rule. This module imports the client's protocol and ``client/retries``.
"""

import time
from typing import TypeVar, cast

from zoolet.client.errors import ZooKeeperError
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.requests import RequestMaker
from zoolet.client.retries import Attempts, Retry
from zoolet.client.thread_client.engine import Engine
from zoolet.client.thread_client.methods import Requests

T = TypeVar("T")

_NO_LIMIT = float("inf")


class RetryingRequests(Requests):
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

    def _run(self, call: Call[T], timeout_s: float | None) -> T:
        left_s = self._call_timeout_s if timeout_s is None else timeout_s
        end_s = time.monotonic() + left_s if left_s else _NO_LIMIT
        attempts = Attempts(
            self._retry, cast("Call[object]", call), renews_session=self._engine.renews_session
        )
        while True:
            try:
                return self._engine.run(cast("Call[T]", attempts.call), left_s)
            except ZooKeeperError as error:
                pause_s = attempts.next(error, end_s - time.monotonic())
                if pause_s is None:
                    raise
            time.sleep(pause_s)
            # A time limit of 0 would be no limit.
            left_s = 0.0 if end_s == _NO_LIMIT else max(end_s - time.monotonic(), 0.001)
