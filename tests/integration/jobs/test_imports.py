"""Tasks that a worker cannot import: jobs may come before the code does. Workers are processes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.jobs import WorkerProcess, next_result, write_tasks
from zoolet.jobs import Batch, Dispatcher, Job, JobRequest, JobState
from zoolet.jobs.overview.overview import explain_job

CODE = "def task(group, parameters):\n    return 'deployed'\n"


@pytest.fixture
def start_worker(server: Any) -> Iterator[Callable[..., WorkerProcess]]:
    started: list[WorkerProcess] = []

    def start(directory: Path, *options: str) -> WorkerProcess:
        directory.mkdir(exist_ok=True)
        write_tasks(directory)
        started.append(WorkerProcess(server.hosts, directory, *options))
        return started[-1]

    yield start
    for worker in started:
        assert worker.process.poll() is None
        worker.close()


def tried(dispatcher: Dispatcher, batch: Batch) -> Job:
    """Wait until a worker could not import the task of the only job of a batch."""
    for _ in range(300):
        assert batch.next_result(0.1) is None
        job = dispatcher.job(batch.names[0])
        if job.import_tries:
            return job
    raise AssertionError("no worker has tried to import the task")


@pytest.mark.parametrize("options", [[], ["--threads"]], ids=["processes", "threads"])
@pytest.mark.parametrize("before", [None, "def other(group, parameters):\n    return 1\n",
                                    "import late_part\nraise ValueError('not yet')\n"],
                         ids=["no module", "no function", "raises"])  # fmt: skip
def test_a_job_that_comes_before_its_code_is_done_when_the_code_is_there(
    dispatcher: Dispatcher,
    start_worker: Callable[..., WorkerProcess],
    tmp_path: Path,
    options: list[str],
    before: str | None,
) -> None:
    code = tmp_path / "w" / "late_code.py"
    start_worker(code.parent, *options)
    (code.parent / "late_part.py").write_text("")
    if before is not None:
        code.write_text(before)
    batch = dispatcher.submit_batch([JobRequest("late_code:task", max_attempts=1)])
    job = tried(dispatcher, batch)
    assert (job.attempts, job.state) == (0, JobState.PENDING)
    assert "cannot be imported" in job.errors[0].message
    assert "no worker could import its task" in explain_job(dispatcher.queue, job) or job.worker
    code.write_text(CODE)
    done = next_result(batch)
    assert (done.state, done.result, done.attempts) == (JobState.SUCCESSFUL, "deployed", 1)


def test_another_worker_that_has_the_code_does_the_job(
    dispatcher: Dispatcher, start_worker: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    start_worker(tmp_path / "old")
    batch = dispatcher.submit_batch([JobRequest("late_code:task")])
    tried(dispatcher, batch)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "late_code.py").write_text(CODE)
    new = start_worker(tmp_path / "new")
    done = next_result(batch)
    assert (done.state, done.worker, done.attempts) == (JobState.SUCCESSFUL, new.worker_id, 1)
