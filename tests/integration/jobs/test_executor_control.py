"""Executors that are replaced, limited and scaled while a worker runs, as real processes."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.jobs import (
    WorkerProcess,
    all_results,
    assert_done_once,
    next_result,
    write_tasks,
)
from tests.support.waiting import wait_until
from zoolet.jobs import Dispatcher, JobRequest, JobState

TASKS = '''
import os
import subprocess
import sys
import time
from pathlib import Path

VERSION = 1
_kept = []

def load(dataset, groupid):
    return groupid

def pid(group, parameters):
    return os.getpid()

def version(group, parameters):
    return VERSION

def grow(group, parameters):
    """Keep memory, and return the pid."""
    _kept.append(bytearray(parameters["mib"] << 20))
    return os.getpid()

def use(group, parameters):
    """Use memory until the attempt is ended."""
    kept = bytearray(parameters["mib"] << 20)
    while kept:
        time.sleep(0.01)

def use_in_children(group, parameters):
    code = f"kept = bytearray({parameters['mib'] << 20}); input()"
    for _ in range(parameters["count"]):
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    while True:
        time.sleep(0.01)

def share_with_children(group, parameters):
    """Fork while memory is in use: the processes share it, so it is used once."""
    kept = bytearray(parameters["mib"] << 20)
    children = []
    for _ in range(parameters["count"]):
        child = os.fork()
        if child == 0:
            time.sleep(0.5)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return len(kept)

def wait(group, parameters):
    """Write the number of this version to a file; return it when the file "go" is there."""
    Path(parameters["file"]).write_text(str(VERSION))
    while not Path(parameters["go"]).exists():
        time.sleep(0.01)
    return VERSION
'''

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    directory = tmp_path / "tasks"
    directory.mkdir()
    write_tasks(directory)
    (directory / "control_tasks.py").write_text(TASKS)
    return directory


def request(task: str, groupid: str = "1", **parameters: Any) -> JobRequest:
    return JobRequest(f"control_tasks:{task}", "flights", groupid, parameters, max_attempts=1)


def waiting(tasks: Path, name: str) -> JobRequest:
    return request("wait", name, file=str(tasks / f"{name}.at"), go=str(tasks / f"{name}.go"))


def begun(tasks: Path, name: str) -> str:
    """Wait until a waiting task has begun; return the version of its code."""
    file = tasks / f"{name}.at"
    wait_until(lambda: file.exists() and file.read_text() != "", f"the task {name}")
    return file.read_text()


def next_line(worker: WorkerProcess) -> str:
    assert worker.process.stdout is not None
    return worker.process.stdout.readline()


def current_version(dispatcher: Dispatcher) -> object:
    """Return the version of the code that the next job gets."""
    return next_result(dispatcher.submit_batch([request("version", n=os.urandom(8).hex())])).result


def write_version(tasks: Path, version: object) -> None:
    """Write other code. Its size differs, because Python keeps the bytecode for a second."""
    (tasks / "control_tasks.py").write_text(TASKS.replace("VERSION = 1", f"VERSION = {version}"))


# --- Replaced executors


def test_no_process_makes_more_attempts_than_its_limit(
    dispatcher: Dispatcher, start_worker: StartWorker
) -> None:
    start_worker("--max-jobs-per-executor", "3", loader="control_tasks:load")
    batch = dispatcher.submit_batch([request("pid", str(n)) for n in range(10)], name="pids")
    jobs = all_results(batch)
    assert_done_once(dispatcher.queue, batch, jobs)
    assert sorted(Counter(job.result for job in jobs).values()) == [1, 3, 3, 3]


def test_a_process_that_has_grown_is_replaced_after_its_job(
    dispatcher: Dispatcher, start_worker: StartWorker
) -> None:
    start_worker("--max-executor-mib", "150", loader="control_tasks:load")
    small = [next_result(dispatcher.submit_batch([request("grow", mib=1, n=n)])) for n in range(2)]
    assert len({job.result for job in small}) == 1
    grown = next_result(dispatcher.submit_batch([request("grow", mib=200)]))
    assert grown.result == small[0].result
    after = next_result(dispatcher.submit_batch([request("pid")]))
    assert after.result != grown.result


# --- The memory limit of an attempt


@pytest.mark.parametrize(
    "greedy", [request("use", mib=300), request("use_in_children", mib=120, count=3)]
)
def test_an_attempt_that_uses_too_much_memory_fails_and_the_worker_continues(
    dispatcher: Dispatcher, start_worker: StartWorker, greedy: JobRequest
) -> None:
    worker = start_worker("--attempt-memory-mib", "250", loader="control_tasks:load")
    job = next_result(dispatcher.submit_batch([greedy]))
    assert job.state == "FAILED"
    assert "more than the limit of 250 MiB for an attempt" in job.errors[-1].message
    assert next_result(dispatcher.submit_batch([request("version")])).result == 1
    assert worker.process.poll() is None


def test_memory_that_forked_processes_share_counts_one_time(
    dispatcher: Dispatcher, start_worker: StartWorker
) -> None:
    start_worker("--attempt-memory-mib", "250", loader="control_tasks:load")
    job = next_result(dispatcher.submit_batch([request("share_with_children", mib=120, count=4)]))
    assert job.result == 120 << 20, job.errors


# --- New code


def test_sighup_lets_jobs_finish_with_the_old_code_and_begin_with_the_new_code(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path
) -> None:
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        pytest.skip("the tests run with nohup, and so do the workers")
    worker = start_worker("--executors", "2", loader="control_tasks:load")
    old = dispatcher.submit_batch([waiting(tasks, "old")])
    assert begun(tasks, "old") == "1"
    write_version(tasks, 20)
    worker.process.send_signal(signal.SIGHUP)
    assert next_line(worker).startswith("loading new code")
    # The idle executor is replaced while the other one still has a job.
    wait_until(lambda: current_version(dispatcher) == 20, "a job with the new code")
    (tasks / "old.go").touch()
    assert next_result(old).result == 1
    batch = dispatcher.submit_batch([waiting(tasks, name) for name in ("a", "b")])
    assert [begun(tasks, name) for name in ("a", "b")] == ["20", "20"]
    for name in ("a", "b"):
        (tasks / f"{name}.go").touch()
    assert [job.result for job in all_results(batch)] == [20, 20]
    assert dispatcher.queue.workers() == [worker.worker_id]


def test_code_that_cannot_be_imported_is_not_used(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, tmp_path: Path
) -> None:
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        pytest.skip("the tests run with nohup, and so do the workers")
    with (tmp_path / "log").open("w") as log:
        worker = start_worker(loader="control_tasks:load", stderr=log)
    assert next_result(dispatcher.submit_batch([request("version", n=0)])).result == 1
    write_version(tasks, "= broken")
    worker.process.send_signal(signal.SIGHUP)
    wait_until(
        lambda: "the new code cannot be loaded" in (tmp_path / "log").read_text(), "the message"
    )
    assert next_result(dispatcher.submit_batch([request("version", n=1)])).result == 1
    write_version(tasks, 30)
    worker.process.send_signal(signal.SIGHUP)
    wait_until(lambda: current_version(dispatcher) == 30, "a job with the new code")


# --- The number of executors


def test_executors_are_started_for_waiting_jobs_and_stopped_when_they_are_idle(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path
) -> None:
    start_worker(
        "--min-executors", "1", "--max-executors", "3", "--executor-idle-ms", "300",
        loader="control_tasks:load",
    )  # fmt: skip
    names = ["a", "b", "c", "d"]
    batch = dispatcher.submit_batch([waiting(tasks, name) for name in names])
    wait_until(
        lambda: sum((tasks / f"{name}.at").exists() for name in names) == 3, "three running jobs"
    )
    assert batch.progress()[JobState.PENDING] == 1
    for name in names:
        (tasks / f"{name}.go").touch()
    assert [job.result for job in all_results(batch)] == [1] * 4
    wait_until(
        lambda: [r["executors"] for r in dispatcher.queue.worker_reports().values()] == [1],
        "the end of two executors",
    )
    assert next_result(dispatcher.submit_batch([request("version")])).result == 1
