"""Hooks around submit, start and end, with a real worker; and the histograms in its metrics."""

import json
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.jobs import ROOT, WorkerProcess, all_results, write_tasks
from tests.support.waiting import WAIT_S, wait_until
from zoolet.jobs import Dispatcher, Job, JobHooks, JobRequest, JobState, Submission
from zoolet.testing import ServerProcess

HOOKS = """
import json
import os

from zoolet.jobs import JobHooks

class Writing(JobHooks):
    def started(self, job, started_ms):
        self.write(["started", job.name, job.attempts])

    def ended(self, attempt):
        self.write(["ended", attempt.job.name, attempt.number, attempt.job.state, attempt.error])

    def write(self, what):
        with open(os.environ["HOOKS_FILE"], "a") as file:
            file.write(json.dumps(what) + "\\n")

class Broken(JobHooks):
    def started(self, job, started_ms):
        raise RuntimeError("this hook is broken")
"""

StartWorker = Callable[..., WorkerProcess]


class Tagging(JobHooks):
    """Hooks of a dispatcher."""

    def __init__(self) -> None:
        self.submitted_jobs: list[str] = []
        self.received_jobs: list[str] = []

    def before_submit(self, requests: Sequence[JobRequest]) -> Sequence[JobRequest]:
        return [replace(one, parameters={**one.parameters, "tenant": "a"}) for one in requests]

    def submitted(self, requests: Sequence[JobRequest], submissions: Sequence[Submission]) -> None:
        assert len(requests) == len(submissions)
        self.submitted_jobs += [one.name for one in submissions]

    def received(self, job: Job) -> None:
        self.received_jobs.append(job.name)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    directory = tmp_path / "tasks"
    directory.mkdir()
    write_tasks(directory)
    (directory / "my_hooks.py").write_text(HOOKS)
    return directory


def test_hooks_see_each_step_of_a_job_and_cannot_break_it(
    server: ServerProcess, dispatcher: Dispatcher, start_worker: StartWorker, tmp_path: Path
) -> None:
    assert dispatcher.queue.workers() == []
    file = tmp_path / "hooks"
    start_worker(
        "--hooks", "my_hooks:Broken", "--hooks", "my_hooks:Writing",
        environment={"HOOKS_FILE": str(file)},
    )  # fmt: skip
    hooks = Tagging()
    with Dispatcher(server.hosts, ROOT, hooks=[hooks]) as hooked:
        batch = hooked.submit_batch(
            [
                JobRequest("pipe_tasks:echo", "flights", "1", {"n": 1}),
                JobRequest("pipe_tasks:trouble", "flights", "1", {}, max_attempts=2),
            ]
        )
        good, bad = sorted(all_results(batch), key=lambda job: job.state is JobState.FAILED)
    assert good.result["parameters"] == {"n": 1, "tenant": "a"}
    assert sorted(hooks.submitted_jobs) == sorted(hooks.received_jobs) == sorted(batch.names)
    wait_until(lambda: file.exists() and file.read_text().count("\n") == 6, "six calls")
    calls = [json.loads(line) for line in file.read_text().splitlines()]
    assert [call[:4] for call in calls if call[1] == good.name] == [
        ["started", good.name, 0],
        ["ended", good.name, 1, "SUCCESSFUL"],
    ]
    assert [call[:4] for call in calls if call[1] == bad.name] == [
        ["started", bad.name, 0],
        ["ended", bad.name, 1, "PENDING"],
        ["started", bad.name, 1],
        ["ended", bad.name, 2, "FAILED"],
    ]
    assert all("this task raises" in call[4] for call in calls if call[1:3] == [bad.name, 2])


def test_the_metrics_have_histograms_of_each_task(
    dispatcher: Dispatcher, start_worker: StartWorker
) -> None:
    worker = start_worker("--metrics-port", "0")
    assert worker.process.stdout is not None
    url = worker.process.stdout.readline().split()[-1]
    all_results(
        dispatcher.submit_batch(
            [JobRequest("pipe_tasks:number", "flights", "1", {"n": n}) for n in range(3)]
        )
    )

    def metrics() -> str:
        with urllib.request.urlopen(url, timeout=WAIT_S) as reply:
            text = reply.read().decode()
        assert isinstance(text, str)
        return text

    count = 'zoolet_worker_attempt_seconds_count{task="pipe_tasks:number"} 3.0'
    wait_until(lambda: count in metrics(), "three run times")
    assert 'zoolet_worker_job_wait_seconds_count{task="pipe_tasks:number"} 3.0' in metrics()
