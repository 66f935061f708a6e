"""Workers that are lost: an attempt is counted only for a job whose task had started.

A task here kills its own worker. What it leaves in owned is what the worker owned at its end.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.jobs import TIMEOUT_S, WorkerProcess, all_results, write_tasks
from zoolet.jobs import Dispatcher, Job, JobRequest, JobState

TASKS = """
import os
import signal

def kill_worker(group, parameters):
    with open(parameters["log"], "a") as log:
        log.write("x")
    while not os.path.exists(parameters["pid"]):  # the worker may be faster than the test
        os.sched_yield()
    os.kill(int(open(parameters["pid"]).read()), signal.SIGKILL)
    signal.pause()

def load(dataset, groupid):
    if dataset == "deadly":
        kill_worker(None, {"pid": groupid, "log": groupid + ".log"})
    return groupid
"""


@pytest.fixture
def start_worker(server: Any, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Start workers, which end with the test; each writes its pid to the file ``pid``."""
    write_tasks(tmp_path)
    (tmp_path / "deadly.py").write_text(TASKS)
    started: list[WorkerProcess] = []

    def start(*options: str) -> WorkerProcess:
        worker = WorkerProcess(server.hosts, tmp_path, *options, loader="deadly:load")
        (tmp_path / "new").write_text(str(worker.process.pid))
        (tmp_path / "new").rename(tmp_path / "pid")
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.close()


def deadly(tmp_path: Path, max_attempts: int) -> JobRequest:
    """Return a job that kills its worker at once, and goes first."""
    parameters = {"pid": str(tmp_path / "pid"), "log": str(tmp_path / "log")}
    return JobRequest(
        "deadly:kill_worker", "flights", "1", parameters, 9, max_attempts=max_attempts
    )


def quick(number: int, max_attempts: int) -> JobRequest:
    return JobRequest("pipe_tasks:number", "flights", "1", {"n": number}, max_attempts=max_attempts)


def starts_of(tmp_path: Path) -> int:
    """Return how often the task that kills was called."""
    return len((tmp_path / "log").read_text())


@pytest.mark.parametrize("options", [[], ["--threads"]], ids=["processes", "threads"])
@pytest.mark.parametrize("max_attempts", [1, 2])
def test_a_job_that_kills_its_worker_costs_the_others_no_attempt(
    dispatcher: Dispatcher,
    start_worker: Callable[..., WorkerProcess],
    tmp_path: Path,
    options: list[str],
    max_attempts: int,
) -> None:
    victim = start_worker(*options)
    # Short jobs are taken many at a time.
    all_results(dispatcher.submit_batch([quick(n, 3) for n in range(100)]))
    batch = dispatcher.submit_batch(
        [deadly(tmp_path, max_attempts), *(quick(1000 + n, max_attempts) for n in range(49))]
    )
    victim.process.wait(TIMEOUT_S)
    owned = dispatcher.queue.owned()
    assert len(owned) > 1
    found: list[Job] = []
    while len(found) < 50:
        rescuer = start_worker(*options)
        while len(found) < 50 and rescuer.process.poll() is None:
            job = batch.next_result(0.1)
            found += [job] if job is not None else []
    jobs = {job.task: job for job in found}
    killer = jobs["deadly:kill_worker"]
    assert (killer.state, killer.attempts) == (JobState.FAILED, max_attempts)
    assert killer.losses == max_attempts - 1
    assert starts_of(tmp_path) == killer.attempts + killer.losses
    for job in found:
        if job.task != "deadly:kill_worker":
            assert (job.state, job.attempts) == (JobState.SUCCESSFUL, 1), job.errors
            assert all("before it recorded the start" in error.message for error in job.errors)
    lost = {job.name for job in owned if job.state is JobState.STAGING}
    assert all(job.losses >= 1 for job in found if job.name in lost)


def test_a_loader_that_kills_its_worker_comes_to_an_end(
    dispatcher: Dispatcher, start_worker: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    batch = dispatcher.submit_batch(
        [JobRequest("pipe_tasks:number", "deadly", str(pid), {"n": 1}, max_attempts=1)]
    )
    start_worker().process.wait(TIMEOUT_S)
    assert Path(f"{pid}.log").read_text() == "x"
    start_worker()
    [job] = all_results(batch)
    assert (job.state, job.attempts, job.losses) == (JobState.FAILED, 1, 0)
    assert Path(f"{pid}.log").read_text() == "x"
