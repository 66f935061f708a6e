"""Calls that are repeated after errors, on a real server with faults."""

import asyncio
import random
from collections import Counter

import pytest

from tests.support.async_clients import outcome
from tests.support.both_clients import LIMIT_S, OPTIONS, both, clients_of, run, until
from zoolet.client import (
    AsyncClient,
    ClientOptions,
    ConnectionLossError,
    DeadlineError,
    Event,
    NodeExistsError,
    NoNodeError,
    Resynced,
    Retry,
    Stat,
)
from zoolet.testing import EmbeddedServer, ErrorCode, OpCode

QUICK = Retry(first_pause_s=0.001)
BOLD = Retry(first_pause_s=0.001, repeats_writes=True)


@both
def test_reads_are_repeated_and_writes_only_if_it_is_allowed(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                await client.create("/a")
                lost = server.faults.on(OpCode.GET_DATA, times=3).drop_reply()
                assert (await client.retrying(QUICK).get("/a")).data == b""
                assert lost.count == 3
                server.faults.on(OpCode.SET_DATA).drop_reply()
                with pytest.raises(ConnectionLossError):
                    await client.retrying(QUICK).set("/a", b"1")
                server.faults.on(OpCode.SET_DATA).drop_reply()
                assert (await client.retrying(BOLD).set("/a", b"2")).version == 3
                server.faults.on(OpCode.CREATE2).drop_reply()
                with pytest.raises(NodeExistsError):
                    await client.retrying(BOLD).create("/b")

    run(scenario())


@both
def test_a_request_that_was_not_applied_is_repeated(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                server.faults.on(OpCode.CREATE2, times=2).answer(ErrorCode.THROTTLED)
                await client.retrying(QUICK).create("/a")
                old = client.session_id
                server.faults.on(OpCode.GET_DATA).expire()
                with pytest.raises(NoNodeError):
                    await client.retrying(QUICK).get("/missing")
                assert client.session_id != old

    run(scenario())


@both
def test_the_last_error_comes_after_the_attempts_or_the_time(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                lost = server.faults.on(OpCode.EXISTS, times=None).drop_reply()
                with pytest.raises(ConnectionLossError):
                    await client.retrying(Retry(3, 0.001)).exists("/a")
                assert lost.count == 3
                with pytest.raises((ConnectionLossError, DeadlineError)):
                    await client.retrying(Retry(None, 0.001)).exists("/a", timeout_s=1)
                assert lost.count > 3
                with pytest.raises(ValueError, match="not a valid path"):
                    await client.retrying(QUICK).exists("no path")

    run(scenario())


@both
def test_the_watch_of_a_repeated_read_is_set_once(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                await client.create("/a")
                seen: list[Event | Resynced] = []
                server.faults.on(OpCode.GET_DATA, times=2).drop_reply()
                await client.retrying(QUICK).get("/a", watch=seen.append)
                await client.set("/a", b"1")
                await client.set("/a", b"2")
                await until(lambda: len(seen) == 1, "the event")
                await client.sync()
                assert len(seen) == 1

    run(scenario())


def test_calls_keep_their_order_and_a_cancelled_call_is_not_repeated() -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with AsyncClient(server.hosts, OPTIONS) as client:
                await client.create("/a")
                patient = client.retrying(QUICK)
                calls = [
                    (patient if number % 2 else client).set("/a", b"%d" % number)
                    for number in range(50)
                ]
                assert [(await call).version for call in calls] == list(range(1, 51))
                lost = server.faults.on(OpCode.GET_DATA, times=None).drop_reply()
                reading = client.retrying(Retry(None, 0.001)).get("/a", timeout_s=0)
                await until(lambda: lost.count >= 3, "the call is repeated")
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
                at_once = patient.get("/a")
                at_once.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await at_once
                lost.cancel()
                await client.sync()
                count = lost.count
                await client.get("/a")
                assert lost.count == count

    run(scenario())


@both
@pytest.mark.parametrize("seed", range(4))
def test_random_faults_apply_no_write_twice(kind: str, seed: int) -> None:
    chance = random.Random(seed)

    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts, ClientOptions(call_timeout_s=LIMIT_S))
                await client.create("/a")
                faults = server.faults
                faults.on(OpCode.SET_DATA, times=None, chance=0.1, seed=seed).drop_reply()
                faults.on(OpCode.SET_DATA, times=None, chance=0.1, seed=seed + 1).lose_request()
                faults.on(OpCode.GET_DATA, times=None, chance=0.1, seed=seed).drop_reply()
                faults.on(OpCode.SET_DATA, times=None, chance=0.1, seed=seed + 2).answer(
                    ErrorCode.THROTTLED
                )
                patient = client.retrying(Retry(None, 0.001))

                async def call(number: int) -> None:
                    for step in range(20):
                        data = b"%d-%d" % (number, step)
                        result = await outcome(patient.set("/a", data))
                        assert isinstance(result, Stat | ConnectionLossError)
                        if chance.random() < 0.5:
                            await patient.get("/a")

                await asyncio.gather(*[call(number) for number in range(4)])
                applied = Counter(
                    one.record.data
                    for one in server.inside.requests()
                    if one.op_code == OpCode.SET_DATA and one.err == ErrorCode.OK
                )
                assert applied
                assert set(applied.values()) == {1}

    run(scenario())
