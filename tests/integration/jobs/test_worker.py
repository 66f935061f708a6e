"""Workers as real processes: kill -9, lost sessions, tasks that fail, data that is held.

A task that must be caught in the middle reads a named pipe: opening the pipe's other end waits
until the task runs, and what is written there is the task's result. Nothing sleeps.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient

from tests.support.jobs import (
    ROOT,
    TIMEOUT_S,
    WorkerProcess,
    all_results,
    next_result,
    wait_until_unread,
    write_tasks,
)
from tests.support.sessions import end_session
from zoolet.cli import main
from zoolet.client import SessionId
from zoolet.jobs import (
    Dispatcher,
    JobFailedError,
    JobRequest,
    JobState,
    Origin,
    Worker,
)


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the module ``pipe_tasks``, importable in this process too."""
    write_tasks(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pipe_tasks", raising=False)
    return tmp_path


def echo(groupid: str, priority: int = 0, **parameters: Any) -> JobRequest:
    return JobRequest("pipe_tasks:echo", "flights", groupid, parameters, priority)


def piped(tasks: Path, name: str = "pipe", groupid: str = "1") -> JobRequest:
    """Return a job whose task reads a pipe, and make the pipe."""
    pipe = tasks / name
    os.mkfifo(pipe)
    return JobRequest("pipe_tasks:read_pipe", "flights", groupid, {"pipe": str(pipe)}, 0)


def session_of(worker: Any) -> SessionId:
    """Return the session of a worker in this process."""
    found = worker._run._link.client.session_id
    assert isinstance(found, SessionId)
    return found


# --- What a worker does with a job


def test_a_worker_runs_jobs_and_the_dispatcher_returns_their_results(
    dispatcher: Dispatcher, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker("--executors", "2")
    assert f"queue {ROOT}" in worker.started
    assert dispatcher.queue.workers() == [worker.worker_id]
    batch = dispatcher.submit_batch([echo(str(month), year=2013) for month in range(12)])
    found = all_results(batch)
    assert {job.state for job in found} == {JobState.SUCCESSFUL}
    assert {job.worker for job in found} == {worker.worker_id}
    by_group = {job.groupid: job.result for job in found}
    assert by_group == {
        str(month): {
            "group": {"dataset": "flights", "groupid": str(month)},
            "parameters": {"year": 2013},
        }
        for month in range(12)
    }
    assert batch.progress()[JobState.SUCCESSFUL] == 12
    assert batch.outstanding == 0


def test_results_come_as_jobs_finish_and_states_are_seen_meanwhile(
    dispatcher: Dispatcher, client: KazooClient, tasks: Path,
    start_worker: Callable[..., WorkerProcess],
) -> None:  # fmt: skip
    start_worker("--executors", "2")
    slow = piped(tasks)
    batch = dispatcher.submit_batch([slow, echo("2")])
    with Path(slow.parameters["pipe"]).open("w") as pipe:
        assert next_result(batch).groupid == "2"
        progress = batch.progress()
        assert (progress[JobState.RUNNING], progress[JobState.SUCCESSFUL]) == (1, 1)
        [path] = client.get_children(f"{ROOT}/owned")
        assert json.loads(client.get(f"{ROOT}/owned/{path}")[0])["state"] == "RUNNING"
        assert batch.next_result(timeout_s=0.01) is None
        pipe.write("at last")
    assert next_result(batch).result == "at last"


@pytest.mark.usefixtures("tasks")
def test_an_empty_queue_is_watched_and_not_polled(dispatcher: Dispatcher, server: Any) -> None:
    with Worker(server.hosts, ROOT, loader="pipe_tasks:load") as worker:
        run: Any = worker._run
        requests = run._link.client._make
        all_results(dispatcher.submit_batch([echo("1")]))
        # What the start and the last job stirred up may still come.
        assert not worker.wait(0.5)
        last_xid = requests._xid
        assert last_xid > 0
        assert not worker.wait(0.5)
        assert requests._xid == last_xid


@pytest.mark.parametrize(
    ("task", "dataset", "complaint"),
    [
        ("pipe_tasks:trouble", "flights", "ValueError: this task raises"),
        ("pipe_tasks:leave", "flights", "SystemExit: 7"),
        ("pipe_tasks:not_json", "flights", "the result is of type builtins.set"),
        ("pipe_tasks:echo", "broken", "OSError: this data cannot be read"),
    ],
)
@pytest.mark.usefixtures("tasks")
def test_a_job_that_cannot_succeed_is_failed_and_holds_up_nothing(
    dispatcher: Dispatcher, server: Any, *, task: str, dataset: str, complaint: str
) -> None:
    with Worker(server.hosts, ROOT, loader="pipe_tasks:load") as worker:
        [failed] = all_results(dispatcher.submit(task, dataset, "1"))
        assert failed.state is JobState.FAILED
        assert [error.attempt for error in failed.errors] == [1, 2, 3]
        assert {error.worker for error in failed.errors} == {worker.worker_id}
        assert all(complaint in error.message for error in failed.errors)
        assert next_result(dispatcher.submit_batch([echo("2")])).state is JobState.SUCCESSFUL
        with pytest.raises(JobFailedError, match="FAILED after 3 attempts"):
            list(dispatcher.submit(task, dataset, "1", max_attempts=3).values())


@pytest.mark.parametrize("dataset", ["a-b", "a/b", "a:b", "a b"])
@pytest.mark.usefixtures("tasks")
def test_any_dataset_name_is_loaded(dispatcher: Dispatcher, server: Any, dataset: str) -> None:
    with Worker(server.hosts, ROOT, loader="pipe_tasks:load"):
        [job] = all_results(dispatcher.submit("pipe_tasks:echo", dataset, dataset))
    assert job.result["group"] == {"dataset": dataset, "groupid": dataset}


@pytest.mark.usefixtures("tasks")
def test_a_task_that_changes_its_parameters_does_not_change_the_job(
    dispatcher: Dispatcher, server: Any
) -> None:
    with Worker(server.hosts, ROOT, loader="pipe_tasks:load"):
        [job] = all_results(dispatcher.submit("pipe_tasks:greedy", "flights", "1", {"keep": 1}))
    assert job.parameters == {"keep": 1}


# --- Which job it takes


@pytest.mark.usefixtures("tasks")
def test_held_data_goes_before_priority_and_is_found_in_the_cache(
    dispatcher: Dispatcher, server: Any
) -> None:
    with Worker(server.hosts, ROOT, loader="pipe_tasks:load"):
        all_results(dispatcher.submit_batch([echo("1")]))
    requests = [
        echo("held", 1),
        echo("other", 500, n=1),
        echo("held", 2, n=2),
        echo("other", 999, n=3),
        echo("held", 2, n=4),
    ]
    batch = dispatcher.submit_batch(requests)
    worker: Any = Worker(server.hosts, ROOT, loader="pipe_tasks:load", locality_wait_ms=1)
    with worker:
        # An empty cache takes the first of all, and what it then holds goes first.
        found = all_results(batch)
        assert worker._run._executors.executors[0].held() == {
            ("flights", "held"),
            ("flights", "other"),
        }
    order = sorted(found, key=lambda job: (job.taken_ms, job.finished_ms))
    assert [(job.groupid, job.priority, job.cache_hit) for job in order] == [
        ("other", 999, False),
        ("other", 500, True),
        ("held", 2, False),
        ("held", 2, True),
        ("held", 1, True),
    ]
    assert order[2].name < order[3].name


# --- Faults


def test_a_worker_killed_in_mid_task_loses_no_job(
    dispatcher: Dispatcher, client: KazooClient, tasks: Path,
    start_worker: Callable[..., WorkerProcess],
) -> None:  # fmt: skip
    request = piped(tasks)
    pipe = Path(request.parameters["pipe"])
    victim = start_worker()
    batch = dispatcher.submit_batch([request])
    with pipe.open("w"):
        victim.kill()
    rescuer = start_worker()
    with pipe.open("w") as output:
        [name] = client.get_children(f"{ROOT}/owned")
        assert json.loads(client.get(f"{ROOT}/owned/{name}")[0])["worker"] == rescuer.worker_id
        output.write("rescued")
    [job] = all_results(batch)
    # RUNNING is recorded after a while, and only then the loss is an attempt.
    assert (job.result, job.worker) == ("rescued", rescuer.worker_id)
    assert job.attempts + job.losses == 2
    [error] = job.errors
    assert error.worker == victim.worker_id
    assert error.message.startswith(f"worker {victim.worker_id} was lost")
    assert client.get_children(f"{ROOT}/owned") == []
    assert client.get_children(f"{ROOT}/done") == batch.names


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_a_frozen_workers_late_result_is_refused(
    dispatcher: Dispatcher,
    tasks: Path,
    start_worker: Callable[..., WorkerProcess],
    kind: str,
) -> None:
    for attempt in ("0", "1"):
        os.mkfifo(tasks / f"pipe{attempt}")
    options = ["--threads"] if kind == "threads" else []
    frozen = start_worker(*options)
    batch = dispatcher.submit(
        "pipe_tasks:read_own_pipe", "flights", "1", {"pipe": str(tasks / "pipe")}
    )
    with (tasks / "pipe0").open("w") as late:
        frozen.process.send_signal(signal.SIGSTOP)
        rescuer = start_worker(*options)
        with (tasks / "pipe1").open("w") as in_time:
            in_time.write("in time")
        [job] = all_results(batch)
        assert (job.result, job.worker) == ("in time", rescuer.worker_id)
        assert job.attempts + job.losses == 2
        rescuer.kill()
        late.write("late")
    frozen.process.send_signal(signal.SIGCONT)
    # It has one executor, so its late result was refused before it takes another job.
    [other] = all_results(dispatcher.submit_batch([echo("2")]))
    assert other.worker not in {frozen.worker_id, rescuer.worker_id}
    assert dispatcher.queue.find(job.name) == job


@pytest.mark.usefixtures("tasks")
def test_jobs_of_workers_that_died_before_are_taken_over_at_the_start(
    dispatcher: Dispatcher, client: KazooClient, server: Any
) -> None:
    dead = KazooClient(hosts=server.hosts)
    dead.start()
    before = Dispatcher(dead, ROOT, create=True)
    batch = dispatcher.submit_batch([echo("1"), echo("2")])
    assert before.queue.register("dead")
    for name in batch.names:
        before.queue.own_job(name, "dead")
    dead.stop()
    dead.close()
    assert sorted(client.get_children(f"{ROOT}/owned")) == sorted(batch.names)
    with Worker(server.hosts, ROOT, loader="pipe_tasks:load"):
        assert [(job.attempts, job.losses) for job in all_results(batch)] == [(1, 1), (1, 1)]


@pytest.mark.parametrize("threads", [False, True])
def test_a_worker_that_lost_its_session_goes_on_under_a_new_id(
    dispatcher: Dispatcher, server: Any, tasks: Path, *, threads: bool
) -> None:
    for attempt in ("0", "1"):
        os.mkfifo(tasks / f"pipe{attempt}")
    parameters = {"pipe": str(tasks / "pipe")}
    with Worker(
        server.hosts, ROOT, loader="pipe_tasks:load", executors=2, threads=threads
    ) as worker:
        first_id = worker.worker_id
        batch = dispatcher.submit("pipe_tasks:read_own_pipe", "flights", "1", parameters)
        late = (tasks / "pipe0").open("w")
        end_session(server.hosts, session_of(worker))
        with (tasks / "pipe1").open("w") as in_time:
            assert worker.worker_id != first_id
            late.write("late")
            if threads:
                late.close()
            else:
                # What is not its own any more is not worked on: the task's process is ended. The
                # server does not wait for that before it gives the job out again.
                wait_until_unread(late.fileno())
                with pytest.raises(BrokenPipeError):
                    late.close()
            # The executor that runs this job has had its late result refused before.
            all_results(dispatcher.submit_batch([echo("2")]))
            assert batch.outstanding == 1
            in_time.write("in time")
        [job] = all_results(batch)
    assert (job.result, job.worker) == ("in time", worker.worker_id)
    assert job.attempts + job.losses == 2
    assert job.errors[0].message.startswith(f"worker {first_id} was lost")


@pytest.mark.usefixtures("tasks")
def test_an_idle_worker_that_lost_its_session_registers_again(
    dispatcher: Dispatcher, server: Any
) -> None:
    with Worker(server.hosts, ROOT, loader="pipe_tasks:load") as worker:
        first_id = worker.worker_id
        end_session(server.hosts, session_of(worker))
        changed = threading.Event()
        while (ids := dispatcher.queue.workers(lambda _: changed.set())) in ([], [first_id]):
            assert changed.wait(TIMEOUT_S)
            changed.clear()
        [second_id] = ids
        assert second_id != first_id


@pytest.mark.usefixtures("tasks")
def test_a_worker_outlives_a_restart_of_the_server(
    dispatcher: Dispatcher, server: Any, start_worker: Callable[..., WorkerProcess]
) -> None:
    start_worker()
    all_results(dispatcher.submit_batch([echo("1")]))
    server.kill()
    server.start()
    batch = dispatcher.submit_batch([echo("1", after="restart"), echo("2")])
    assert {job.state for job in all_results(batch)} == {JobState.SUCCESSFUL}


# --- Stopping


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_a_running_job_finish(
    dispatcher: Dispatcher, tasks: Path, start_worker: Callable[..., WorkerProcess], signum: int
) -> None:
    request = piped(tasks)
    worker = start_worker()
    batch = dispatcher.submit_batch([request, echo("2")])
    with Path(request.parameters["pipe"]).open("w") as pipe:
        worker.process.send_signal(signum)
        assert worker.process.stdout is not None
        assert worker.process.stdout.readline().startswith("stopping")
        pipe.write("finished")
    assert next_result(batch).result == "finished"
    assert worker.process.wait(TIMEOUT_S) == 0
    assert dispatcher.queue.workers() == []
    assert batch.progress()[JobState.PENDING] == 1


def test_a_stop_gives_back_what_does_not_finish_in_time(
    dispatcher: Dispatcher, tasks: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    request = piped(tasks)
    worker = start_worker("--grace-ms", "1")
    batch = dispatcher.submit_batch([request])
    with Path(request.parameters["pipe"]).open("w"):
        worker.process.terminate()
        assert worker.process.wait(TIMEOUT_S) == 0
        [waiting] = dispatcher.queue.waiting()
    job = dispatcher.queue.find(waiting.name)
    assert (waiting.name, job.attempts, job.errors) == (batch.names[0], 0, ())


# --- The dispatcher


@pytest.mark.usefixtures("tasks")
def test_stored_results_answer_without_a_worker(dispatcher: Dispatcher, server: Any) -> None:
    requests = [echo(str(month)) for month in range(12)]
    with Worker(server.hosts, ROOT, loader="pipe_tasks:load"):
        first = all_results(dispatcher.submit_batch(requests))
    again = dispatcher.submit_batch(requests)
    assert again.count(Origin.STORED) == 12
    assert {job.name: job.result for job in all_results(again)} == {
        job.name: job.result for job in first
    }
    forced = dispatcher.submit_batch(requests, reuse=False)
    assert forced.count(Origin.NEW) == 12
    assert forced.progress()[JobState.PENDING] == 12


@pytest.mark.usefixtures("tasks")
def test_a_dispatcher_and_a_worker_make_the_chroot_of_their_hosts(
    server: Any, client: KazooClient
) -> None:
    hosts = f"{server.hosts}{ROOT}"
    with Worker(hosts, loader="pipe_tasks:load"), Dispatcher(hosts, create=True) as dispatcher:
        [job] = all_results(dispatcher.submit_batch([echo("1")]))
    assert client.get_children(f"{ROOT}/done") == [job.name]


@pytest.mark.usefixtures("tasks")
def test_a_batch_is_waited_for_through_a_lost_connection(server: Any, client: KazooClient) -> None:
    with Dispatcher(server.hosts, ROOT, create=True) as dispatcher:
        batch = dispatcher.submit_batch([echo("1")])
        server.kill()
        server.start()
        with Worker(server.hosts, ROOT, loader="pipe_tasks:load"):
            assert next_result(batch).state is JobState.SUCCESSFUL
    assert client is not None


# --- The commands


@pytest.mark.usefixtures("tasks")
def test_submit_status_and_list(server: Any, client: KazooClient) -> None:
    queue = ["--server", server.hosts, "--queue", ROOT]
    work = ["--task", "pipe_tasks:echo", "--dataset", "a b", "--group", "7"]
    run = CliRunner(env={"COLUMNS": "200"}).invoke
    refused = run(main, ["jobs", "submit", *queue, *work])
    assert refused.exit_code == 1
    assert f"there is no queue at {ROOT}" in refused.output
    submitted = run(main, ["jobs", "submit", *queue, *work, "--priority", "5", "--create"])
    assert (submitted.exit_code, submitted.output) == (0, "entry-005-a b:7-0000000000 NEW\n")
    with Worker(server.hosts, ROOT, loader="pipe_tasks:load") as worker:
        waited = run(main, ["jobs", "submit", *queue, *work, "--wait"])
        assert waited.exit_code == 0
        assert json.loads(waited.stdout)["group"] == {"dataset": "a b", "groupid": "7"}
        assert worker.worker_id in run(main, ["jobs", "status", *queue]).output
    trouble = ["--task", "pipe_tasks:trouble", "--dataset", "a", "--group", "7", "--wait"]
    with Worker(server.hosts, ROOT, loader="pipe_tasks:load"):
        failed = run(main, ["jobs", "submit", *queue, *trouble])
    assert failed.exit_code == 1
    assert "ValueError: this task raises" in failed.output
    status = run(main, ["jobs", "status", *queue])
    assert status.exit_code == 0
    assert "no workers" in status.output
    listed = run(main, ["jobs", "list", *queue, "--state", "FAILED"])
    assert listed.exit_code == 0
    assert "entry-000-a:7-0000000001" in listed.output
    assert "entry-005" not in listed.output
    assert client.get_children(f"{ROOT}/owned") == []


def test_jobs_survive_the_servers_death(
    dispatcher: Dispatcher, server: Any, start_worker: Callable[..., WorkerProcess]
) -> None:
    """kill -9 of the server while two workers are at it: each job is done, and once."""
    batch = dispatcher.submit_batch([echo(str(number)) for number in range(200)])
    start_worker()
    start_worker()
    first = next_result(batch)
    server.kill()
    server.start()
    jobs = [first, *(next_result(batch) for _ in range(199))]
    assert {job.state for job in jobs} == {JobState.SUCCESSFUL}
    assert {job.name for job in jobs} == set(batch.names)
    queue = dispatcher.queue
    assert (queue.waiting(), queue.owned(), len(queue.done())) == ([], [], 200)
