"""Decorated tasks while the leader is killed: retries, progress, and jobs that submit jobs."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.support.decorated import write_decorated_tasks
from tests.support.jobs import WorkerProcess, all_results, assert_in_one_place, next_result
from zoolet.jobs import Dispatcher, JobState, Progress


@pytest.fixture
def decorated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    write_decorated_tasks(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "decorated_tasks", raising=False)
    return import_module("decorated_tasks")


def test_retries_and_jobs_of_jobs_survive_the_death_of_the_leader(
    decorated: Any,
    dispatcher: Dispatcher,
    start_worker: Callable[..., WorkerProcess],
    kill_leader: Callable[[], None],
    tmp_path: Path,
) -> None:
    start_worker("--executors", "2", loader=None)
    later = dispatcher.submit_batch(
        [decorated.patient.request(str(tmp_path), number, tries=6) for number in range(20)]
    )
    counting = dispatcher.submit_batch([decorated.count_up.request(40) for _ in range(4)])
    parents = dispatcher.submit_batch([decorated.submit_more.request(n, 5) for n in range(20)])
    first = next_result(later)
    kill_leader()
    jobs = [first, *all_results(later)]
    assert [(job.state, job.result, job.attempts) for job in jobs] == [
        (JobState.SUCCESSFUL, 6, 6)
    ] * 20
    assert [(job.state, job.attempts, job.progress) for job in all_results(counting)] == [
        (JobState.SUCCESSFUL, 1, Progress(40, 40))
    ] * 4
    submitted = {name for job in all_results(parents) for name in job.result[:-1]}
    assert len(submitted) == 100
    assert_in_one_place(dispatcher.queue, submitted)
