"""Coroutines of tasks, and the soft timeout inside of them."""

import asyncio
from typing import Any

import pytest

from zoolet.jobs.errors import SoftTimeoutError
from zoolet.jobs.execution.async_calls import drive, run_alone

FOREVER_S = 600


async def returns() -> int:
    await asyncio.sleep(0)
    return 7


async def raises() -> None:
    await asyncio.sleep(0)
    raise ValueError("trouble")


async def saves() -> str:
    try:
        await asyncio.sleep(FOREVER_S)
    except SoftTimeoutError as error:
        await asyncio.sleep(0)
        return f"saved: {error}"
    return ""


async def waits_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(FOREVER_S))
        group.create_task(asyncio.sleep(FOREVER_S))


@pytest.mark.parametrize("soft_timeout_ms", [None, 600_000])
def test_a_coroutine_returns_or_raises(soft_timeout_ms: int | None) -> None:
    assert run_alone(returns(), soft_timeout_ms) == 7
    with pytest.raises(ValueError, match="trouble"):
        run_alone(raises(), soft_timeout_ms)


def test_the_soft_timeout_is_raised_where_the_coroutine_waits() -> None:
    assert run_alone(saves(), 1) == "saved: the task ran longer than its soft timeout of 1 ms"
    with pytest.raises(SoftTimeoutError):
        run_alone(asyncio.sleep(FOREVER_S), 1)


def test_the_soft_timeout_ends_the_tasks_of_a_group() -> None:
    with pytest.raises((ExceptionGroup, SoftTimeoutError)):
        run_alone(waits_in_a_group(), 1)


@pytest.mark.parametrize("soft_timeout_ms", [None, 600_000])
def test_a_cancelled_attempt_stays_cancelled(soft_timeout_ms: int | None) -> None:
    seen: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(FOREVER_S)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def cancels() -> None:
        task: asyncio.Task[Any] = asyncio.create_task(drive(waits(), soft_timeout_ms))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancels())
    assert seen == ["cancelled"]
