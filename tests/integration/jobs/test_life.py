"""The life of workers as real processes: cancelled jobs, signals, starts that fail, kill -9.

A task that must be caught in the middle writes its pid to a file, and then waits for another file.
"""

import contextlib
import logging
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import zipapp
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

import zoolet
from tests.support.jobs import ROOT, TIMEOUT_S, WorkerProcess, all_results, next_result, write_tasks
from tests.support.waiting import wait_until
from zoolet.jobs import (
    Dispatcher,
    JobError,
    JobQueue,
    JobRequest,
    JobState,
    QueueSettings,
    Worker,
)
from zoolet.jobs.housekeeping import line
from zoolet.jobs.znodes.edge import Znodes
from zoolet.jobs.znodes.operations import Operation, SetData

TASKS = '''
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

def wait(group, parameters):
    """Write the pids of this process and of a subprocess; return when the file "go" is there."""
    children = [subprocess.Popen(["sleep", "600"], start_new_session=new) for new in (False, True)]
    pids = [os.getpid(), os.getppid(), *(child.pid for child in children)]
    file = Path(parameters["file"])
    file.with_suffix(".new").write_text(" ".join(map(str, pids)))
    file.with_suffix(".new").rename(file)
    if parameters.get("spins"):
        sum(iter(int, 1))
    while not Path(parameters["go"]).exists():
        time.sleep(0.01)
    return "went"

def die(group, parameters):
    os.kill(os.getpid(), signal.SIGKILL)

def echo(group, parameters):
    return sys.path

def orphan(group, parameters):
    """Leave a process that ends when its parent has ended, and return its pid."""
    code = "import subprocess; print(subprocess.Popen(['sleep', '0.1'], stdout=2).pid)"
    return int(subprocess.check_output([sys.executable, "-c", code]))

def break_starts(step, names):
    """A step hook: the worker can start no other executor."""
    from zoolet.jobs.execution import process_starts

    if step == "started":
        sys.executable = "/no/such/program"
        process_starts.BACKOFF_MOST_S = 0.01

def break_recorder(step, names):
    if step == "finishing":
        raise RuntimeError("the hook is broken")

def break_taker(step, names):
    if step == "taking":
        raise RuntimeError("the hook is broken")
'''

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    directory = tmp_path / "tasks"
    directory.mkdir()
    write_tasks(directory)
    (directory / "life_tasks.py").write_text(TASKS)
    return directory


