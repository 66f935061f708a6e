"""Time limits, cancellations and futures of `Client` on real servers."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.waiting import WAIT_S, wait_until
from zoolet.client import (
    ACL,
    Client,
    ClientOptions,
    DeadlineError,
    Id,
    Permission,
    SessionState,
)
from zoolet.testing import EmbeddedServer

SHORT_MS = 400
"""A session timeout that a test can wait for."""

READ_BY_ALL = (ACL(int(Permission.READ), Id("world", "anyone")),)


def options(**changes: Any) -> ClientOptions:
    return ClientOptions(**{"connect_timeout_s": WAIT_S, "call_timeout_s": WAIT_S, **changes})


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[Client]:
    with Client(server.hosts, options()) as started:
        yield started


def test_a_call_without_a_server_is_not_sent(server: EmbeddedServer, client: Client) -> None:
    server.stop()
    wait_until(lambda: client.state is SessionState.SUSPENDED, "the connection is lost")
    with pytest.raises(DeadlineError, match="the request was not sent"):
        client.create("/a", timeout_s=0.01)
    future = client.futures.create("/b", timeout_s=0.01)
    with pytest.raises(DeadlineError, match="the request was not sent"):
        future.result()
    cancelled = client.futures.create("/c")
    assert cancelled.cancel()
    kept = client.futures.create("/d")
    server.start()
    assert kept.result().path == "/d"
    assert set(client.children("/").names) == {"d", "zookeeper"}


def test_a_call_on_a_paused_server_ends_in_time(server: EmbeddedServer, client: Client) -> None:
    server.pause()
    futures = [client.futures.create(f"/{n}", timeout_s=0.05) for n in range(3)]
    with pytest.raises(DeadlineError, match="may have applied it or not"):
        client.create("/a", timeout_s=0.05)
    for future in futures:
        with pytest.raises(DeadlineError):
            future.result()
    unawaited = client.futures.get("/", timeout_s=0.05)
    with pytest.raises(TimeoutError, match=r"get /: no result in 0\.01 s"):
        client.futures.get("/").result(0.01)
    wait_until(unawaited.done, "the call has ended, though no thread waits")
    server.resume()
    # The late replies are ignored, and each reply is that of its call.
    assert client.exists("/a") is not None
    assert client.get("/").stat.num_children == 5


def test_a_cancelled_call_changes_nothing_for_the_others(client: Client) -> None:
    client.create("/a", b"x")
    kept = []
    for n in range(200):
        future = client.futures.get("/a") if n % 3 else client.futures.exists("/none")
        if n % 2:
            future.cancel()
        else:
            kept.append((future, n % 3))
    for future, is_get in kept:
        result = future.result()
        assert (result is not None) == bool(is_get)
    assert client.get("/a").data == b"x"


def test_futures_that_nobody_waits_for_are_sent(server: EmbeddedServer, client: Client) -> None:
    for n in range(500):
        client.futures.create(f"/{n}")
    wait_until(lambda: len(server.inside.paths()) >= 500, "all znodes are created")
    wait_until(lambda: not client._engine.session.has_outstanding, "all replies are read")
