"""Calls between the end of a session and the next session."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.both_clients import OPTIONS, both, clients_of, run, until
from tests.support.scripted_server import ScriptedServer
from zoolet.client import ConnectionLossError, SessionExpiredError, SessionId, SessionState
from zoolet.testing import EmbeddedServer


def has_another_session(client: Any, old: SessionId) -> Callable[[], bool]:
    return lambda: client.session_id.id not in {old.id, 0}


@both
def test_a_call_after_the_end_waits_for_the_next_session(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                await client.create("/a")
                futures = []

                def ask(state: SessionState) -> None:
                    if state is SessionState.EXPIRED:
                        futures.append(client.futures.get("/a"))

                client.add_listener(ask)
                old = client.session_id
                server.faults.expire(old.id)
                await until(lambda: bool(futures), "the session has expired")
                [future] = futures
                found = await (future if kind == "asyncio" else asyncio.to_thread(future.result))
                assert found.data == b""
                assert client.session_id != old

    run(scenario())


@both
def test_a_call_after_the_end_ends_with_the_client(kind: str) -> None:
    async def scenario() -> None:
        with ScriptedServer() as server:
            async with clients_of(kind) as make:
                starting = asyncio.ensure_future(make(server.hosts, OPTIONS))
                await asyncio.to_thread(server.granted, session_id=0, timeout_ms=0)
                connection = await asyncio.to_thread(server.granted)
                client = await starting
                connection.close()
                await asyncio.to_thread(server.granted, session_id=0, timeout_ms=0)
                # The server has not replied to the request for another session yet.
                waiting = await asyncio.to_thread(server.next)
                call = asyncio.ensure_future(client.get("/a"))
                await asyncio.sleep(0)
                await client.close()
                with pytest.raises(Exception, match="the client is closed"):
                    await call
                waiting.close()

    run(scenario())


@both
@pytest.mark.parametrize("seed", range(3))
def test_no_call_that_starts_after_the_end_of_a_session_fails(kind: str, seed: int) -> None:
    chance = random.Random(seed)

    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                await client.create("/a")
                stops = asyncio.Event()

                async def call() -> int:
                    failed = 0
                    while not stops.is_set():
                        began_in = client.session_id
                        try:
                            await client.get("/a")
                        except SessionExpiredError:
                            # It waited for a connection while the session still existed.
                            assert began_in.id != 0
                            failed += 1
                        except ConnectionLossError:
                            failed += 1
                    return failed

                calls = [asyncio.ensure_future(call()) for _ in range(4)]
                for _ in range(5):
                    await asyncio.sleep(chance.uniform(0.0, 0.1))
                    old = client.session_id
                    server.faults.expire(old.id)
                    await until(has_another_session(client, old), "another session")
                stops.set()
                # Each end of a connection and of a session is seen once by each caller.
                assert all(failed <= 10 for failed in await asyncio.gather(*calls))

    run(scenario())
