"""Dispatcher and real worker processes on the real server."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.workers import wait_until, worker_process
from zoolet.jobs import Batch, Dispatcher, Job, JobFailedError, JobRequest, JobState
from zoolet.testing import ServerProcess

ROOT = "/jobs/test"
WAIT_S = 20.0


def request(groupid: str = "1", task: str = "describe", **values: Any) -> JobRequest:
    described = {
        "task": f"tests.support.jobtasks:{task}",
        "dataset": "d",
        "groupid": groupid,
        **values,
    }
    return JobRequest(**described)


@pytest.fixture
def dispatcher(client: Any) -> Dispatcher:
    return Dispatcher(client, ROOT)


def only(dispatcher: Dispatcher, asked: JobRequest) -> Job:
    """Submit one job and wait for its end."""
    job = dispatcher.submit(asked).next(timeout_s=WAIT_S)
    assert job is not None, "the job did not end"
    return job


def in_order_of_commit(client: Any, batch: Batch) -> list[Job]:
    """Wait for a batch's end; return its jobs in the order in which they were committed."""
    jobs = list(batch.results())
    return sorted(jobs, key=lambda job: client.exists(f"{ROOT}/done/{job.name}").czxid)


def assert_nothing_is_left(dispatcher: Dispatcher, done: int) -> None:
    queue = dispatcher.queue
    assert (queue.unowned(), queue.owned(), len(queue.done())) == ([], [], done)


def test_jobs_are_run_and_their_results_come_as_they_finish(
    server: ServerProcess, dispatcher: Dispatcher
) -> None:
    batch = dispatcher.submit_batch(
        [request(str(number), parameters={"n": number}) for number in range(20)]
    )
    assert batch.progress == (20, 0, 0)
    with worker_process(server.hosts, ROOT), worker_process(server.hosts, ROOT):
        jobs = list(batch.results())
    assert sorted(job.result["n"] for job in jobs) == list(range(20))
    assert all(job.result["group"] == f"d/{job.groupid}" for job in jobs)
    assert batch.progress == (0, 0, 20)
    assert_nothing_is_left(dispatcher, done=20)


def test_more_important_jobs_run_first(
    server: ServerProcess, dispatcher: Dispatcher, client: Any
) -> None:
    batch = dispatcher.submit_batch(
        [request(str(priority), priority=priority) for priority in (5, 900, 0, 999, 500)]
    )
    with worker_process(server.hosts, ROOT):
        jobs = in_order_of_commit(client, batch)
    assert [job.priority for job in jobs] == [999, 900, 500, 5, 0]


def test_held_data_goes_first_and_is_found_in_the_cache(
    server: ServerProcess, dispatcher: Dispatcher, client: Any
) -> None:
    """One worker, which holds group 1 after the first job, and never more than one group."""
    with worker_process(server.hosts, ROOT, "--cache-groups", "1"):
        assert only(dispatcher, request("1")).cached is False
    batch = dispatcher.submit_batch(
        [
            request("2", priority=900, parameters={"n": 1}),
            request("1", priority=1, parameters={"n": 2}),
            request("2", priority=5, parameters={"n": 3}),
            request("1", priority=800, parameters={"n": 4}),
        ]
    )
    with worker_process(server.hosts, ROOT, "--cache-groups", "1"):
        jobs = in_order_of_commit(client, batch)
    # It takes the first of all, then all that wait on the same data, then goes on.
    assert [(job.groupid, job.result["n"], job.cached) for job in jobs] == [
        ("2", 1, False),
        ("2", 3, True),
        ("1", 4, False),
        ("1", 2, True),
    ]


