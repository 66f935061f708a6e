"""The life of an executor's process: its end, what ends with it, and how it is started again."""

import errno
import inspect
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.executors import Listening, work
from tests.support.waiting import wait_until
from zoolet.jobs.errors import ExecutorError
from zoolet.jobs.execution import process_executor, process_starts, watcher
from zoolet.jobs.execution.attempts import Setup, Work
from zoolet.jobs.execution.child_process import ChildProcess, signal_name
from zoolet.jobs.execution.functions import absolute_paths
from zoolet.jobs.execution.process_executor import ProcessExecutor

TASKS = '''
import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

def echo(group, parameters):
    return parameters

def end_by(group, parameters):
    os.kill(os.getpid(), parameters["signal"])

def write_pid(group, parameters):
    """Write the pids of this process and of a subprocess, and wait."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=parameters.get("leaves", False))
    Path(parameters["file"] + ".new").write_text(f"{os.getpid()} {child.pid}")
    os.rename(parameters["file"] + ".new", parameters["file"])
    if parameters.get("spins"):
        sum(iter(int, 1))
    time.sleep(600)

def pid(group, parameters):
    """Return the pid of this process."""
    return os.getpid()

def leave_child(group, parameters):
    """Leave a process behind that has a session of its own, and return its pid."""
    return subprocess.Popen(["sleep", "600"], start_new_session=True).pid

def signalled(group, parameters):
    os.kill(os.getpid(), parameters["signal"])
    return "lives"

def set_handlers(group, parameters):
    """Let signals end this process, and forget about it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)

def end_children(group, parameters):
    """End a program and a forked child by SIGTERM, and return their exit codes."""
    program = subprocess.Popen(["sleep", "600"])
    program.terminate()
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    child.start()
    child.terminate()
    child.join()
    return [program.wait(), child.exitcode]

def at_exit(group, parameters):
    atexit.register(Path(parameters["file"]).touch)

def hang_at_exit(group, parameters):
    atexit.register(time.sleep, 600)

def path(group, parameters):
    return sys.path
'''

