"""Random faults and cancellations: many tasks on one `AsyncClient`, over a network that fails.

The model: each task has a counter of its own, a znode whose version is the number of its sets. A
task knows which sets were applied, which were refused, and which may have been applied. At the end,
the version lies between the numbers, and the data are those of the last set.
"""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.async_clients import on_loops, outcome, started
from tests.support.loops import RunOnLoop
from tests.support.proxy import Proxy
from zoolet.client import (
    AsyncClient,
    BadVersionError,
    ConnectionLossError,
    DeadlineError,
    Event,
    Resynced,
    ZooKeeperError,
)
from zoolet.testing import EmbeddedServer

TASKS = 50
ROUNDS = 120
FAULT_PAUSE_S = 0.1


@dataclass
class Counter:
    """What a task knows about its znode."""

    path: str
    applied: int = 0
    unknown: int = 0
    cancelled: int = 0
    events: list[Event | Resynced] = field(default_factory=list)


async def work(client: AsyncClient, counter: Counter, chance: random.Random) -> None:
    """Set the counter again and again, read it, and cancel some of the calls."""
    for number in range(ROUNDS):
        kind = chance.random()
        if kind < 0.2:
            await read(client, counter, chance)
        call = client.set(counter.path, b"%d" % number, timeout_s=chance.choice([0.02, 5.0]))
        if kind > 0.7:
            await cancel_later(call, chance)
        try:
            stat = await call
        except asyncio.CancelledError:
            counter.cancelled += 1
        except DeadlineError as error:
            counter.unknown += "not sent" not in str(error)
        except ConnectionLossError:
            counter.unknown += 1
        else:
            counter.applied += 1
            limit = counter.applied + counter.unknown + counter.cancelled
            assert counter.applied <= stat.version <= limit
        assert call.done()


async def read(client: AsyncClient, counter: Counter, chance: random.Random) -> None:
    """Read the counter with a watch, which may be cancelled."""
    call = client.get(counter.path, watch=counter.events.append)
    if chance.random() < 0.3:
        await cancel_later(call, chance)
    try:
        data, stat = await call
    except (asyncio.CancelledError, ConnectionLossError):
        return
    limit = counter.applied + counter.unknown + counter.cancelled
    assert counter.applied <= stat.version <= limit, counter
    assert data is not None


async def cancel_later(call: "asyncio.Future[Any]", chance: random.Random) -> None:
    for _ in range(chance.randrange(6)):
        await asyncio.sleep(0)
    call.cancel()


async def make_faults(proxy: Proxy, chance: random.Random) -> None:
    """Break the network until this task is cancelled."""
    while True:
        kind = chance.choice(["cut", "hold", "lose", "cut off"])
        pause_s = FAULT_PAUSE_S * chance.random()
        await asyncio.sleep(pause_s)
        if kind == "cut":
            proxy.cut()
            continue
        fault = {"hold": proxy.replies_held, "lose": proxy.replies_lost, "cut off": proxy.cut_off}
        with fault[kind]():
            await asyncio.sleep(pause_s)


@on_loops
def test_each_call_ends_once_and_no_set_is_applied_twice(run: RunOnLoop) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    with EmbeddedServer() as server, Proxy(server.port) as proxy:

        async def scenario() -> None:
            counters = [Counter(f"/{number}") for number in range(TASKS)]
            options = {"session_timeout_ms": 30_000, "max_outstanding_bytes": 2000}
            async with started(proxy.hosts, **options) as client:
                session = client.session_id
                for counter in counters:
                    await client.create(counter.path)
                faults = asyncio.create_task(make_faults(proxy, chance))
                async with asyncio.TaskGroup() as group:
                    for counter in counters:
                        own = random.Random(chance.random())
                        group.create_task(work(client, counter, own))
                faults.cancel()
                await asyncio.wait([faults])
                assert client.session_id == session
                while isinstance(await outcome(client.sync("/")), ZooKeeperError):
                    pass
                await check(client, counters)
                assert not client._engine.session.has_outstanding
                # Each watch of the server has a watcher in the client.
                assert len(server.inside.watches(session.id)) <= len(client._engine.session.watches)

        run(scenario())


async def check(client: AsyncClient, counters: list[Counter]) -> None:
    for counter in counters:
        data, stat = await client.get(counter.path)
        limit = counter.applied + counter.unknown + counter.cancelled
        assert counter.applied <= stat.version <= limit, counter
        assert data is not None
        with pytest.raises(BadVersionError):
            await client.set(counter.path, b"", version=stat.version + 1)
    assert sum(counter.applied for counter in counters) > TASKS
    assert sum(counter.unknown for counter in counters)
    assert sum(counter.cancelled for counter in counters)
