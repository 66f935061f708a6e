"""Decorated tasks, from a call of ``submit`` to a result of a real worker."""

import os
import random
import sys
import urllib.request
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.support.decorated import write_decorated_tasks
from tests.support.jobs import ROOT, WorkerProcess, all_results, next_result
from tests.support.waiting import WAIT_S, wait_until
from zoolet.jobs import Dispatcher, JobState, Place, Progress
from zoolet.jobs.overview.top import Watcher, plain
from zoolet.jobs.queue.moves import Move
from zoolet.jobs.records.transitions import Event

Start = Callable[..., WorkerProcess]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    write_decorated_tasks(tmp_path)
    return tmp_path


@pytest.fixture
def decorated(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of the tasks, in the program that submits jobs."""
    monkeypatch.syspath_prepend(tasks)
    yield import_module("decorated_tasks")
    del sys.modules["decorated_tasks"]


@pytest.fixture
def worker(start_worker: Start) -> WorkerProcess:
    return start_worker("--executors", "2", loader="decorated_tasks:load")


@pytest.mark.usefixtures("worker", "dispatcher")
def test_a_submitted_call_has_the_result_of_the_call(decorated: Any) -> None:
    assert next_result(decorated.add.submit(1, b=5)).result == decorated.add(1, b=5) == 6
    assert next_result(decorated.count_late.submit(30, minutes=15)).result == 2


@pytest.mark.usefixtures("worker")
def test_requests_of_tasks_are_submitted_as_a_batch(decorated: Any, dispatcher: Dispatcher) -> None:
    requests = [decorated.count_late.request(month, minutes=15) for month in range(10, 20)]
    jobs = all_results(dispatcher.submit_batch(requests))
    assert {job.groupid: job.result for job in jobs} == {
        str(month): 1 + (month > 15) for month in range(10, 20)
    }


@pytest.mark.usefixtures("worker", "dispatcher")
def test_errors_are_retried_or_final_as_the_task_says(decorated: Any, tmp_path: Path) -> None:
    """From a seed: each job has as many attempts as the model says."""
    chance = random.Random(23)
    plan = [(number, chance.randrange(7), chance.random() < 0.3) for number in range(20)]
    batches = [
        decorated.unreliable.submit(str(tmp_path), number, failures, is_final)
        for number, failures, is_final in plan
    ]
    for (number, failures, is_final), batch in zip(plan, batches, strict=True):
        job = next_result(batch)
        most = 1 if is_final else 5
        attempts = min(failures + 1, most)
        assert len(list(tmp_path.glob(f"{number}-*"))) == job.attempts == attempts
        state = JobState.SUCCESSFUL if failures < most else JobState.FAILED
        assert job.state is state, (number, failures, is_final, job.errors)
        assert len(job.errors) == min(failures, most)


@pytest.mark.usefixtures("worker", "dispatcher")
def test_a_task_that_raises_retry_runs_again_until_it_returns(
    decorated: Any, tmp_path: Path
) -> None:
    job = next_result(decorated.patient.submit(str(tmp_path), 1, tries=4))
    assert (job.state, job.result, job.attempts) == (JobState.SUCCESSFUL, 4, 4)
    assert {error.message for error in job.errors} == {"not yet: to be tried again in 0.02 s"}


@pytest.mark.usefixtures("worker", "dispatcher")
def test_the_soft_timeout_asks_and_the_hard_timeout_ends(decorated: Any) -> None:
    assert next_result(decorated.slow.submit()).result == "saved"
    job = next_result(decorated.stubborn.submit())
    assert job.last_error.startswith("it took longer than its timeout of 1000 ms")


def test_progress_is_seen_while_a_job_runs(
    decorated: Any, dispatcher: Dispatcher, start_worker: Start, tmp_path: Path
) -> None:
    worker = start_worker("--metrics-port", "0", "--executors", "2", loader=None)
    assert worker.process.stdout is not None
    url = worker.process.stdout.readline().split()[-1]
    pipe = tmp_path / "lines"
    os.mkfifo(pipe)
    batch = dispatcher.submit_batch(
        [decorated.report.request(str(pipe), 4), decorated.add.request(1)], name="reports"
    )
    [name] = [one for one in batch.names if dispatcher.job(one).task.endswith("report")]

    def reported() -> Progress | None:
        return dispatcher.job(name).progress

    wait_until(lambda: reported() == Progress(0, 4, "begun"), "the first progress")
    with pipe.open("w") as lines:
        print("reading\nwriting", file=lines, flush=True)
        wait_until(lambda: reported() == Progress(2, 4, "writing"), "the second progress")
        wait_until(lambda: batch.progress()[JobState.SUCCESSFUL] == 1, "the other job")
        progress = batch.progress()
        assert progress == {
            JobState.PENDING: 0,
            JobState.STAGING: 0,
            JobState.RUNNING: 1,
            JobState.SUCCESSFUL: 1,
            JobState.FAILED: 0,
        }
        assert progress.reported == {name: Progress(2, 4, "writing")}
        assert progress.share == 0.75
        [shown] = Watcher(dispatcher.queue, ROOT).look().as_json()["running"]
        assert shown["progress"] == {"done": 2, "total": 4, "note": "writing"}
        assert "50% (2 of 4) writing" in "\n".join(plain(Watcher(dispatcher.queue, ROOT).look()))
        with urllib.request.urlopen(url, timeout=WAIT_S) as page:
            assert b'zoolet_worker_progress{task="decorated_tasks:report"} 0.5' in page.read()
    job = next(job for job in all_results(batch) if job.name == name)
    assert (job.state, job.progress) == (JobState.SUCCESSFUL, Progress(2, 4, "writing"))


def test_a_retried_job_has_no_progress_of_its_earlier_attempt(
    decorated: Any, dispatcher: Dispatcher
) -> None:
    assert dispatcher.queue.register("w")
    [name] = decorated.add.submit(1).names
    job = dispatcher.queue.update_state(dispatcher.queue.own_job(name, "w"), JobState.RUNNING)
    move = Move(Event.PROGRESS, Place.OWNED, job, job.progressed(Progress(1, 2)))
    [made] = dispatcher.queue.mover.move([move], "w")
    assert dispatcher.job(name) == made.after
    dispatcher.queue.fail(made.after, "trouble")
    assert dispatcher.job(name).progress is None


@pytest.mark.usefixtures("dispatcher")
def test_tasks_submit_jobs_with_one_dispatcher_for_each_executor(
    decorated: Any, start_worker: Start, dispatcher: Dispatcher
) -> None:
    start_worker(loader="decorated_tasks:load")
    parents = [next_result(decorated.submit_more.submit(number, 3)) for number in range(3)]
    assert all(parent.state is JobState.SUCCESSFUL for parent in parents), parents
    assert len({parent.result[-1] for parent in parents}) == 1
    names = [name for parent in parents for name in parent.result[:-1]]
    assert len(set(names)) == 9
    for parent in parents:
        for name in parent.result[:-1]:
            assert dispatcher.job(name).task == "decorated_tasks:add"
