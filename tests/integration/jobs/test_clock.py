"""A worker whose clock is wrong by an hour: jobs start and expire by the server's clock.

The worker is a real process. A ``sitecustomize`` module on its path sets its clock.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.jobs import ROOT, WorkerProcess, next_result, write_tasks
from zoolet.cli import main
from zoolet.jobs import Dispatcher, JobRequest, JobState
from zoolet.jobs.znodes.server_clock import wall_clock_ms

HOUR_MS = 3_600_000
WRONG_CLOCK = """
import os, time
_right_ns = time.time_ns
time.time_ns = lambda: _right_ns() + int(os.environ["OFFSET_MS"]) * 1_000_000
"""


@pytest.fixture
def start_worker(server: Any, tmp_path: Path) -> Iterator[Callable[[int], WorkerProcess]]:
    """Start a worker whose clock is ahead by this number of milliseconds."""
    write_tasks(tmp_path)
    (tmp_path / "sitecustomize.py").write_text(WRONG_CLOCK)
    started: list[WorkerProcess] = []
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)

    def start(offset_ms: int) -> WorkerProcess:
        environment = {"PYTHONPATH": path, "OFFSET_MS": str(offset_ms)}
        started.append(WorkerProcess(server.hosts, tmp_path, environment=environment))
        return started[-1]

    yield start
    for worker in started:
        worker.close()


def request(groupid: str, **changes: Any) -> JobRequest:
    return JobRequest("pipe_tasks:echo", "flights", groupid, **changes)


@pytest.mark.parametrize("offset_ms", [-HOUR_MS, HOUR_MS])
def test_jobs_start_and_expire_by_the_servers_clock(
    dispatcher: Dispatcher, start_worker: Callable[[int], WorkerProcess], offset_ms: int
) -> None:
    now_ms = wall_clock_ms()
    start_worker(offset_ms)
    early = dispatcher.submit_batch([request("early", not_before_ms=now_ms + HOUR_MS // 2)])
    valid = dispatcher.submit_batch([request("valid", expires_ms=now_ms + HOUR_MS // 2)])
    expired = dispatcher.submit_batch([request("expired", expires_ms=now_ms - 1)])
    soon = dispatcher.submit_batch([request("soon", not_before_ms=wall_clock_ms() + 300)])
    job = next_result(soon)
    assert job.state is JobState.SUCCESSFUL
    assert next_result(valid).state is JobState.SUCCESSFUL
    assert next_result(expired).last_error == "it expired before a worker could start it"
    assert early.progress()[JobState.PENDING] == 1
    assert dispatcher.queue.counts()["deferred"] == 1
    for at_ms in (job.taken_ms, job.started_ms, job.finished_ms):
        assert at_ms is not None
        assert abs(at_ms - now_ms) < HOUR_MS // 2


@pytest.mark.parametrize("offset_ms", [-HOUR_MS, HOUR_MS])
def test_a_span_of_the_command_line_is_by_the_servers_clock(
    server: Any, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch, offset_ms: int
) -> None:
    right_ns, right_ms = time.time_ns, wall_clock_ms()
    monkeypatch.setattr(time, "time_ns", lambda: right_ns() + offset_ms * 1_000_000)
    options = ["--server", server.hosts, "--queue", ROOT, "--task", "m:f"]
    result = CliRunner().invoke(main, ["jobs", "submit", *options, "--not-before", "+600s"])
    assert result.exit_code == 0, result.output
    [job] = dispatcher.queue.jobs()
    assert job.not_before_ms is not None
    assert 0 <= job.not_before_ms - right_ms - 600_000 < HOUR_MS // 2
