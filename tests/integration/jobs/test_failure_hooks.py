"""Hooks and commands for jobs that become FAILED, in each way, with real workers."""

import json
import random
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, WorkerProcess, all_results, next_result, write_tasks
from tests.support.waiting import WAIT_S, wait_until
from zoolet.jobs import (
    Dispatcher,
    Job,
    JobFailure,
    JobHooks,
    JobRequest,
    JobState,
    Place,
    When,
    Worker,
)
from zoolet.jobs.housekeeping.removal import Remover
from zoolet.jobs.queue.moves import Move
from zoolet.jobs.records.failure_notes import FailureReason
from zoolet.jobs.records.job_outcomes import without_task
from zoolet.jobs.records.job_values import IMPORT_PATIENCE_MS
from zoolet.jobs.records.transitions import Event
from zoolet.jobs.znodes import failure_log
from zoolet.jobs.znodes.failure_log import FailureSwitch
from zoolet.testing import ServerProcess

HOOKS = """
import json
import os
import sys
import time

from zoolet.jobs import JobHooks

class Writing(JobHooks):
    def job_failed(self, failure):
        with open(os.environ["HOOKS_FILE"], "a") as file:
            line = [failure.job.name, failure.reason, failure.job.finished_ms]
            file.write(json.dumps(line) + "\\n")

class Broken(JobHooks):
    def job_failed(self, failure):
        raise RuntimeError("this hook is broken")

class Leaving(JobHooks):
    def job_failed(self, failure):
        sys.exit(9)
"""
WRITE = """
import json, os, sys, time
job = json.load(sys.stdin)
line = json.dumps([job["job"], os.environ["ZOOLET_REASON"], job["finished_ms"]])
with open(sys.argv[1], "a") as file:
    file.write(line + "\\n")
with open(sys.argv[1] + ".pids", "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(float(sys.argv[2]))
"""

StartWorker = Callable[..., WorkerProcess]
TROUBLE = JobRequest("pipe_tasks:trouble", max_attempts=1)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    directory = tmp_path / "tasks"
    directory.mkdir()
    write_tasks(directory)
    (directory / "my_hooks.py").write_text(HOOKS)
    (directory / "write.py").write_text(WRITE)
    return directory


@pytest.fixture
def calls_file(tmp_path: Path) -> Path:
    """The file that the hooks and commands of a test write to."""
    return tmp_path / "calls"


def command(tasks: Path, file: Path, sleep_s: float = 0.0) -> list[str]:
    words = [sys.executable, str(tasks / "write.py"), str(file), str(sleep_s)]
    return ["--on-failure", shlex.join(words)]


