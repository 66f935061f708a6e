"""Synchronous code in the event loop: it waits, gets errors, and ends if it is cancelled."""

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from zoolet.jobs.aio.bridge import CallLocal, check, run, wait, wait_for_write


async def returned(value: object) -> object:
    await asyncio.sleep(0)
    return value


async def failed() -> None:
    raise KeyError("k")


def test_code_waits_and_returns() -> None:
    assert asyncio.run(run(lambda: [wait(returned(n)) for n in range(3)])) == [0, 1, 2]
    assert asyncio.run(run(lambda: 7)) == 7


def test_an_error_is_raised_where_the_code_waits() -> None:
    def work() -> str:
        try:
            wait(failed())
        except KeyError:
            return "caught"
        return "not raised"

    assert asyncio.run(run(work)) == "caught"
    with pytest.raises(KeyError):
        asyncio.run(run(lambda: wait(failed())))


def test_calls_run_at_the_same_time_with_values_of_their_own() -> None:
    local, seen, of_caller = CallLocal(), [], contextvars.ContextVar[int]("of_caller")

    def work(number: int) -> tuple[int, int]:
        local.value = number
        seen.append(number)
        wait(returned(None))
        return local.value, of_caller.get()

    async def one(number: int) -> tuple[int, int]:
        of_caller.set(number)
        return await run(lambda: work(number))

    async def both() -> list[tuple[int, int]]:
        return list(await asyncio.gather(one(1), one(2)))

    assert asyncio.run(both()) == [(1, 1), (2, 2)]
    assert seen == [1, 2]
    assert getattr(local, "value", None) is None


def test_code_that_waits_outside_of_a_call_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"await dispatcher\.run"):
        wait(returned(None))


def test_a_cancelled_read_ends_at_once_and_a_write_after_its_reply() -> None:
    async def scenario(is_write: bool) -> list[str]:
        loop, steps = asyncio.get_running_loop(), list[str]()
        reply: asyncio.Future[str] = loop.create_future()

        def work() -> None:
            try:
                steps.append(wait_for_write(reply) if is_write else wait(reply))
                check()
                steps.append("sent more")
            finally:
                steps.append("left")

        task = asyncio.create_task(run(work))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        if is_write:
            assert steps == []
            task.cancel()
            await asyncio.sleep(0)
            reply.set_result("reply")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert reply.cancelled() is not is_write
        return steps

    assert asyncio.run(scenario(is_write=True)) == ["reply", "left"]
    assert asyncio.run(scenario(is_write=False)) == ["left"]


@pytest.mark.parametrize("seed", range(20))
def test_random_cancellation(seed: int) -> None:
    """A cancelled call knows the result of each write that it sent, and sends none afterwards."""
    random_ = random.Random(seed)

    async def scenario() -> None:
        executed: list[int] = []
        known: list[int] = []
        is_cancelled = False

        async def write(number: int) -> int:
            executed.append(number)
            for _ in range(random_.randrange(3)):
                await asyncio.sleep(0)
            return number

        def work() -> None:
            for number in range(20):
                check()
                assert not is_cancelled or known == executed
                kind: Callable[[Any], Any] = wait_for_write
                known.append(kind(asyncio.ensure_future(write(number))))
                if random_.random() < 0.5:
                    check()
                    wait(cast("Awaitable[object]", returned(None)))

        task = asyncio.create_task(run(work))
        for _ in range(random_.randrange(60)):
            await asyncio.sleep(0)
        is_cancelled = True
        was_running = task.cancel()
        at_cancel = len(executed)
        try:
            await task
        except asyncio.CancelledError:
            assert was_running
        assert known == executed
        assert len(executed) <= at_cancel + 1
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())
