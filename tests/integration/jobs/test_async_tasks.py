"""``async def`` tasks on a real worker: at the same time, or one after the other."""

import signal
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.support.decorated import write_decorated_tasks
from tests.support.jobs import TIMEOUT_S, WorkerProcess, all_results, next_result
from tests.support.waiting import wait_until
from zoolet.jobs import Dispatcher, JobState

Start = Callable[..., WorkerProcess]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    write_decorated_tasks(tmp_path)
    return tmp_path


@pytest.fixture
def decorated(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(tasks)
    yield import_module("decorated_tasks")
    del sys.modules["decorated_tasks"]


def test_one_executor_runs_many_jobs_and_a_cancelled_one_stops_alone(
    decorated: Any, dispatcher: Dispatcher, start_worker: Start, tmp_path: Path
) -> None:
    start_worker("--async-concurrency", "8", loader=None)
    file = tmp_path / "file"
    endless = decorated.wait_until_cancelled.submit(str(file))
    wait_until(file.exists, "the endless task")
    seven = dispatcher.submit_batch([decorated.meet.request(7) for _ in range(7)])
    assert [job.result for job in all_results(seven)] == [7] * 7
    endless.cancel()
    assert next_result(endless).state is JobState.FAILED
    wait_until((tmp_path / "file.cancelled").exists, "the end of the coroutine")
    many = dispatcher.submit_batch([decorated.add_later.request(number) for number in range(100)])
    jobs = all_results(many)
    assert sorted(job.result for job in jobs) == list(range(2, 102))
    for job in jobs:
        [output] = job.output
        assert output.last_lines in dispatcher.queue.find(output.last_lines).name


def test_jobs_of_a_batched_task_share_calls_and_have_their_own_ends(
    decorated: Any, dispatcher: Dispatcher, start_worker: Start
) -> None:
    """The first call has 8 items. Of these, 3 come again, together with 5 others."""
    start_worker("--async-concurrency", "8", loader=None)
    first = dispatcher.submit_batch([decorated.together.request(n) for n in range(7)])
    final = decorated.together.submit(-1)
    job = next_result(final)
    assert (job.state, job.attempts, job.last_error) == (
        JobState.FAILED,
        1,
        "ValueError: final",
    )
    others = dispatcher.submit_batch([decorated.together.request(n) for n in range(10, 20, 2)])
    jobs = [*all_results(first), *all_results(others)]
    assert sorted(job.result for job in jobs) == [[n, 8] for n in (*range(7), *range(10, 20, 2))]
    assert {job.result[0]: job.attempts for job in jobs if job.attempts > 1} == {1: 2, 3: 2, 5: 2}


def test_a_worker_that_stops_gives_running_jobs_back(
    decorated: Any, dispatcher: Dispatcher, start_worker: Start, tmp_path: Path
) -> None:
    worker = start_worker("--async-concurrency", "4", "--grace-ms", "100", loader=None)
    file = tmp_path / "file"
    endless = decorated.wait_until_cancelled.submit(str(file))
    wait_until(file.exists, "the endless task")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(TIMEOUT_S) == 0
    job = dispatcher.job(endless.names[0])
    assert (job.state, job.attempts, job.errors) == (JobState.PENDING, 0, ())


@pytest.mark.parametrize("options", [(), ("--threads",)], ids=["process", "thread"])
def test_async_tasks_run_without_the_option(
    decorated: Any, dispatcher: Dispatcher, start_worker: Start, options: tuple[str, ...]
) -> None:
    start_worker(*options, loader=None)
    batch = dispatcher.submit_batch([decorated.add_later.request(number) for number in range(3)])
    assert sorted(job.result for job in all_results(batch)) == [2, 3, 4]