def test_a_task_that_raises_ends_as_failed_with_every_attempt(
    server: ServerProcess, dispatcher: Dispatcher
) -> None:
    with worker_process(server.hosts, ROOT):
        job = only(dispatcher, request(task="fail", parameters={"of": "mine"}))
        assert job.state is JobState.FAILED
        assert (job.attempts, len(job.errors)) == (3, 3)
        assert "ValueError: no luck with mine" in job.errors[0].error
        assert "jobtasks.py" in job.errors[0].error
        with pytest.raises(JobFailedError, match="no luck with mine"):
            list(dispatcher.submit(request(task="fail", parameters={"of": "mine"})).values())
        assert only(dispatcher, request()).state is JobState.SUCCESSFUL


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"task": "missing"}, "has no missing"),
        ({"task": "NOT_CALLABLE"}, "not a function"),
        ({"task": "leave"}, "SystemExit: 3"),
        ({"task": "not_json"}, "only JSON values"),
        ({"task": "too_large"}, "at most"),
        ({"dataset": "unloadable"}, "the disk with this data set is gone"),
    ],
)
def test_what_cannot_be_done_fails_with_its_reason(
    server: ServerProcess, dispatcher: Dispatcher, values: dict[str, Any], reason: str
) -> None:
    with worker_process(server.hosts, ROOT):
        job = only(dispatcher, request(max_attempts=2, **values))
        assert job.state is JobState.FAILED
        assert len(job.errors) == 2
        assert reason in job.errors[-1].error
        # The worker is none the worse.
        assert only(dispatcher, request()).result == {"group": "d/1"}
    assert_nothing_is_left(dispatcher, done=2)


def test_a_task_whose_module_is_missing_fails_with_its_reason(
    server: ServerProcess, dispatcher: Dispatcher
) -> None:
    with worker_process(server.hosts, ROOT):
        asked = JobRequest(task="no_such_module:f", dataset="d", groupid="1", max_attempts=1)
        job = only(dispatcher, asked)
        assert job.state is JobState.FAILED
        assert "No module named 'no_such_module'" in job.errors[0].error
        assert "--import-path" in job.errors[0].error


def test_a_znode_that_holds_no_job_holds_nothing_up(
    server: ServerProcess, dispatcher: Dispatcher, client: Any, tmp_path: Path
) -> None:
    for place in ("unowned", "owned"):
        client.create(f"{ROOT}/{place}/entry-999-d:1-0000000000", b"no job")
        client.create(f"{ROOT}/{place}/entry-999-d:2-0000000000", b'{"state": "PENDING"}')
        client.create(f"{ROOT}/{place}/unrelated", b"")
    log = tmp_path / "worker.log"
    with worker_process(server.hosts, ROOT, log=log):
        assert only(dispatcher, request()).result == {"group": "d/1"}
    assert "holds no job" in log.read_text()
    assert len(dispatcher.queue.unowned()) == len(dispatcher.queue.owned()) == 3


def test_a_kazoo_error_of_the_task_is_the_task_s(
    server: ServerProcess, dispatcher: Dispatcher
) -> None:
    with worker_process(server.hosts, ROOT):
        job = only(dispatcher, request(task="fail_like_kazoo", max_attempts=1))
        assert job.state is JobState.FAILED
        assert "NoNodeError: of the task" in job.errors[0].error


