"""Values that another program wrote into a queue: they fail their own job, and nothing else.

The worker is a real process. Each test ends with a job that the same worker still does.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, WorkerProcess, next_result, write_tasks
from zoolet.cli import main
from zoolet.jobs import (
    Batch,
    Dispatcher,
    InvalidJobError,
    JobError,
    JobRequest,
    JobState,
    Origin,
    Submission,
)
from zoolet.jobs.overview.overview import explain_job, queue_overview
from zoolet.jobs.records.job_values import TIME_LIMIT_MS
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.znodes.batch_log import batch_path
from zoolet.jobs.znodes.layout import CONTROL


@pytest.fixture
def dispatcher(client: KazooClient) -> Dispatcher:
    return Dispatcher(client, ROOT, create=True)


@pytest.fixture
def start_worker(server: Any, tmp_path: Path) -> Iterator[Callable[[], WorkerProcess]]:
    """Start workers that end with the test; each is alive until then."""
    write_tasks(tmp_path)
    started: list[WorkerProcess] = []

    def start() -> WorkerProcess:
        started.append(WorkerProcess(server.hosts, tmp_path))
        return started[-1]

    yield start
    for worker in started:
        assert worker.process.poll() is None
        worker.close()


def request(groupid: str = "1", **changes: Any) -> JobRequest:
    return JobRequest("pipe_tasks:echo", "flights", groupid, **changes)


def assert_works(dispatcher: Dispatcher, groupid: str = "at the end") -> None:
    batch = dispatcher.submit_batch([request(groupid)], reuse=False)
    assert next_result(batch).state is JobState.SUCCESSFUL


def foreign_values(dispatcher: Dispatcher) -> list[bytes]:
    """Return values of a job with one thing wrong in each."""
    [submission] = dispatcher.queue.submit([request("pattern")])
    right = json.loads(dispatcher.queue.find(submission.name).encode()) | {"groupid": "7"}
    changes: list[dict[str, Any]] = [
        {"attempts": -1}, {"attempts": 10**12}, {"attempts": "1"}, {"errors": {}},
        {"errors": [1]}, {"not_before_ms": 10**18}, {"not_before_ms": "tomorrow"},
        {"expires_ms": 1.5}, {"timeout_ms": 10**300}, {"backoff_ms": -5}, {"parameters": []},
        {"priority": 7}, {"groupid": "8"}, {"task": "\ud800"}, {"batch": "\ud800"},
        {"batch": "a/b"}, {"key": "../settings"}, {"state": "SUCCESSFUL"}, {"chained": 1},
        {"worker": [1]}, {"submission": None}, {"max_attempts": 0},
    ]  # fmt: skip
    values = [json.dumps(right | change).encode() for change in changes]
    values += [
        b"", b"\xff", b"[]", b"null", b"{}", b"[" * 200_000, b'{"x":' * 50_000,
        json.dumps(right)[:-1].encode() + b', "result": NaN}',
        b"x" * (1024 * 1024 - 1000),
        json.dumps(right | {"parameters": {"x": "\u00fc" * 400_000}}, ensure_ascii=False).encode(),
        b'{"dataset": "flights", "groupid": "7", "state": "PENDING", "worker": null}',
    ]  # fmt: skip
    return values


def test_values_in_unowned_become_failed_jobs_and_the_worker_goes_on(
    dispatcher: Dispatcher, client: KazooClient, start_worker: Callable[[], WorkerProcess]
) -> None:
    queue = dispatcher.queue
    path = queue.layout.unowned("entry-000-flights:7-")
    names = [
        client.create(path, value, sequence=True).rpartition("/")[2]
        for value in foreign_values(dispatcher)
    ]
    for name in names:
        assert explain_job(queue, queue.find(name))
    assert queue_overview(queue).total(Place.UNOWNED) == len(names) + 1
    start_worker()
    for name in names:
        job = next_result(Batch(queue, [Submission(name, Origin.NEW)], None, dispatcher.results))
        assert (job.state, job.attempts) == (JobState.FAILED, 0)
        assert "The value begins with" in job.errors[0].message
        with pytest.raises(JobError, match="submit the work again"):
            queue.retry(name)
    assert_works(dispatcher)
    assert queue.waiting() == []


def test_values_of_batches_control_chains_and_workers_end_nothing(
    dispatcher: Dispatcher, client: KazooClient, start_worker: Callable[[], WorkerProcess]
) -> None:
    layout = dispatcher.queue.layout
    start_worker()
    assert_works(dispatcher, "first")
    first = dispatcher.submit_batch([request("2")], name="first")
    next_result(first)
    client.set(batch_path(layout, "first"), b'{"jobs": 1e999, "submitted_ms": []}')
    client.create(layout.znodes.path("chains", "second"), b"first")
    client.create(layout.znodes.path("chains", "third"), b"\xff/..")
    client.create(layout.znodes.path("batches", "fourth"), b'{"jobs": 99999999999999999}')
    client.create(layout.worker("other"), b'{"executors": "many", "cache_hits": [], "busy_s": {}}')
    client.set(layout.znodes.path(CONTROL), b'{"paused": "yes", "cancellations": "x"}')
    with pytest.raises(JobError, match="record of batch first"):
        dispatcher.batch("first")
    assert queue_overview(dispatcher.queue).why == ""
    assert_works(dispatcher)


def test_every_command_shows_an_unreadable_job(
    server: Any, dispatcher: Dispatcher, client: KazooClient
) -> None:
    names = []
    for place, value in (("unowned", b"[" * 9), ("owned", b"{}"), ("done", b'{"state": NaN}')):
        path = f"{ROOT}/{place}/entry-000-flights:{place}-0000000001"
        client.create(path, value)
        names.append(path.rpartition("/")[2])
    options = ["--server", server.hosts, "--queue", ROOT]
    for command in (
        ["status"], ["list"], ["top", "--rounds", "1"], ["export"], ["show", *names],
        ["cancel", *names], ["status"], ["purge", "--keep", "0"],
    ):  # fmt: skip
        result = CliRunner().invoke(main, ["jobs", command[0], *options, *command[1:]])
        assert result.exit_code == 0, (command, result.output)
        if command[0] in {"show", "export"}:
            assert result.output.count("is not a valid job") >= 3
    assert dispatcher.queue.counts() == {"deferred": 0, "unowned": 0, "owned": 0, "done": 0}


def test_the_latest_time_is_accepted_and_holds_up_no_other_job(
    dispatcher: Dispatcher, start_worker: Callable[[], WorkerProcess]
) -> None:
    with pytest.raises(InvalidJobError, match="time_ns"):
        dispatcher.submit_batch([request(not_before_ms=TIME_LIMIT_MS + 1)])
    late = dispatcher.submit_batch([request(not_before_ms=TIME_LIMIT_MS)])
    start_worker()
    assert_works(dispatcher)
    assert late.progress()[JobState.PENDING] == 1
    assert "its start time is in" in explain_job(dispatcher.queue, dispatcher.job(late.names[0]))
