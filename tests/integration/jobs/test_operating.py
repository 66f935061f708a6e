"""The commands that operate a queue, the table that is drawn again, and what Prometheus reads."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest
from click.testing import CliRunner, Result
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, WorkerProcess, all_results, next_result, numbered, write_tasks
from tests.support.waiting import WAIT_S, wait_until
from zoolet.cli import main
from zoolet.console.printing import Printer
from zoolet.jobs import Dispatcher, InvalidJobError, JobRequest
from zoolet.jobs.overview.overview import explain_job
from zoolet.jobs.overview.top import top
from zoolet.jobs.znodes.server_clock import wall_clock_ms


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    write_tasks(tmp_path)
    return tmp_path


Run = Callable[..., Result]


@pytest.fixture
def run(server: Any) -> Run:
    """Run ``zoolet jobs``; a status other than the one named fails."""

    def run(command: str, *arguments: str, status: int = 0) -> Result:
        where = ("--server", server.hosts, "--queue", ROOT)
        invoke = CliRunner(env={"COLUMNS": "200"}).invoke
        result = invoke(main, ["jobs", command, *where, *arguments])
        assert result.exit_code == status, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return run


def test_a_queue_is_created_and_configured(run: Run, client: KazooClient) -> None:
    run("status", status=1)
    created = run("create", "--shards", "3", "--keep-done-ms", "60000")
    assert '"shards": 3' in created.output
    assert '"keep_done_ms": 60000' in run("create", "--shards", "5").output
    assert client.get_children(f"{ROOT}/unowned") == ["000", "001", "002"]
    assert '"keep_done_jobs": 7' in run("configure", "--keep-done-jobs", "7").output
    assert '"keep_done_ms": 60000' in run("configure").output


@pytest.mark.usefixtures("dispatcher")
def test_a_file_of_jobs_is_submitted_as_a_batch_and_waited_for(
    run: Run, tasks: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    start_worker()
    lines = [
        {"task": "pipe_tasks:number", "dataset": "d", "groupid": "1", "parameters": {"n": n}}
        for n in range(70)
    ]
    path = tasks / "jobs"
    path.write_text("\n".join(map(json.dumps, lines)))
    result = run("submit", "--file", str(path), "--batch", "night", "--wait")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(job["result"] for job in found) == list(range(70))
    shown = json.loads(run("show", "--batch", "night").stdout)
    assert shown == {"batch": "night", "jobs": 70, "SUCCESSFUL": 70}
    exported = [json.loads(line) for line in run("export").stdout.splitlines()]
    assert sorted(job["result"] for job in exported) == list(range(70))

    for bad, complaint in (("{", "line 2"), ('{"tusk": 1}', "a job has no field tusk")):
        path.write_text(json.dumps(lines[0]) + "\n" + bad)
        refused = run("submit", "--file", str(path), "--batch", "other", status=1)
        assert complaint in refused.output
    run("show", "--batch", "other", status=1)


def test_jobs_are_shown_cancelled_and_retried(
    run: Run, dispatcher: Dispatcher, start_worker: Callable[..., WorkerProcess]
) -> None:
    later = wall_clock_ms() + 3_600_000
    batch = dispatcher.submit_batch(
        [
            JobRequest("pipe_tasks:echo", "d", "1", not_before_ms=later),
            JobRequest("pipe_tasks:trouble", "d", "2", max_attempts=1),
        ],
        name="night",
    )
    waits, fails = batch.names
    assert json.loads(run("show", waits).stdout)["why"].startswith("its start time is in 3")
    assert json.loads(run("show", fails).stdout)["why"].startswith("the queue has no worker")
    start_worker()
    next_result(batch)
    assert "this task raises" in json.loads(run("show", fails).stdout)["why"]
    assert fails in run("list", "--batch", "night", "--state", "FAILED").output
    assert "1 job cancelled" in run("cancel", "--batch", "night").output
    assert json.loads(run("show", waits).stdout)["errors"][0]["message"] == "it was cancelled"
    retried = run("retry", "--batch", "night").output
    assert retried == f"{waits} waits again\n{fails} waits again\n"
    run("cancel", "no-such-job", status=1)
    run("retry", "entry-000-d:9-0000000099", status=1)
    run("show", "--batch", "day", status=1)
    all_results(dispatcher.batch("night"))
    assert "2 jobs removed, and 1 batches" in run("purge", "--older-than-s", "0").output


def test_pausing_is_shown_and_ended(run: Run, dispatcher: Dispatcher) -> None:
    dispatcher.submit_batch(numbered(3))
    run("pause", "--dataset", "flights")
    run("pause")
    status = run("status").output
    assert "paused: the queue" in status
    assert "the queue is paused; to end the pause: zoolet jobs resume" in status
    assert "still paused: dataset flights" in run("resume").output
    assert "the dataset flights is paused" in run("status").output
    run("resume", "--dataset", "flights")
    assert "the queue has no worker" in run("status").output


def test_why_a_job_waits(
    dispatcher: Dispatcher, start_worker: Callable[..., WorkerProcess]
) -> None:
    queue = dispatcher.queue
    first = dispatcher.submit_batch([JobRequest("pipe_tasks:spin", "d", "1", {"s": 600}, 5)])
    chained = dispatcher.submit_batch(numbered(1), after=first)
    explained = explain_job(queue, queue.find(chained.names[0]))
    assert explained == f"its batch {chained.name} waits until {first.name} is done"
    start_worker()
    wait_until(lambda: queue.find(first.names[0]).state == "RUNNING", "the first job's start")
    assert "runs its task" in explain_job(queue, queue.find(first.names[0]))
    waits = dispatcher.submit_batch([JobRequest("pipe_tasks:echo", "d", "2")])
    busy = explain_job(queue, queue.find(waits.names[0]))
    assert busy == "all 1 executors are busy, with 1 jobs"
    first.cancel()
    all_results(waits)
    assert explain_job(queue, queue.find(waits.names[0])) == "it has succeeded"


def test_top_shows_a_queue_in_a_terminal(
    server: Any, dispatcher: Dispatcher, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker()
    all_results(dispatcher.submit_batch(numbered(20)))
    dispatcher.queue.pause()
    dispatcher.submit_batch([JobRequest("pipe_tasks:echo", "d", "9", priority=7)])
    arguments = ["-m", "zoolet", "jobs", "top", "--server", server.hosts, "--queue", ROOT]
    terminal = pexpect.spawn(
        sys.executable, [*arguments, "--every-s", "0.1"], encoding="utf-8",
        dimensions=(50, 120), timeout=WAIT_S, env=os.environ | {"COLUMNS": "120"},
    )  # fmt: skip
    try:
        terminal.expect_exact(f"queue {ROOT}")
        terminal.expect_exact("PAUSED")
        terminal.expect(r"7 +│ +0 │ +1 │ +0 │ +0")
        terminal.expect(r"0 +│ +0 │ +0 │ +0 │ +20")
        terminal.expect_exact(worker.worker_id)
        terminal.expect_exact("oldest waiting job: entry-007-d:9-")
        terminal.expect_exact("the queue is paused")
        # It is drawn again: what changes is seen without a key.
        dispatcher.queue.pause(paused=False)
        terminal.expect_exact("no job waits")
        terminal.expect(r"7 +│ +0 │ +0 │ +0 │ +1")
        terminal.sendintr()
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close(force=True)
    assert terminal.exitstatus == 0


def test_top_of_an_empty_queue(dispatcher: Dispatcher, capsys: pytest.CaptureFixture[str]) -> None:
    pauses: list[float] = []
    top(dispatcher.queue, ROOT, Printer(), 1.0, pause=pauses.append, rounds=2)
    shown = capsys.readouterr().out
    assert "no workers" in shown
    assert "no job waits" in shown
    assert len(pauses) == 1
    assert pauses[0] >= 1.0


def test_prometheus_reads_what_a_worker_did(
    dispatcher: Dispatcher, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker("--metrics-port", "0")
    assert worker.process.stdout is not None
    url = worker.process.stdout.readline().split()[-1]
    trouble = JobRequest("pipe_tasks:trouble", "flights", "1", max_attempts=2)
    all_results(dispatcher.submit_batch([*numbered(12), trouble]))

    def figures() -> dict[str, str]:
        with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
            lines = answer.read().decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    wait_until(lambda: figures()["zoolet_worker_jobs_in_hand"] == "0.0", "the end of all jobs")
    found = figures()
    assert found['zoolet_worker_attempts_total{outcome="successful"}'] == "12.0"
    assert found['zoolet_worker_attempts_total{outcome="failed"}'] == "2.0"
    assert found['zoolet_worker_cache_total{found="miss"}'] == "4.0"
    assert found['zoolet_worker_cache_total{found="hit"}'] == "10.0"
    assert found['zoolet_queue_jobs{place="done"}'] == "13.0"
    assert found["zoolet_queue_workers"] == "1.0"


def test_a_metrics_port_that_is_taken_is_a_clear_error(
    server: Any, dispatcher: Dispatcher, tasks: Path
) -> None:
    assert dispatcher.queue.settings.shards == 1
    port = server.hosts.rpartition(":")[2]
    # In a process of its own: the command decides what signals do.
    where = ["--server", server.hosts, "--queue", ROOT, "--import-path", str(tasks)]
    completed = subprocess.run(
        [sys.executable, "-m", "zoolet", "worker", *where, "--metrics-port", port],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert completed.returncode == 1
    assert f"cannot serve metrics on port {port}" in completed.stderr


def test_settings_change_and_shards_do_not(dispatcher: Dispatcher) -> None:
    assert dispatcher.queue.configure(keep_done_jobs=7).keep_done_jobs == 7
    assert dispatcher.queue.layout.read_settings().keep_done_jobs == 7
    with pytest.raises(InvalidJobError, match="create another queue"):
        dispatcher.queue.configure(shards=2)
    with pytest.raises(InvalidJobError, match="whole number from 0 to"):
        dispatcher.queue.configure(keep_done_jobs=-1)


def test_jobs_are_cancelled_by_options_and_tasks_are_paused(
    run: Run, dispatcher: Dispatcher
) -> None:
    first = dispatcher.submit_batch([JobRequest("m:f", "d", str(n)) for n in range(3)]).names
    [other] = dispatcher.submit("m:g", "e", "1").names
    assert json.loads(run("pause", "--task", "m:g", "--output", "json").stdout)["limit"]
    assert not dispatcher.queue.own_jobs([other], "w", 0).owned
    [pause] = dispatcher.queue.pauses.all()
    assert pause.text == "task m:g"
    run("resume", "--task", "m:f", status=1)
    run("resume", "--task", "m:g")
    assert dispatcher.queue.pauses.all() == []
    assert "0 jobs cancelled" in run("cancel", "--state", "RUNNING").output
    run("cancel", other, "--task", "m:f", status=2)
    found = json.loads(run("cancel", "--task", "m:f", "--dataset", "d", "--output", "json").stdout)
    assert (sorted(found["cancelled"]), found["skipped"]) == (sorted(first), 0)
    assert [job.name for job in dispatcher.queue.waiting()] == [other]
