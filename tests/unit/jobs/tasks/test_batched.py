"""Batched tasks: which items share a call, and what each item gets."""

import asyncio
import random
import traceback
from typing import Any, assert_type

import pytest

from zoolet.jobs import Batch, BatchedTask, InvalidJobError, JobError, JobRequest, current_job, task
from zoolet.jobs.records.error_texts import ErrorText, describe
from zoolet.jobs.records.task_names import task_name

calls: list[list[int]] = []


@task(batch=10, batch_wait_ms=20, max_attempts=7, idempotency_key="double-{item}")
def double(items: list[int]) -> list[int | Exception]:
    calls.append(items)
    return [ValueError(item) if item < 0 else 2 * item for item in items]


@task(batch=3, batch_wait_ms=60_000)
async def double_later(items: list[int]) -> list[int]:
    with pytest.raises(JobError, match="no job runs here"):
        current_job()
    await asyncio.sleep(0)
    calls.append(items)
    return [2 * item for item in items]


@task(batch=5)
def wrong(items: list[int]) -> list[int]:
    return items[1:]


@task(batch=5)
def fails(items: list[int]) -> list[int]:
    raise OSError(f"all of {items}")


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


async def together(batched: Any, items: list[int]) -> list[Any]:
    """Return the results of jobs that run in one event loop."""
    runs = [batched.run_in_loop(None, {"item": item}) for item in items]
    return await asyncio.gather(*runs, return_exceptions=True)


def test_a_call_has_items_and_a_request_has_one() -> None:
    assert_type(double([1, 2]), list[int | Exception])
    assert double([1, 2]) == [2, 4]
    assert isinstance(double, BatchedTask)
    assert task_name(double) == f"{__name__}:double"
    assert double.request(4) == JobRequest(
        f"{__name__}:double", parameters={"item": 4}, max_attempts=7, idempotency_key="double-4"
    )
    with pytest.raises(InvalidJobError, match="the argument item of double is of type"):
        double.request(object())  # type: ignore[arg-type]


def _types_of_submit() -> None:
    """Is checked by mypy only."""
    assert_type(double.submit(1), Batch)
    double.submit("1")  # type: ignore[arg-type]


def test_an_executor_for_one_attempt_calls_with_one_item() -> None:
    assert double.run(None, {"item": 3}) == 6
    with pytest.raises(ValueError, match="-3"):
        double.run(None, {"item": -3})
    assert asyncio.run(double_later.run(None, {"item": 3})) == 6
    assert calls == [[3], [-3], [3]]


def test_a_full_batch_is_called_at_once_and_the_rest_after_the_wait() -> None:
    results = asyncio.run(together(double, list(range(25))))
    assert results == [2 * item for item in range(25)]
    assert calls == [list(range(10)), list(range(10, 20)), list(range(20, 25))]


def test_an_async_function_is_awaited_and_its_call_belongs_to_no_job() -> None:
    assert asyncio.run(together(double_later, [1, 2, 3, 4, 5, 6])) == [2, 4, 6, 8, 10, 12]
    assert calls == [[1, 2, 3], [4, 5, 6]]


def test_each_item_has_its_own_error_or_that_of_the_call() -> None:
    first, second, third = asyncio.run(together(double, [1, -2, 3]))
    assert (first, third) == (2, 6)
    assert isinstance(second, ValueError)
    for error in asyncio.run(together(fails, [1, 2])):
        assert isinstance(error, OSError)
    for error in asyncio.run(together(wrong, [1, 2])):
        assert str(error) == "a batched task must return a list of 2 results, not 1 results"


@task(batch=100)
def fails_for_some(items: list[int]) -> list[int | Exception]:
    shared = OSError(f"one for all, from {items[0]}")
    return [shared if item % 3 else item for item in items]


@pytest.mark.parametrize("seed", range(5))
def test_jobs_that_share_an_error_have_records_of_their_own(seed: int) -> None:
    chance = random.Random(seed)
    batched = chance.choice([fails, fails_for_some])

    async def record(item: int) -> tuple[ErrorText, int] | int:
        try:
            found: int = await batched.run_in_loop(None, {"item": item})
        except OSError as error:
            return describe(error), sum(1 for _ in traceback.walk_tb(error.__traceback__))
        return found

    async def records() -> list[tuple[ErrorText, int] | int]:
        return await asyncio.gather(*map(record, range(100)))

    found = asyncio.run(records())
    errors = [one for one in found if isinstance(one, tuple)]
    assert len(errors) == (100 if batched is fails else 66)
    assert len({frames for _, frames in errors}) == 1, "each error has the frames of one job"
    texts = {text.full for text, _ in errors}
    assert len(texts) == (20 if batched is fails else 1), "one text for each call"
    assert all("Error: " in text.short for text, _ in errors)


def test_an_item_whose_job_is_cancelled_is_left_out() -> None:
    async def cancel_one() -> Any:
        runs = [
            asyncio.create_task(double_later.run_in_loop(None, {"item": item})) for item in (1, 2)
        ]
        await asyncio.sleep(0)
        runs[0].cancel()
        await asyncio.sleep(0)
        last = asyncio.create_task(double_later.run_in_loop(None, {"item": 3}))
        return await asyncio.gather(runs[1], last)

    assert asyncio.run(cancel_one()) == [4, 6]
    assert calls == [[2, 3]]


def test_each_item_is_in_one_call_whatever_the_arrivals() -> None:
    for seed in range(20):
        chance = random.Random(seed)
        calls.clear()

        async def arrive(chance: random.Random = chance) -> list[Any]:
            runs = []
            for item in range(chance.randrange(1, 60)):
                runs.append(asyncio.create_task(double.run_in_loop(None, {"item": item})))
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
            return await asyncio.gather(*runs)

        results = asyncio.run(arrive())
        assert results == [2 * item for item in range(len(results))]
        assert sorted(item for call in calls for item in call) == list(range(len(results)))
        assert max(map(len, calls)) <= 10


@pytest.mark.parametrize(
    "options", [{"batch": 0}, {"batch": 1001}, {"batch": 2, "batch_wait_ms": -1}]
)
def test_wrong_limits_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidJobError, match="batch"):
        task(**options)(lambda items: items)
    with pytest.raises(InvalidJobError, match="gets no group"):
        task(batch=2, dataset="d", groupid="g")  # type: ignore[call-overload]