Start = Callable[..., tuple[ProcessExecutor, Listening]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    (tmp_path / "life_tasks.py").write_text(TASKS)
    monkeypatch.setattr(process_starts, "BACKOFF_FIRST_S", 0.001)
    monkeypatch.setattr(process_starts, "BACKOFF_MOST_S", 0.01)
    started: list[ProcessExecutor] = []

    def start(loader: str | None = None) -> tuple[ProcessExecutor, Listening]:
        listening = Listening()
        paths = (str(tmp_path), *absolute_paths(sys.path))
        executor = ProcessExecutor(Setup(loader, import_paths=paths), listening)
        started.append(executor)
        executor.start()
        return executor, listening

    yield start
    for executor in started:
        executor.stop()
        executor.join()


def life(name: str, task: str, **parameters: Any) -> Work:
    return work(name, task, module="life_tasks", **parameters)


def pids_in(file: Path) -> list[int]:
    wait_until(file.exists, "the task")
    return [int(pid) for pid in file.read_text().split()]


def is_alive(pid: int) -> bool:
    """Say whether a process runs; a zombie has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- How it ends


def refuse(*_: int) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def kill_watcher_of(pid: int) -> None:
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)


def assert_all_end(
    executor: ProcessExecutor, listening: Listening, tmp_path: Path, leaves: bool
) -> None:
    """Give a job up, and see its process and its subprocess end."""
    executor.give([life("a", "write_pid", file=str(tmp_path / "pids"), leaves=leaves)])
    pids = pids_in(tmp_path / "pids")
    executor.abandon(["a"])
    listening.wait_for("freed")
    assert [is_alive(pid) for pid in pids] == [False, False]


@pytest.mark.parametrize(
    ("number", "name"),
    [(40, "signal 40"), (signal.SIGSEGV, "SIGSEGV"), (signal.SIGUSR1, "SIGUSR1")],
)
def test_any_signal_that_ends_a_process_costs_one_attempt(
    start: Start, number: int, name: str
) -> None:
    executor, listening = start()
    executor.give([life("dies", "end_by", signal=number), life("b", "echo", n=1)])
    died, done = listening.wait_for("ended", 2)
    assert died.error == f"its process died: {name}"
    assert done.result.decode() == {"n": 1}
    assert signal_name(number) == name


@pytest.mark.parametrize("leaves", [False, True], ids=["its group", "another session"])
def test_what_a_task_has_started_ends_with_its_process(
    start: Start, tmp_path: Path, leaves: bool
) -> None:
    executor, listening = start()
    assert_all_end(executor, listening, tmp_path, leaves)


def test_what_a_process_leaves_behind_ends_with_the_executor(start: Start) -> None:
    executor, listening = start()
    executor.give([life("a", "leave_child")])
    [left] = listening.wait_for("ended")
    executor.stop()
    executor.join()
    assert not is_alive(left.result.decode())


def test_an_idle_process_ends_in_order(start: Start, tmp_path: Path) -> None:
    executor, listening = start()
    executor.give([life("a", "at_exit", file=str(tmp_path / "exited"))])
    listening.wait_for("ended")
    executor.stop()
    executor.join()
    assert (tmp_path / "exited").exists()


def test_a_process_that_does_not_end_in_order_is_killed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_executor, "END_LIMIT_S", 0.01)
    executor, listening = start()
    executor.give([life("a", "hang_at_exit")])
    listening.wait_for("ended")
    executor.stop()
    executor.join()
    assert not executor._runner.is_alive()


def test_a_process_whose_watcher_is_killed_ends(start: Start, tmp_path: Path) -> None:
    executor, listening = start()
    executor.give([life("a", "write_pid", file=str(tmp_path / "pids")), life("b", "echo")])
    pid, _ = pids_in(tmp_path / "pids")
    kill_watcher_of(pid)
    died, done = listening.wait_for("ended", 2)
    assert died.error == "its process died: its watcher was killed"
    assert done.error is None
    wait_until(lambda: not is_alive(pid), "the end of the process")


def test_a_group_that_may_not_be_killed_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS, killpg raises PermissionError for a group of zombies."""

    pid = os.posix_spawnp("sleep", ["sleep", "600"], os.environ)
    monkeypatch.setattr(os, "killpg", refuse)
    wakes, wake = os.pipe()
    watched = watcher._Watched(pid, wakes)
    watched.kill()
    os.close(wakes)
    os.close(wake)
    assert watched.status == signal.SIGKILL


REFUSING = """
import os
def refuse(*_):
    raise PermissionError(1, "Operation not permitted")
os.killpg = refuse
"""


@pytest.mark.parametrize("leaves", [False, True])
def test_a_watcher_that_may_not_kill_a_group_ends_all_processes(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    source = inspect.getsource(watcher)
    monkeypatch.setattr(inspect, "getsource", lambda _: REFUSING + source)
    executor, listening = start()
    assert_all_end(executor, listening, tmp_path, leaves)
    executor.give([life("b", "echo", n=1)])
    [done] = listening.wait_for("ended")
    assert done.result.decode() == {"n": 1}


def test_a_worker_that_may_not_kill_a_group_starts_another_process(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, listening = start()
    executor.give([life("a", "write_pid", file=str(tmp_path / "pids")), life("b", "echo", n=1)])
    pid, _ = pids_in(tmp_path / "pids")
    monkeypatch.setattr(os, "killpg", refuse)
    kill_watcher_of(pid)
    died, done = listening.wait_for("ended", 2)
    assert died.error == "its process died: its watcher was killed"
    assert done.result.decode() == {"n": 1}


# --- Signals


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_that_stop_programs_do_not_end_an_attempt(start: Start, signum: int) -> None:
    executor, listening = start()
    executor.give([life("a", "signalled", signal=signum)])
    [outcome] = listening.wait_for("ended")
    assert outcome.error is None
    assert outcome.result.decode() == "lives"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_handlers_that_a_task_sets_are_for_its_own_attempt(start: Start, signum: int) -> None:
    executor, listening = start()
    executor.give([life("a", "set_handlers"), life("b", "signalled", signal=signum)])
    _, outcome = listening.wait_for("ended", 2)
    assert outcome.error is None
    assert outcome.result.decode() == "lives"


def test_a_task_can_end_its_children_by_sigterm(start: Start) -> None:
    executor, listening = start()
    executor.give([life("a", "end_children")])
    [outcome] = listening.wait_for("ended")
    assert outcome.error is None
    assert outcome.result.decode() == [-signal.SIGTERM] * 2


# --- How it is started again


def no_descriptors(*_: object, **__: object) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize("what", ["pipe", "program", "popen"])
def test_an_executor_that_cannot_be_started_for_a_while_goes_on(
    start: Start, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(process_starts, "START_TRIES_WITHOUT_RESOURCES", 10_000)
    executor, listening = start()
    executor.wait_until_ready()
    with monkeypatch.context() as broken:
        if what == "pipe":
            broken.setattr(os, "pipe", no_descriptors)
        elif what == "program":
            broken.setattr(sys, "executable", "/no/such/program")
        else:
            broken.setattr(subprocess, "Popen", no_descriptors)
        executor.give([life("dies", "end_by", signal=9), life("b", "echo", n=1)])
        # What it cannot attempt is returned, and others can have it.
        assert listening.wait_for("returned") == [["b"]]
        assert executor.is_stuck()
    listening.wait_for("freed")
    assert not executor.is_stuck()
    executor.give([life("b", "echo", n=1)])
    _, done = listening.wait_for("ended", 2)
    assert done.result.decode() == {"n": 1}
    assert listening.of("failed") == []


def test_an_executor_that_cannot_be_started_any_more_says_so(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, listening = start()
    executor.wait_until_ready()
    monkeypatch.setattr(subprocess, "Popen", no_descriptors)
    executor.give([life("dies", "end_by", signal=9), life("b", "echo")])
    [failure] = listening.wait_for("failed")
    assert "Too many open files" in str(failure)
    assert executor.is_stuck()
    assert listening.of("returned") == [["b"]]


def test_a_start_that_fails_leaves_no_descriptor_open(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    monkeypatch.setattr(subprocess, "Popen", no_descriptors)
    with pytest.raises(OSError, match="Too many open files"):
        ChildProcess(Setup())
    assert len(list(descriptors.iterdir())) == before


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import os, sys; print('no licence', file=sys.stderr, flush=True); os.abort()", "SIGABRT"),
        ("import os; os.write(2, b'no licence'); os._exit(5)", "exit status 5"),
        ("import os; os.write(1, b'no licence'); os.kill(os.getpid(), 40)", "signal 40"),
    ],
)
def test_a_process_that_never_gets_ready_fails_the_start_with_what_it_wrote(
    start: Start, tmp_path: Path, source: str, reason: str
) -> None:
    (tmp_path / "bad_loader.py").write_text(source)
    executor, _ = start("bad_loader:load")
    with pytest.raises(ExecutorError) as raised:
        executor.wait_until_ready()
    assert f"(tries: {process_starts.START_TRIES})" in str(raised.value)
    assert reason in str(raised.value)
    assert "no licence" in str(raised.value)


SOON = """
import os, threading
def end():
    {}
threading.Timer(0.05, end).start()
def load(dataset, groupid):
    pass
"""


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("os.write(2, b'no licence'); os.abort()", "SIGABRT"),
        ("os.write(1, b'no licence'); os._exit(0)", "exit status 0"),
        ("os.write(2, b'no licence'); os.kill(os.getpid(), 40)", "signal 40"),
    ],
)
def test_processes_that_end_soon_after_they_are_ready_end_the_executor(
    start: Start, tmp_path: Path, end: str, reason: str
) -> None:
    (tmp_path / "bad_loader.py").write_text(SOON.format(end))
    executor, listening = start("bad_loader:load")
    try:
        executor.wait_until_ready()
    except ExecutorError as error:
        failure: Exception = error
    else:
        [failure] = listening.wait_for("failed")
    assert f"(tries: {process_starts.START_TRIES})" in str(failure)
    assert reason in str(failure)
    assert "no licence" in str(failure)


def test_a_process_that_is_killed_while_it_is_idle_is_started_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often, if it has been ready for a while."""
    monkeypatch.setattr(process_executor, "YOUNG_S", 0.0)
    executor, listening = start()
    for number in range(process_starts.START_TRIES + 1):
        executor.give([life(f"{number}", "pid")])
        *_, outcome = listening.wait_for("ended", number + 1)
        os.kill(outcome.result.decode(), signal.SIGKILL)
    executor.give([life("last", "echo", n=1)])
    *_, outcome = listening.wait_for("ended", process_starts.START_TRIES + 2)
    assert outcome.result.decode() == {"n": 1}


def test_the_working_directory_is_no_place_to_import_from(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules there have the names of Python's own, which an executor needs."""
    (tmp_path / "cwd").mkdir()
    for name in ("queue", "token", "email", "random", "json", "signal", "contextlib"):
        (tmp_path / "cwd" / f"{name}.py").write_text("raise ImportError('not this one')")
    monkeypatch.chdir(tmp_path / "cwd")
    executor, listening = start()
    executor.give([life("a", "path")])
    [outcome] = listening.wait_for("ended")
    assert outcome.error is None
    assert str(tmp_path) in outcome.result.decode()
    assert {"", str(tmp_path / "cwd")} & set(outcome.result.decode()) == set()


# --- All of it, at random


@pytest.mark.parametrize("seed", range(3))
def test_each_job_is_told_of_once_whatever_happens(start: Start, seed: int) -> None:
    """Jobs are given, given up, recalled and die; each is told of as ended or returned, once."""
    chance = random.Random(seed)
    executor, listening = start()
    given: list[str] = []
    dropped: set[str] = set()
    for number in range(40):
        name = f"{number}"
        task = chance.choice(["echo", "echo", "echo", "end_by", "signalled"])
        number_of = {"end_by": chance.choice([9, 11, 40]), "signalled": signal.SIGTERM}.get(task)
        executor.give([life(name, task, signal=number_of)])
        given.append(name)
        if chance.random() < 0.1:
            executor.recall()
        if chance.random() < 0.1:
            dropped.add(chance.choice(given))
            executor.abandon(dropped)
    executor.give([life("last", "echo")])

    def told() -> Counter[str]:
        with listening.changed:
            ended = [news[1] for news in listening.news if news[0] == "ended"]
            returned = [name for names in listening.of("returned") for name in names]
        return Counter([*ended, *returned])

    wait_until(lambda: told()["last"] == 1, "the last job")
    assert set(told().values()) == {1}
    assert {*given, "last"} - told().keys() <= dropped
    wait_until(lambda: not executor.is_stuck(), "room for another job")