def calls(file: Path) -> list[list[Any]]:
    """Return the calls so far: name, reason and time of the failure of each."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def notes(client: KazooClient) -> list[str]:
    return [one for one in client.get_children(f"{ROOT}/failures") if one != "line"]


def is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def fail_to_import(dispatcher: Dispatcher) -> str:
    """Let a job be FAILED because its task cannot be imported for a long time."""
    queue = dispatcher.queue
    assert queue.register("w")
    # No worker has this tag, so the job stays for this test.
    name = dispatcher.submit("no_such_module:f", tags=["nobody"]).names[0]
    job = queue.own_job(name, "w")
    job = job._replace(import_since_ms=queue.clock_ms() - IMPORT_PATIENCE_MS)
    after = without_task(job, queue.clock_ms(), "no module")
    assert queue.mover.move([Move(Event.NO_TASK, Place.OWNED, queue.find(name), after)], "w")
    return name


def test_a_hook_and_a_command_are_called_for_each_way_to_fail(
    dispatcher: Dispatcher,
    client: KazooClient,
    start_worker: StartWorker,
    tasks: Path,
    calls_file: Path,
) -> None:
    commands_file = tasks / "commands"
    for _ in range(2):
        start_worker(
            "--hooks", "my_hooks:Broken", "--hooks", "my_hooks:Leaving",
            "--hooks", "my_hooks:Writing", *command(tasks, commands_file),
            environment={"HOOKS_FILE": str(calls_file)},
        )  # fmt: skip
    queue = dispatcher.queue
    failing = dispatcher.submit_batch([TROUBLE])
    skipped = dispatcher.submit_batch(
        [JobRequest("pipe_tasks:echo")], after=failing, when=When.ALL_SUCCEEDED
    )
    queue.pause("paused")
    cancelled = dispatcher.submit_batch([JobRequest("pipe_tasks:echo", "paused", "1")])
    cancelled.cancel()
    expired = dispatcher.submit_batch(
        [JobRequest("pipe_tasks:echo", expires_ms=queue.server_time_ms() - 1)]
    )
    good = dispatcher.submit_batch([JobRequest("pipe_tasks:echo")])
    retried = dispatcher.submit_batch([JobRequest("pipe_tasks:trouble", max_attempts=2)])
    unreadable = dispatcher.submit_batch(
        [JobRequest("pipe_tasks:echo", not_before_ms=queue.server_time_ms() + 1000)]
    )
    client.set(f"{ROOT}/deferred/{unreadable.names[0]}", b"no job")
    reasons = {
        failing.names[0]: "attempt",
        skipped.names[0]: "skipped",
        expired.names[0]: "expired",
        retried.names[0]: "attempt",
        unreadable.names[0]: "unreadable",
        fail_to_import(dispatcher): "no task",
    }

    def all_called() -> bool:
        files = (calls_file, commands_file)
        return all({name for name, *_ in calls(file)} >= set(reasons) for file in files)

    wait_until(all_called, "all calls")
    wait_until(lambda: notes(client) == [], "no notes")
    for file in (calls_file, commands_file):
        assert {name: reason for name, reason, _ in calls(file)} == reasons
        assert all(count == 1 for count in Counter(name for name, *_ in calls(file)).values())
    assert next_result(good).state is JobState.SUCCESSFUL
    for name, _, finished_ms in calls(calls_file):
        assert queue.find(name).finished_ms == finished_ms


def test_a_lost_worker_is_a_failure_too(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, calls_file: Path
) -> None:
    first = start_worker(*command(tasks, calls_file))
    running = tasks / "running"
    batch = dispatcher.submit_batch(
        [JobRequest("pipe_tasks:hang_once", parameters={"file": str(running)}, max_attempts=1)]
    )
    wait_until(running.exists, "a running task")
    start_worker(*command(tasks, calls_file))
    first.kill()
    job = next_result(batch)
    wait_until(lambda: calls(calls_file) != [], "a call")
    assert calls(calls_file) == [[job.name, "worker lost", job.finished_ms]]


def test_a_call_that_a_killed_worker_has_begun_is_made_again(
    dispatcher: Dispatcher,
    client: KazooClient,
    start_worker: StartWorker,
    tasks: Path,
    calls_file: Path,
) -> None:
    first = start_worker(*command(tasks, calls_file, 600))
    batch = dispatcher.submit_batch([TROUBLE])
    [job] = all_results(batch)
    wait_until(lambda: len(calls(calls_file)) == 1, "the first call")
    first.kill()
    pids = Path(f"{calls_file}.pids")
    wait_until(lambda: not is_alive(int(pids.read_text())), "the end of the command")
    start_worker(*command(tasks, calls_file))
    wait_until(lambda: notes(client) == [], "no notes")
    assert calls(calls_file) == [[job.name, "attempt", job.finished_ms]] * 2


def test_a_stop_ends_commands_and_keeps_their_notes(
    dispatcher: Dispatcher,
    client: KazooClient,
    start_worker: StartWorker,
    tasks: Path,
    calls_file: Path,
) -> None:
    first = start_worker(*command(tasks, calls_file, 600), "--grace-ms", "0")
    batch = dispatcher.submit_batch([TROUBLE] * 6)
    all_results(batch)
    # Four commands run, and two wait.
    wait_until(lambda: len(calls(calls_file)) == 4, "four calls")
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(WAIT_S) == 0
    pids = [int(line) for line in Path(f"{calls_file}.pids").read_text().splitlines()]
    assert not any(map(is_alive, pids))
    assert notes(client) != []
    start_worker(*command(tasks, calls_file))
    wait_until(lambda: notes(client) == [], "no notes")
    assert {name for name, *_ in calls(calls_file)} == set(batch.names)
    assert len(calls(calls_file)) == 10


def test_commands_that_hang_do_not_delay_jobs(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, calls_file: Path
) -> None:
    start_worker(*command(tasks, calls_file, 600))
    all_results(dispatcher.submit_batch([TROUBLE] * 30))
    wait_until(lambda: len(calls(calls_file)) == 4, "four calls")
    batch = dispatcher.submit_batch([JobRequest("pipe_tasks:echo")] * 30)
    assert {job.state for job in all_results(batch)} == {JobState.SUCCESSFUL}
    assert len(calls(calls_file)) == 4


def test_a_job_that_was_retried_has_no_call_for_its_old_failure(
    dispatcher: Dispatcher,
    client: KazooClient,
    start_worker: StartWorker,
    tasks: Path,
    calls_file: Path,
) -> None:
    queue = dispatcher.queue
    queue.layout.znodes.ensure(failure_log.failures_path(queue.layout))
    assert queue.register("w")
    [name] = dispatcher.submit_batch([TROUBLE]).names
    queue.fail(queue.own_job(name, "w"), "no")
    queue.retry(name)
    failed = queue.fail(queue.own_job(name, "w"), "no")
    assert len(notes(client)) == 2
    start_worker(*command(tasks, calls_file))
    wait_until(lambda: notes(client) == [], "no notes")
    expected = [[name, "attempt", failed.finished_ms]]
    assert [call for call in calls(calls_file) if call[2] == failed.finished_ms][-1:] == expected


def test_failures_are_not_noted_without_hooks(
    dispatcher: Dispatcher, client: KazooClient, start_worker: StartWorker
) -> None:
    start_worker()
    assert next_result(dispatcher.submit_batch([TROUBLE])).state is JobState.FAILED
    assert client.exists(f"{ROOT}/failures") is None


def test_a_program_that_has_failed_jobs_before_learns_of_the_first_hook(
    dispatcher: Dispatcher,
    client: KazooClient,
    start_worker: StartWorker,
    tasks: Path,
    calls_file: Path,
) -> None:
    queue = dispatcher.queue
    assert queue.register("w")

    def fail_one() -> str:
        [name] = dispatcher.submit("pipe_tasks:trouble", max_attempts=1, tags=["nobody"]).names
        queue.fail(queue.own_job(name, "w"), "no")
        return name

    fail_one()
    switch = FailureSwitch(queue.layout)
    assert not switch.is_on()
    start_worker(*command(tasks, calls_file))
    wait_until(switch.is_on, "the event of the watch")
    # The watches of one session have the order of the change, and the queue's came first.
    name = fail_one()
    wait_until(lambda: [call[0] for call in calls(calls_file)] == [name], "a call")
    wait_until(lambda: notes(client) == [], "no notes")
    client.delete(f"{ROOT}/failures", recursive=True)
    wait_until(lambda: client.exists(f"{ROOT}/failures/line"), "the new parent of the notes")
    name = fail_one()
    wait_until(lambda: name in [call[0] for call in calls(calls_file)], "another call")


def test_hooks_continue_if_the_notes_were_deleted(
    dispatcher: Dispatcher,
    client: KazooClient,
    start_worker: StartWorker,
    tasks: Path,
    calls_file: Path,
) -> None:
    start_worker(*command(tasks, calls_file))
    wait_until(lambda: client.get_children(f"{ROOT}/failures/line") != [], "a worker in line")
    client.delete(f"{ROOT}/failures", recursive=True)
    wait_until(lambda: client.exists(f"{ROOT}/failures/line"), "a new parent of the notes")
    [job] = all_results(dispatcher.submit_batch([TROUBLE]))
    wait_until(lambda: [call[0] for call in calls(calls_file)] == [job.name], "a call")


def test_the_oldest_notes_are_removed_if_no_worker_has_hooks(
    dispatcher: Dispatcher,
    client: KazooClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(failure_log, "NOTES_MOST", 3)
    queue = dispatcher.queue
    queue.layout.znodes.ensure(failure_log.line_path(queue.layout))
    assert queue.register("w")
    for name in dispatcher.submit_batch([TROUBLE] * 5).names:
        queue.fail(queue.own_job(name, "w"), "no")
    before = sorted(notes(client))
    assert len(before) == 5
    Remover(queue, dispatcher.results).remove_if_due()
    assert sorted(notes(client)) == before[2:]
    assert "2 notes of failures are removed" in caplog.text


def test_a_worker_in_python_calls_its_hooks(server: ServerProcess, dispatcher: Dispatcher) -> None:
    found: list[JobFailure] = []

    class Keeping(JobHooks):
        def job_failed(self, failure: JobFailure) -> None:
            found.append(failure)

    with Worker(server.hosts, ROOT, threads=True, hooks=[Keeping()]):
        job: Job = next_result(dispatcher.submit("builtins:max", max_attempts=1))
        wait_until(lambda: found != [], "a call")
    assert found == [JobFailure(dispatcher.queue.find(job.name), FailureReason.ATTEMPT, ROOT)]


@pytest.mark.parametrize("seed", [1, 2])
def test_each_failure_has_a_call_although_workers_are_killed(
    dispatcher: Dispatcher,
    client: KazooClient,
    start_worker: StartWorker,
    tasks: Path,
    calls_file: Path,
    seed: int,
) -> None:
    chance = random.Random(seed)
    options = command(tasks, calls_file, 0.01)
    workers = [start_worker(*options, "--executors", "2") for _ in range(2)]
    names: list[str] = []
    for _ in range(4):
        requests = [
            JobRequest(
                "pipe_tasks:trouble", max_attempts=chance.choice((1, 2)), parameters={"n": n}
            )
            if chance.random() < 0.7
            else JobRequest("pipe_tasks:end_own_process", max_attempts=1, parameters={"n": n})
            for n in range(len(names), len(names) + chance.randrange(5, 25))
        ]
        names += dispatcher.submit_batch(requests).names
        time.sleep(chance.uniform(0, 1))
        killed = workers.pop(chance.randrange(2))
        killed.kill()
        workers.append(start_worker(*options, "--executors", "2"))

    def all_called() -> bool:
        return {name for name, *_ in calls(calls_file)} >= set(names)

    wait_until(all_called, "a call for each failure")
    wait_until(lambda: notes(client) == [], "no notes")
    found = {(name, at_ms) for name, _, at_ms in calls(calls_file)}
    assert found == {(name, dispatcher.queue.find(name).finished_ms) for name in names}
