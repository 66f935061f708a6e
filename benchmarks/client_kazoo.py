"""The scenarios of the client benchmark with kazoo.

Run by `client_bench`: python -m benchmarks.client_kazoo SCENARIO PORT SECONDS.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from kazoo.client import KazooClient

from benchmarks.client_socket import delete_made, multi_paths
from benchmarks.client_timing import (
    DATA,
    PATHS,
    THREADS,
    batches_per_s,
    main,
    outstanding_per_s,
    p50_us,
    threads_us,
)


@contextlib.contextmanager
def _connected(port: int) -> Iterator[Any]:
    client = KazooClient(hosts=f"127.0.0.1:{port}")
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()


def _result(future: Any) -> object:
    return future.get()


def _get(port: int, seconds: float) -> float:
    with _connected(port) as client:
        return p50_us(client.get, PATHS, seconds)


def _get_threads(port: int, seconds: float) -> float:
    with _connected(port) as client:
        return threads_us([client.get] * THREADS, PATHS, seconds)


def _gets(port: int, seconds: float) -> float:
    with _connected(port) as client:
        return outstanding_per_s(client.get_async, _result, PATHS, seconds)


def _sets(port: int, seconds: float) -> float:
    with _connected(port) as client:
        start: Callable[[str], Any] = partial(client.set_async, value=DATA)
        return outstanding_per_s(start, _result, PATHS, seconds)


def _multi(port: int, seconds: float) -> float:
    del seconds
    made = multi_paths()
    with _connected(port) as client:

        def create_all(paths: Sequence[str]) -> None:
            transaction = client.transaction()
            for path in paths:
                transaction.create(path, DATA)
            transaction.commit()

        found = batches_per_s(create_all, made)
    delete_made(port, made)
    return found


if __name__ == "__main__":
    main(
        {
            "get": _get,
            "get-threads": _get_threads,
            "gets": _gets,
            "sets": _sets,
            "multi": _multi,
        }
    )
