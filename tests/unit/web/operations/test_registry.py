"""Long operations: who finds them, how they end, and the limits."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest

from zoolet.client import NoAuthError
from zoolet.web.access.logins import key_of
from zoolet.web.access.users import Role
from zoolet.web.access.visitors import Visitor
from zoolet.web.operations.operation import Handle, Kind, Operation, State, Work
from zoolet.web.operations.registry import (
    KEPT_S,
    MOST_KEPT,
    MOST_KEPT_OF_USER,
    MOST_OF_USER,
    MOST_RUNNING,
    Operations,
    TooManyOperationsError,
)

KIND = Kind("copy", "znodes")


def visitor_of(user: str, token: str = "t") -> Visitor:
    return Visitor(user, Role.VIEWER, "127.0.0.1", False, token, "")


def start(operations: Operations, visitor: Visitor, work: Work) -> Operation:
    return operations.start(visitor, KIND, cluster="c", path="/", title="Copy", work=work)


async def at_once(handle: Handle) -> Mapping[str, Any]:
    handle.progress(3, 3)
    handle.show(part=1)
    return {"copied": 3}


async def never(_: Handle) -> Mapping[str, Any]:
    await asyncio.Event().wait()
    return {}


def test_an_operation_ends_with_its_result() -> None:
    async def run() -> None:
        operations = Operations(time_s=lambda: 5.0)
        found = start(operations, visitor_of("a"), at_once)
        assert found.is_running
        assert await operations.ended(found, 10)
        values = found.values()
        assert (values["state"], values["done"], values["total"]) == ("done", 3, 3)
        assert values["result"] == {"part": 1, "copied": 3}
        assert values["ended_ms"] == 5000

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NoAuthError("get", "/a"), "/a"),
        (ValueError("wrong"), "wrong"),
        (RuntimeError("a bug with secrets"), "unexpected"),
    ],
)
def test_a_failed_operation_says_why(error: Exception, text: str) -> None:
    async def fail(_: Handle) -> Mapping[str, Any]:
        raise error

    async def run() -> None:
        operations = Operations()
        found = start(operations, visitor_of("a"), fail)
        assert await operations.ended(found, 10)
        assert found.state is State.FAILED
        assert text in found.error
        assert "secrets" not in found.error

    asyncio.run(run())


def test_only_its_visitor_finds_an_operation() -> None:
    async def run() -> None:
        operations = Operations()
        found = start(operations, visitor_of("a", "1"), at_once)
        assert operations.find(visitor_of("a", "1"), "c", found.id) is found
        assert operations.list(visitor_of("a", "1"), "c") == [found]
        for other, cluster in (
            (visitor_of("a", "2"), "c"),
            (visitor_of("b", "1"), "c"),
            (visitor_of("", "1"), "c"),
            (visitor_of("a", "1"), "d"),
        ):
            assert operations.find(other, cluster, found.id) is None
            assert operations.list(other, cluster) == []
        await operations.close()

    asyncio.run(run())


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_cancelled_operation_ends_once(*, has_begun: bool) -> None:
    async def run() -> None:
        operations = Operations()
        found = start(operations, visitor_of("a"), never)
        if has_begun:
            await asyncio.sleep(0)
        operations.cancel(found)
        assert found.is_cancelled
        assert found.is_running
        operations.cancel(found, "again")
        assert await operations.ended(found, 10)
        assert (found.state, found.error) == (State.CANCELLED, "You have cancelled it.")
        operations.cancel(found)
        assert found.state is State.CANCELLED

    asyncio.run(run())


def test_the_end_of_a_login_ends_its_operations() -> None:
    async def run() -> None:
        operations = Operations()
        ended = start(operations, visitor_of("a", "1"), at_once)
        mine = start(operations, visitor_of("a", "1"), never)
        other = start(operations, visitor_of("a", "2"), never)
        assert await operations.ended(ended, 10)
        operations.end(key_of("1"))
        assert await operations.ended(mine, 10)
        assert mine.error == "The login has ended."
        assert other.is_running
        assert operations.find(visitor_of("a", "1"), "c", ended.id) is None
        await operations.close()
        assert other.error == "The page has ended."

    asyncio.run(run())


def test_the_end_of_the_page_ends_also_what_delays_a_cancellation() -> None:
    async def stubborn(_: Handle) -> Mapping[str, Any]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()
        return {}

    async def run() -> None:
        operations = Operations(close_s=0.01)
        found = start(operations, visitor_of("a"), stubborn)
        await asyncio.sleep(0)
        await operations.close()
        assert found.state is State.CANCELLED

    asyncio.run(run())


def test_the_limit_of_a_user_counts_all_browsers() -> None:
    async def run() -> None:
        operations = Operations()
        for number in range(MOST_OF_USER):
            start(operations, visitor_of("a", str(number)), never)
        with pytest.raises(TooManyOperationsError, match="cancel one"):
            start(operations, visitor_of("a", "x"), never)
        for number in range(MOST_RUNNING - MOST_OF_USER):
            start(operations, visitor_of("", str(number)), never)
        with pytest.raises(TooManyOperationsError, match="all users"):
            start(operations, visitor_of("b"), never)
        await operations.close()
        await operations.ended(start(operations, visitor_of("a"), at_once), 10)

    asyncio.run(run())


@pytest.mark.parametrize("seed", range(10))
def test_random_operations_keep_the_limits(seed: int) -> None:
    chance = random.Random(seed)
    now_s = 0.0

    async def run() -> None:
        nonlocal now_s
        operations = Operations(now_s=lambda: now_s)
        visitors = [visitor_of(user, token) for user in ("", "a", "b") for token in "123"]
        running: list[Operation] = []
        for _ in range(1500):
            step = chance.random()
            visitor = chance.choice(visitors)
            if step < 0.6:
                try:
                    running.append(start(operations, visitor, chance.choice([at_once, never])))
                except TooManyOperationsError:
                    operations.cancel(chance.choice(running))
            elif step < 0.8 and running:
                operations.cancel(chance.choice(running))
            elif step < 0.82:
                operations.end(visitor.owner[1])
            elif step < 0.84:
                now_s += chance.choice([1.0, KEPT_S / 2, KEPT_S * 2])
                operations.forget_old()
            await asyncio.sleep(0)
            running = [found for found in running if found.is_running]
            lists = {one.owner: operations.list(one, "c") for one in visitors}
            found = [one for own in lists.values() for one in own]
            assert len(running) <= MOST_RUNNING
            assert {one.id for one in running} <= {one.id for one in found}
            assert sum(not one.is_running for one in found) <= MOST_KEPT
            for user in ("a", "b"):
                own = [one for one in found if one.visitor.user == user]
                assert sum(one.is_running for one in own) <= MOST_OF_USER
                assert sum(not one.is_running for one in own) <= MOST_KEPT_OF_USER
        await operations.close()
        assert not any(one.is_running for one in running)

    asyncio.run(run())
