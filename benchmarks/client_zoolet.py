"""The scenarios of the client benchmark with `Client` and `AsyncClient`.

`client_bench` chooses by PYTHONPATH whether the client is compiled. Run by it: python -m
benchmarks.client_zoolet SCENARIO PORT SECONDS.
"""

from collections.abc import Sequence
from functools import partial

import uvloop

from benchmarks.client_socket import delete_made, multi_paths
from benchmarks.client_timing import (
    DATA,
    PATHS,
    THREADS,
    async_p50_us,
    batches_per_s,
    main,
    outstanding_per_s,
    p50_us,
    tasks_per_s,
    threads_us,
)
from zoolet.client import AsyncClient, CallFuture, Client, Multi

DEADLINE_S = 10.0


def _get(port: int, seconds: float) -> float:
    with Client(f"127.0.0.1:{port}") as client:
        return p50_us(client.get, PATHS, seconds)


def _get_threads(port: int, seconds: float) -> float:
    with Client(f"127.0.0.1:{port}") as client:
        return threads_us([client.get] * THREADS, PATHS, seconds)


def _gets(port: int, seconds: float) -> float:
    with Client(f"127.0.0.1:{port}") as client:
        return outstanding_per_s(client.futures.get, CallFuture.result, PATHS, seconds)


def _sets(port: int, seconds: float) -> float:
    with Client(f"127.0.0.1:{port}") as client:
        start = partial(client.futures.set, data=DATA)
        return outstanding_per_s(start, CallFuture.result, PATHS, seconds)


def _multi(port: int, seconds: float) -> float:
    del seconds
    made = multi_paths()
    with Client(f"127.0.0.1:{port}") as client:

        def create_all(paths: Sequence[str]) -> None:
            batch = Multi()
            for path in paths:
                batch.create(path, DATA)
            client.multi(batch)

        found = batches_per_s(create_all, made)
    delete_made(port, made)
    return found


async def _awaited(port: int, seconds: float) -> float:
    async with AsyncClient(f"127.0.0.1:{port}") as client:
        return await async_p50_us(partial(client.get, timeout_s=DEADLINE_S), PATHS, seconds)


async def _from_tasks(port: int, seconds: float) -> float:
    async with AsyncClient(f"127.0.0.1:{port}") as client:
        return await tasks_per_s(client.get, PATHS, seconds)


def _get_async(port: int, seconds: float) -> float:
    return uvloop.run(_awaited(port, seconds))


def _gets_tasks(port: int, seconds: float) -> float:
    return uvloop.run(_from_tasks(port, seconds))


if __name__ == "__main__":
    main(
        {
            "get": _get,
            "get-threads": _get_threads,
            "get-async": _get_async,
            "gets": _gets,
            "gets-tasks": _gets_tasks,
            "sets": _sets,
            "multi": _multi,
        }
    )
