"""Lets a server take snapshots while it is under load, with its admin command ``snapshot``."""

import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from benchmarks import servers
from benchmarks.snapshot_pause import NEVER
from zoolet.testing import ReservedPort

_PATH: Final = "/commands/snapshot?streaming=false"
_TIMEOUT_S: Final = 600.0
_COUNT: Final = "zk_snap_count"


def settings(admin: ReservedPort) -> Mapping[str, object]:
    """Return settings of a server that takes a snapshot only when it is asked to."""
    return {
        "snapCount": NEVER,
        "admin.enableServer": "true",
        "admin.serverAddress": "127.0.0.1",
        "admin.serverPort": admin.number,
        "admin.rateLimiterIntervalInMS": 0,
    }


def take(admin: ReservedPort) -> None:
    """Let the server take one snapshot, and return when it is written.

    Raises:
        RuntimeError: the server refuses it.
    """
    connection = http.client.HTTPConnection("127.0.0.1", admin.number, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", _PATH, headers={"Authorization": "ip"})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise RuntimeError(f"no snapshot: status {response.status}, {body.decode()}")


def taken(server: servers.Running) -> int:
    """Return how many snapshots the server has taken since its start."""
    return int(server.mntr()[_COUNT])


@contextmanager
def one_after_the_other(admin: ReservedPort) -> Iterator[None]:
    """Let the server write snapshots all the time; the last one ends after the block.

    Raises:
        RuntimeError: the server refused a snapshot.
    """
    is_over = threading.Event()
    failures: list[Exception] = []

    def work() -> None:
        try:
            while not is_over.is_set():
                take(admin)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    if failures:
        raise RuntimeError("the snapshots failed") from failures[0]
