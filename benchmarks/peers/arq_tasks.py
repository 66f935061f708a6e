"""The tasks for ARQ."""

import asyncio
import os
from typing import Any

from arq.connections import RedisSettings

REDIS = RedisSettings(host="127.0.0.1", port=int(os.environ["PEER_PORT"]))


async def noop(_: Any, n: int) -> int:
    """Return the number."""
    return n


async def slow(_: Any, n: int) -> int:
    """Take 50 ms, and return the number."""
    with open(os.environ["BEGUN_LOG"], "a") as log:  # noqa: PTH123
        log.write(f"{n}\n")
    await asyncio.sleep(0.05)
    return n


class WorkerSettings:
    """How workers run."""

    functions = (noop, slow)
    redis_settings = REDIS
    max_jobs = 1
    poll_delay = 0.01
