"""Servers that grant a session and close at once, and servers that refuse each session."""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.both_clients import both, clients_of, run, until
from tests.support.scripted_server import ScriptedServer
from zoolet.client import ClientOptions, ConnectionLossError, SessionExpiredError
from zoolet.client.connecting.server_order import LONGEST_PAUSE_S, ServerOrder

OPTIONS = ClientOptions(connect_timeout_s=20, call_timeout_s=20)


class Pauses:
    """The pauses of the clients of one server, which do not last.

    Other clients of this process keep their pauses, and are not counted.

    Attributes:
        longest_s: the longest possible time of each pause.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, hosts: str) -> None:
        self.longest_s: list[float] = []
        pause_s = ServerOrder.pause_s

        def noted(order: ServerOrder) -> float:
            if hosts not in map(str, order.servers.addresses):
                return pause_s(order)
            self.longest_s.append(order._backoff.longest_s)
            return pause_s(order) and 0.001

        monkeypatch.setattr(ServerOrder, "pause_s", noted)


@contextlib.contextmanager
def serving(*, grants: Iterator[bool], count: int) -> Iterator[ScriptedServer]:
    """A server that grants or refuses a number of sessions, closes at once, and then serves."""
    with ScriptedServer() as server:

        def serve() -> None:
            for _ in range(count):
                connection = server.next()
                with contextlib.suppress(OSError, AssertionError):
                    connection.grant(session_id=7 if next(grants) else 0)
                connection.close()
            server.serve_all()

        threading.Thread(target=serve, daemon=True).start()
        yield server


def accepted_more_than(server: ScriptedServer, count: int) -> Callable[[], bool]:
    return lambda: server.accepted_count > count


async def get(client: Any) -> None:
    """Read until there is a reply."""
    while True:
        try:
            await client.get("/a")
        except (ConnectionLossError, SessionExpiredError):
            continue
        return


@both
def test_a_server_that_closes_at_once_is_asked_after_pauses(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        with serving(grants=iter([True] * 8), count=8) as server:
            pauses = Pauses(monkeypatch, server.hosts)
            async with clients_of(kind) as make:
                client = await make(server.hosts, OPTIONS)
                await get(client)
                assert len(pauses.longest_s) == 8
                assert pauses.longest_s == sorted(pauses.longest_s)
                assert pauses.longest_s[-1] == LONGEST_PAUSE_S

    run(scenario())


@both
def test_a_server_that_refuses_new_sessions_is_asked_after_pauses(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        with serving(grants=iter([False] * 8), count=8) as server:
            pauses = Pauses(monkeypatch, server.hosts)
            async with clients_of(kind) as make:
                client = await make(server.hosts, OPTIONS)
                await client.get("/a")
                assert len(pauses.longest_s) == 8

    run(scenario())


@both
def test_no_pause_comes_after_a_useful_connection(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        with ScriptedServer() as server:
            pauses = Pauses(monkeypatch, server.hosts)
            server.serve_all()
            async with clients_of(kind) as make:
                client = await make(server.hosts, OPTIONS)
                for count in range(1, 4):
                    await client.get("/a")
                    server.cut()
                    await until(accepted_more_than(server, count), "a connection")
                assert pauses.longest_s == []

    run(scenario())


@both
@pytest.mark.parametrize("seed", range(3))
def test_random_servers_get_a_pause_after_each_failed_try(
    kind: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    grants = [chance.random() < 0.7 for _ in range(20)]

    async def scenario() -> None:
        with serving(grants=iter(grants), count=20) as server:
            pauses = Pauses(monkeypatch, server.hosts)
            async with clients_of(kind) as make:
                client = await make(server.hosts, OPTIONS)
                await get(client)
                # The refusal of a session that was granted before is the reply of a good server.
                expired = [now for now, last in zip(grants[1:], grants, strict=False) if last > now]
                assert len(pauses.longest_s) == 20 - len(expired)

    run(scenario())