def test_a_second_attempt_may_succeed(
    server: ServerProcess, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    with worker_process(server.hosts, ROOT):
        asked = request(task="fail_first", parameters={"marker": str(tmp_path / "marker")})
        job = only(dispatcher, asked)
        assert (job.state, job.result, job.attempts) == (
            JobState.SUCCESSFUL,
            "second attempt",
            1,
        )


@pytest.mark.parametrize("name", ["a-b", "a/b", "a:b", "a b", "-", "%2F", "ü😀"])
def test_a_data_set_may_have_any_name(
    server: ServerProcess, dispatcher: Dispatcher, name: str
) -> None:
    with worker_process(server.hosts, ROOT):
        job = only(dispatcher, request(name, dataset=name))
        assert job.result == {"group": f"{name}/{name}"}


def test_a_killed_worker_loses_no_job(
    server: ServerProcess, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    """The task kills its worker; the next worker takes the job over."""
    asked = request(task="die_first", parameters={"marker": str(tmp_path / "marker")})
    batch = dispatcher.submit_batch([asked, *(request(str(number)) for number in range(10))])
    with worker_process(server.hosts, ROOT), worker_process(server.hosts, ROOT):
        jobs = {job.name: job for job in batch.results()}
    assert len(jobs) == 11
    survivor = jobs[batch.submitted[0].name]
    assert (survivor.result, survivor.attempts) == ("second worker", 1)
    assert "was lost" in survivor.errors[0].error
    assert_nothing_is_left(dispatcher, done=11)


def test_a_frozen_worker_commits_nothing_once_it_was_given_up(
    server: ServerProcess, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    running, go = tmp_path / "running", tmp_path / "go"
    asked = request(task="wait_for_file", parameters={"running": str(running), "go": str(go)})
    batch = dispatcher.submit(asked)
    log = tmp_path / "frozen.log"
    with worker_process(server.hosts, ROOT, log=log) as frozen:
        wait_until(running.exists, "the task's start")
        os.kill(frozen.pid, signal.SIGSTOP)
        running.unlink()
        with worker_process(server.hosts, ROOT):
            wait_until(running.exists, "the task's start on the second worker")
            go.touch()
            job = batch.next(timeout_s=WAIT_S)
            os.kill(frozen.pid, signal.SIGCONT)
            # The thawed worker comes back under a new id, and its late result is refused.
            wait_until(lambda: "is not committed" in log.read_text(), "the refusal")
    assert job is not None
    assert (job.result, job.attempts) == ("waited", 1)
    assert dispatcher.queue.finished(job.name) == job
    assert_nothing_is_left(dispatcher, done=1)


def test_sigterm_lets_a_job_finish(
    server: ServerProcess, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    running, go = tmp_path / "running", tmp_path / "go"
    asked = request(task="wait_for_file", parameters={"running": str(running), "go": str(go)})
    batch = dispatcher.submit_batch([asked, request("2", priority=1)])
    with worker_process(server.hosts, ROOT) as worker:
        wait_until(running.exists, "the task's start")
        worker.terminate()
        go.touch()
        assert worker.wait(WAIT_S) == 0
    job = batch.next(timeout_s=WAIT_S)
    assert job is not None
    assert (job.result, job.attempts) == ("waited", 0)
    assert dispatcher.queue.unowned() == [batch.submitted[1].name]
    assert dispatcher.queue.workers() == []


def test_sigterm_gives_back_what_does_not_finish_in_time(
    server: ServerProcess, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    running = tmp_path / "running"
    parameters = {"running": str(running), "go": str(tmp_path / "never")}
    batch = dispatcher.submit(request(task="wait_for_file", parameters=parameters))
    with worker_process(server.hosts, ROOT, "--grace", "0.1") as worker:
        wait_until(running.exists, "the task's start")
        worker.terminate()
        assert worker.wait(WAIT_S) == 0
    assert dispatcher.queue.unowned() == [batch.submitted[0].name]
    found = dispatcher.queue.find(batch.submitted[0].name)
    assert found is not None
    assert found.attempts == 0


def test_jobs_survive_the_servers_death(server: ServerProcess, dispatcher: Dispatcher) -> None:
    batch = dispatcher.submit_batch([request(str(number)) for number in range(200)])
    with worker_process(server.hosts, ROOT), worker_process(server.hosts, ROOT):
        first = batch.next(timeout_s=WAIT_S)
        server.kill()
        server.start()
        jobs = [first, *batch.results()]
    assert len({job.name for job in jobs if job is not None}) == 200
    assert_nothing_is_left(dispatcher, done=200)


def test_a_worker_that_cannot_begin_says_why(server: ServerProcess) -> None:
    with worker_process(server.hosts, ROOT, "--loader", "no_such_module:f") as worker:
        assert worker.wait(WAIT_S) == 1


def test_commands_for_jobs(server: ServerProcess) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [Path(sys.executable).parent / "zoolet", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    where = ("--server", server.hosts, "--queue", ROOT)
    work = ("--task", "tests.support.jobtasks:describe", "--dataset", "d", "--group", "1")
    submitted = run("jobs", "submit", *where, *work, "--priority", "7")
    assert submitted.stdout.strip() == "entry-007-d:1-0000000000"
    for wrong, reason in (
        (("--parameters", "{"), "is no JSON"),
        (("--parameters", "[]"), "no JSON object"),
        (("--priority", "1000"), "0 to 999"),
    ):
        refused = run("jobs", "submit", *where, *work, *wrong)
        assert refused.returncode != 0
        assert reason in refused.stderr
    with worker_process(server.hosts, ROOT):
        waited = run("jobs", "submit", *where, *work, "--wait")
        assert waited.stdout.splitlines()[1] == '{"group": "d/1"}'
        failing = ("--task", "tests.support.jobtasks:fail", "--dataset", "d", "--group", "1")
        failed = run("jobs", "submit", *where, *failing, "--wait")
        assert failed.returncode == 1
        assert "no luck with this" in failed.stderr
    status = run("jobs", "status", *where)
    assert status.returncode == 0
    assert "done" in status.stdout
    missing = run("jobs", "status", "--server", server.hosts, "--queue", "/nowhere")
    assert missing.returncode == 1
    assert "no queue at /nowhere" in missing.stderr