def run_worker(
    hosts: str, *options: str, prefix: tuple[str, ...] = (), cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a worker that is to end by itself."""
    return subprocess.run(
        [*prefix, sys.executable, "-m", "zoolet", "worker", "--server", hosts, "--queue", ROOT,
         *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        cwd=cwd,
    )  # fmt: skip


def waiting(tasks: Path, name: str = "a", **parameters: Any) -> JobRequest:
    """Return a job that waits; see `pids_of` and `let_go`."""
    found = {"file": str(tasks / f"{name}.pids"), "go": str(tasks / f"{name}.go"), **parameters}
    return JobRequest("life_tasks:wait", "flights", name, found)


def pids_of(tasks: Path, name: str = "a") -> list[int]:
    """Return the pids of a waiting task's process, its watcher, and its subprocesses."""
    file = tasks / f"{name}.pids"
    wait_until(file.exists, "the task")
    return [int(pid) for pid in file.read_text().split()]


def let_go(tasks: Path, name: str = "a") -> None:
    (tasks / f"{name}.go").touch()


def is_alive(pid: int) -> bool:
    """Say whether a process runs; a zombie has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_ends(pids: list[int]) -> None:
    wait_until(lambda: not any(map(is_alive, pids)), f"the end of {pids}")


def number(n: int) -> JobRequest:
    return JobRequest("pipe_tasks:number", "flights", "1", {"n": n})


# --- The next job starts


@pytest.mark.parametrize("executors", ["1", "2"])
def test_after_a_cancelled_job_the_next_one_starts(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, executors: str
) -> None:
    start_worker("--executors", executors)
    names = "abc"[: int(executors)]
    batches = [dispatcher.submit_batch([waiting(tasks, name)]) for name in names]
    pids = [pid for name in names for pid in pids_of(tasks, name)[:1]]
    for batch in batches:
        assert [job.state for job in batch.cancel()] == [JobState.FAILED]
    following = dispatcher.submit_batch([number(1)])
    assert next_result(following).result == 1
    wait_for_ends(pids)


def test_after_a_job_that_another_program_took_the_next_one_starts(
    dispatcher: Dispatcher, client: KazooClient, start_worker: StartWorker, tasks: Path
) -> None:
    """Its znode has gone while the task runs, so what comes of it is not recorded."""
    start_worker()
    batch = dispatcher.submit_batch([waiting(tasks)])
    pids_of(tasks)
    client.delete(f"{ROOT}/owned/{batch.names[0]}")
    let_go(tasks)
    assert next_result(dispatcher.submit_batch([number(2)])).result == 2


def test_jobs_behind_those_of_a_paused_dataset_start(client: KazooClient, server: Any) -> None:
    """Jobs of the paused dataset stand in all shards, and the worker does not list all at once."""
    JobQueue(client, ROOT).ensure_layout(QueueSettings(shards=8))
    dispatcher = Dispatcher(client, ROOT)
    dispatcher.queue.pause("paused")
    dispatcher.submit_batch([JobRequest("builtins:max", "paused", str(n)) for n in range(50)])
    batch = dispatcher.submit_batch(
        [JobRequest("builtins:max", "flights", str(n), max_attempts=1) for n in range(8)]
    )
    with Worker(server.hosts, ROOT):
        # None is no number: it is called, and that is what matters.
        assert {job.state for job in all_results(batch)} == {JobState.FAILED}


def test_a_worker_whose_place_in_line_was_deleted_keeps_house_later(
    client: KazooClient, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "LINE_LOOK_S", 0.1)
    dispatcher = Dispatcher(client, ROOT, create=True)
    keeper = f"{ROOT}/keeper"
    with contextlib.ExitStack() as running:
        running.enter_context(Worker(server.hosts, ROOT, threads=True))
        wait_until(lambda: len(client.get_children(keeper)) == 1, "the first in line")
        with Worker(server.hosts, ROOT, threads=True):
            wait_until(lambda: len(client.get_children(keeper)) == 2, "the second in line")
            second = max(client.get_children(keeper))
            client.delete(f"{keeper}/{second}")
            wait_until(lambda: max(client.get_children(keeper)) > second, "it stands there again")
            running.close()  # the first one ends
            soon_ms = time.time_ns() // 10**6 + 500
            batch = dispatcher.submit(
                "builtins:max", "d", "1", not_before_ms=soon_ms, max_attempts=1
            )
            assert next_result(batch).state is JobState.FAILED


# --- A part of the worker fails


@pytest.mark.parametrize("hook", ["break_starts", "break_recorder", "break_taker"])
def test_a_worker_that_cannot_go_on_returns_its_jobs_and_fails(
    dispatcher: Dispatcher, server: Any, tasks: Path, hook: str
) -> None:
    task = "life_tasks:die" if hook == "break_starts" else "pipe_tasks:echo"
    batch = dispatcher.submit_batch(
        [JobRequest(task, "flights", str(n), max_attempts=20) for n in range(3)]
    )
    ended = run_worker(server.hosts, "--import-path", str(tasks), "--on-step", f"life_tasks:{hook}")
    assert ended.returncode == 1
    assert "Error: the worker ended: " in ended.stderr
    reason = "/no/such/program" if hook == "break_starts" else "the hook is broken"
    assert reason in ended.stderr
    assert sorted(job.name for job in dispatcher.queue.waiting()) == sorted(batch.names)


@pytest.mark.parametrize("limit", [20, 30, 40])
def test_too_few_descriptors_are_an_error_at_the_start(
    server: Any, dispatcher: Dispatcher, tasks: Path, limit: int
) -> None:
    assert dispatcher
    ended = run_worker(
        server.hosts, "--import-path", str(tasks), "--executors", "4",
        prefix=("sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh"),
    )  # fmt: skip
    assert ended.returncode == 1
    assert "Too many open files" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "executor(s)" not in ended.stdout


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import os, sys\nprint('no licence', file=sys.stderr, flush=True)\nos.abort()", "SIGABRT"),
        ("import os\nos.write(2, b'no licence')\nos._exit(7)", "exit status 7"),
        ("import os\nos.write(1, b'no licence')\nos.kill(os.getpid(), 11)", "SIGSEGV"),
    ],
)
def test_a_loader_that_ends_its_process_ends_the_worker_with_the_reason(
    server: Any, dispatcher: Dispatcher, tasks: Path, source: str, reason: str
) -> None:
    assert dispatcher
    (tasks / "bad_loader.py").write_text(source)
    ended = run_worker(server.hosts, "--import-path", str(tasks), "--loader", "bad_loader:load")
    assert ended.returncode == 1
    assert reason in ended.stderr
    assert "no licence" in ended.stderr


def test_a_module_with_a_name_of_pythons_own_is_named_as_the_reason(
    server: Any, dispatcher: Dispatcher, tasks: Path
) -> None:
    assert dispatcher
    (tasks / "logging.py").write_text("raise ImportError('this is my own module')")
    ended = run_worker(server.hosts, "--import-path", str(tasks))
    assert ended.returncode == 1
    assert "this is my own module" in ended.stderr


@pytest.mark.parametrize("options", [[], ["--threads"]], ids=["processes", "threads"])
def test_the_working_directory_is_on_the_path_only_if_it_is_given(
    dispatcher: Dispatcher,
    start_worker: StartWorker,
    tasks: Path,
    tmp_path: Path,
    options: list[str],
) -> None:
    for name in ("queue", "token", "email", "random"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not this one')")
    without = start_worker(*options, cwd=tmp_path)
    request = JobRequest("life_tasks:echo", "flights", "1")
    [job] = all_results(dispatcher.submit_batch([request], reuse=False))
    assert str(tasks) in job.result
    assert not {"", ".", str(tmp_path)} & set(job.result)
    without.kill()
    (tmp_path / "other").mkdir()
    start_worker(*options, "--import-path", ".", cwd=tmp_path / "other")
    [job] = all_results(dispatcher.submit_batch([request], reuse=False))
    assert str(tmp_path / "other") in job.result


@pytest.fixture(scope="module")
def zip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """zoolet as one file that Python runs."""
    directory = tmp_path_factory.mktemp("zip")
    shutil.copytree(
        Path(zoolet.__file__).parent,
        directory / "app" / "zoolet",
        ignore=shutil.ignore_patterns("*.so", "__pycache__"),
    )
    zipapp.create_archive(directory / "app", directory / "app.pyz", main="zoolet.cli:main")
    return directory / "app.pyz"


@pytest.mark.parametrize("case", ["processes", "threads", "killed"])
def test_a_worker_runs_from_a_zip_file(
    dispatcher: Dispatcher, server: Any, tasks: Path, zip_file: Path, case: str
) -> None:
    options = ["--threads"] if case == "threads" else ["--executors", "2"]
    with subprocess.Popen(
        [sys.executable, zip_file.name, "worker", "--server", server.hosts, "--queue", ROOT,
         "--import-path", str(tasks), *options],
        stdout=subprocess.PIPE,
        text=True,
        cwd=zip_file.parent,
    ) as worker:  # fmt: skip
        try:
            if case == "killed":
                batch = dispatcher.submit_batch([waiting(tasks)])
                pid, *_ = pids_of(tasks)
                os.kill(pid, signal.SIGKILL)
                # Another attempt is made, by a process that was started after that one.
                let_go(tasks)
                assert next_result(batch).attempts == 2
            [job] = all_results(dispatcher.submit_batch([JobRequest("life_tasks:echo", "f", "1")]))
            assert str(zip_file) in job.result
        finally:
            worker.terminate()
        assert worker.wait(TIMEOUT_S) == 0


# --- Signals


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_of_a_unit_lets_the_attempt_finish(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, signum: int
) -> None:
    worker = start_worker("--grace-ms", "60000")
    batch = dispatcher.submit_batch([waiting(tasks)])
    pid, watcher, *_ = pids_of(tasks)
    for one in (pid, watcher, worker.process.pid):
        os.kill(one, signum)
    assert worker.process.stdout is not None
    assert worker.process.stdout.readline().startswith("stopping")
    let_go(tasks)
    assert next_result(batch).result == "went"
    assert worker.process.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize("options", [[], ["--threads"]], ids=["processes", "threads"])
def test_a_second_signal_returns_all_jobs_and_ends_the_worker(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, options: list[str]
) -> None:
    worker = start_worker("--grace-ms", "600000", *options)
    batch = dispatcher.submit_batch([waiting(tasks), number(1)])
    pids = pids_of(tasks)
    worker.process.terminate()
    assert worker.process.stdout is not None
    assert worker.process.stdout.readline().startswith("stopping")
    worker.process.send_signal(signal.SIGINT)
    assert worker.process.wait(TIMEOUT_S) == 0
    assert sorted(job.name for job in dispatcher.queue.waiting()) == sorted(batch.names)
    assert [job.attempts for job in dispatcher.queue.jobs()] == [0, 0]
    if not options:
        wait_for_ends(pids)
    for pid in pids[2:]:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_a_job_is_given_back_that_is_being_recorded_as_running(
    dispatcher: Dispatcher, server: Any, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder's move is made, and it does not know it yet, when the worker stops."""
    recording = threading.Event()

    def slow(znodes: Znodes, operations: Sequence[Operation], **options: Any) -> Any:
        results = multi(znodes, operations, **options)
        if any(isinstance(one, SetData) and b'"RUNNING"' in one.data for one in operations):
            recording.set()
            time.sleep(0.3)
        return results

    multi = Znodes.multi
    monkeypatch.syspath_prepend(tasks)
    monkeypatch.setattr(Znodes, "multi", slow)
    with Worker(server.hosts, ROOT) as worker:
        batch = dispatcher.submit_batch([waiting(tasks)])
        assert recording.wait(TIMEOUT_S)
        worker.stop(0)
    assert [job.name for job in dispatcher.queue.waiting()] == batch.names
    assert [job.attempts for job in dispatcher.queue.jobs()] == [0]


def test_as_process_1_it_passes_on_signals_and_leaves_no_zombie(
    dispatcher: Dispatcher, start_worker: StartWorker
) -> None:
    prefix = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"]
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs the right to create process namespaces: run the tests as root")
    # Tasks in threads: their orphans have no other ancestor than process 1.
    worker = start_worker("--threads", prefix=prefix)
    batch = dispatcher.submit_batch(
        [JobRequest("life_tasks:orphan", "flights", str(n)) for n in range(5)]
    )
    assert {job.state for job in all_results(batch)} == {JobState.SUCCESSFUL}
    [init] = children_of(worker.process.pid)
    # Its only child that is left is the worker.
    wait_until(lambda: len(children_of(init)) == 1, "the end of the orphans")
    os.kill(init, signal.SIGTERM)
    assert worker.process.wait(TIMEOUT_S) == 0
    assert worker.process.stdout is not None
    assert "stopping" in worker.process.stdout.read()


def children_of(pid: int) -> list[int]:
    """Return the children of a process, zombies too."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # It has ended.
            if stat.read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append(int(stat.parent.name))
    return found


# --- Kill -9


@pytest.mark.parametrize("spins", [False, True], ids=["waits", "holds the GIL"])
def test_all_processes_of_a_worker_end_with_it(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, spins: bool
) -> None:
    worker = start_worker("--executors", "2")
    dispatcher.submit_batch([waiting(tasks, "a", spins=spins), waiting(tasks, "b", spins=spins)])
    pids = [pid for name in "ab" for pid in pids_of(tasks, name)]
    assert all(map(is_alive, pids))
    worker.kill()
    wait_for_ends(pids)


def test_all_processes_of_a_worker_end_with_its_process_group(
    dispatcher: Dispatcher, server: Any, tasks: Path
) -> None:
    """As `timeout -s KILL` or a terminal does it."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "zoolet", "worker", "--server", server.hosts, "--queue", ROOT,
         "--import-path", str(tasks)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    dispatcher.submit_batch([waiting(tasks)])
    pids = pids_of(tasks)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(TIMEOUT_S)
    wait_for_ends(pids)


@pytest.mark.parametrize("error", [MemoryError("no room"), struct.error("odd"), KeyError("xid")])
@pytest.mark.parametrize("where", ["receive", "send"])
def test_a_worker_ends_with_the_reason_if_a_thread_of_its_client_fails(
    server: Any, caplog: pytest.LogCaptureFixture, where: str, error: Exception
) -> None:
    class Failing(socket.socket):
        def send(self, *_: object) -> int:
            raise error

    def fail(*_: object) -> bytes:
        raise error

    caplog.set_level(logging.INFO)
    worker: Any = Worker(server.hosts, ROOT, threads=True)
    worker.start()
    transport = worker._run._link.client._engine.transport
    working = transport._connection
    if where == "receive":
        transport._receive = fail
    else:
        # A copy of the descriptor: a thread that waits in the working one must not see it close.
        failing = Failing(fileno=os.dup(working.fileno()))
        transport._receive, transport._connection = failing.recv, failing
    wait_until(lambda: worker.failure is not None, "the end of the worker")
    # The error comes in a thread of the worker that waits for a reply, or in the client's own one.
    assert worker.failure is error or "to ZooKeeper is closed" in str(worker.failure)
    assert traceback.format_exception_only(error)[-1].strip() in caplog.text
    with contextlib.suppress(JobError), contextlib.closing(working):
        worker.stop()
