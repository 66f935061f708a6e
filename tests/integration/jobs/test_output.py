"""What tasks print and log: in the worker's log with its label, and its end with the job."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, TIMEOUT_S, WorkerProcess, all_results, next_result
from tests.support.waiting import wait_until
from zoolet.cli import main
from zoolet.jobs import Dispatcher, Job, JobRequest, JobState, Worker
from zoolet.jobs.execution.output import LOGGED_BYTES

TASKS = '''
import atexit, ctypes, logging, os, subprocess, sys, time, warnings
from pathlib import Path

print("at import")
atexit.register(print, "at the end")

def load(dataset, groupid):
    print(f"loading {groupid}")
    return groupid

def say(group, parameters):
    print("printed")
    print("no line end", end="")
    os.write(2, b"\\nby descriptor\\n")
    subprocess.run(["sh", "-c", "echo by a subprocess"])
    ctypes.CDLL(None).puts(b"by C code")
    logging.getLogger("my.logger").warning("logged %d", 7)
    logging.getLogger("my.logger").debug("too much")
    warnings.warn("warned", stacklevel=1)

def twice(group, parameters):
    """Fail at the first attempt."""
    marker = Path(parameters["marker"])
    if not marker.exists():
        marker.touch()
        print("first attempt")
        raise ValueError("not yet")
    print("second attempt")

def meet(group, parameters):
    """Run at the same time as the other job, so in another executor."""
    Path(parameters["own"]).touch()
    while not Path(parameters["other"]).exists():
        time.sleep(0.01)

def control(group, parameters):
    print("\\x1b[31mred\\r\\n2026-01-01 00:00:00,000 ERROR   root: forged\\x07")

def flood(group, parameters):
    for _ in range(parameters["mb"]):
        os.write(1, (b"x" * 99 + b"\\n") * 10_486)
    print("the end")

def crash(group, parameters):
    print("before the crash")
    ctypes.string_at(0)

def hang(group, parameters):
    print("before the timeout")
    time.sleep(600)

def leave_behind(group, parameters):
    """Start a process that writes when it is told to, after the attempt."""
    subprocess.Popen(["sh", "-c", f"read line < {parameters['pipe']}; echo late"])
    print("left")
'''


class Log:
    """What a worker has logged as JSON."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def records(self, job: str | None = None) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [record for record in found if job is None or record.get("job") == job]

    def wait_for(self, message: str) -> dict[str, Any]:
        """Return the record with a message, once it is there."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            # The last line may be on its way.
            lines = self.path.read_text().rpartition("\n")[0].splitlines()
            # With --threads, tasks write here too.
            records = [json.loads(line) for line in lines if line.startswith("{")]
            found[:] = [record for record in records if message in record["message"]]
            return bool(found)

        wait_until(is_there, f"{message!r} is not in the log")
        return found[0]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    (tmp_path / "loud_tasks.py").write_text(TASKS)
    return tmp_path


StartWorker = Callable[..., tuple[WorkerProcess, Log]]


@pytest.fixture
def start_worker(server: Any, client: KazooClient, tasks: Path) -> Iterator[StartWorker]:
    assert client.connected
    started: list[WorkerProcess] = []

    def start(
        *options: str, log_format: str = "json", loader: str | None = "loud_tasks:load"
    ) -> tuple[WorkerProcess, Log]:
        path = tasks / f"log{len(started)}"
        with path.open("w") as stderr:
            worker = WorkerProcess(
                server.hosts, tasks, "--log-format", log_format, *options,
                loader=loader, stderr=stderr,
            )  # fmt: skip
        started.append(worker)
        return worker, Log(path)

    yield start
    for worker in started:
        worker.close()


def run(dispatcher: Dispatcher, task: str, **parameters: Any) -> Job:
    options = {name: parameters.pop(name) for name in ("timeout_ms",) if name in parameters}
    attempts = 2 if task == "twice" else 1
    request = JobRequest(
        f"loud_tasks:{task}", "d", "1", parameters, max_attempts=attempts, **options
    )
    return next_result(dispatcher.submit_batch([request]))


def shown(server: Any, job: Job, *options: str) -> str:
    """Return what `zoolet jobs logs` shows."""
    queue = ["--server", server.hosts, "--queue", ROOT]
    result = CliRunner().invoke(main, ["jobs", "logs", *queue, job.name, *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_all_that_a_task_prints_is_in_the_log_and_with_the_job(
    dispatcher: Dispatcher, start_worker: StartWorker, server: Any
) -> None:
    worker, log = start_worker()
    job = run(dispatcher, "say")
    log.wait_for("warned")
    assert job.state is JobState.SUCCESSFUL, job.errors
    records = log.records(job.name)
    found = [(record["level"], record["logger"], record["message"]) for record in records]
    printed = [
        "at import", "loading 1", "printed", "no line end", "by descriptor", "by a subprocess",
        "by C code",
    ]  # fmt: skip
    # The loader's module was imported before the first attempt.
    assert log.wait_for("at import")["process"] > 0
    assert found[:-2] == [("info", "zoolet.jobs.execution.output", line) for line in printed[1:]]
    assert found[-2] == ("warning", "my.logger", "logged 7")
    assert found[-1][:2] == ("warning", "py.warnings")
    assert {(r["task"], r["attempt"]) for r in records} == {("loud_tasks:say", 1)}
    [output] = job.output
    assert (output.attempt, output.worker) == (1, worker.worker_id)
    assert output.last_lines.split("\n")[:6] == printed[1:]
    assert "WARNING my.logger: logged 7" in output.last_lines
    assert "    by C code\n" in shown(server, job)


def test_each_attempt_has_its_own_lines(
    dispatcher: Dispatcher, start_worker: StartWorker, server: Any, tasks: Path
) -> None:
    _, log = start_worker()
    job = run(dispatcher, "twice", marker=str(tasks / "marker"))
    assert [(o.attempt, o.last_lines) for o in job.output] == [
        (1, "loading 1\nfirst attempt"), (2, "second attempt"),
    ]  # fmt: skip
    text = shown(server, job)
    assert "ValueError: not yet\n    loading 1\n    first attempt\n" in text
    assert text.endswith("no error\n    second attempt\n")
    assert "second" not in shown(server, job, "--attempt", "1")
    assert "no attempt 3" in shown(server, job, "--attempt", "3")
    failure = log.wait_for("the attempt failed, the job is now PENDING")
    assert (failure["job"], failure["task"], failure["attempt"]) == (
        job.name, "loud_tasks:twice", 1,
    )  # fmt: skip
    assert "in twice" in failure["message"]
    assert "ValueError: not yet" in failure["message"]


def test_text_of_a_task_neither_forges_records_nor_controls_a_terminal(
    dispatcher: Dispatcher, start_worker: StartWorker, server: Any
) -> None:
    _, log = start_worker(log_format="text")
    job = run(dispatcher, "control")
    wait_until(lambda: "forged" in log.path.read_text(), "the line is not in the log")
    lines = log.path.read_text().splitlines()
    assert all("zoolet.jobs" in line for line in lines if "forged" in line)
    assert log.path.read_text().replace("\n", "").isprintable()
    assert "\\x1b[31mred" in shown(server, job)
    assert shown(server, job).replace("\n", "").isprintable()


def test_a_flood_blocks_nobody_and_fills_nothing(
    dispatcher: Dispatcher, start_worker: StartWorker
) -> None:
    worker, log = start_worker()
    job = run(dispatcher, "flood", mb=100)
    assert job.state is JobState.SUCCESSFUL, job.errors
    assert job.output[0].last_lines.endswith(f"{'x' * 99}\nthe end")
    left_out = log.wait_for("bytes of output are left out")
    assert int(left_out["message"].split()[0]) > 95_000_000
    assert log.path.stat().st_size < 6 * LOGGED_BYTES
    status = Path(f"/proc/{worker.process.pid}/status")
    if status.exists():
        [most] = [line for line in status.read_text().splitlines() if "VmHWM" in line]
        assert int(most.split()[1]) < 300_000, most


@pytest.mark.parametrize(
    ("task", "options", "error", "lines"),
    [
        ("crash", {}, "its process died: SIGSEGV", ["before the crash", "Segmentation fault"]),
        ("hang", {"timeout_ms": 500}, "it took longer", ["before the timeout"]),
    ],
)
def test_what_was_printed_before_a_violent_end_is_kept(
    dispatcher: Dispatcher, start_worker: StartWorker, task: str, options: Any, error: str,
    lines: list[str],
) -> None:  # fmt: skip
    _, log = start_worker()
    job = run(dispatcher, task, **options)
    assert error in job.errors[0].message
    for line in lines:
        assert line in job.output[0].last_lines
        assert log.wait_for(line)["job"] == job.name
    assert run(dispatcher, "say").state is JobState.SUCCESSFUL


def test_what_a_process_writes_that_outlives_its_attempt_is_the_executors(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path
) -> None:
    _, log = start_worker()
    os.mkfifo(tasks / "pipe")
    job = run(dispatcher, "leave_behind", pipe=str(tasks / "pipe"))
    with (tasks / "pipe").open("w") as pipe:
        pipe.write("now\n")
    record = log.wait_for("late")
    assert "job" not in record
    assert record["process"] > 0
    assert "late" not in job.output[0].last_lines


def test_an_executor_ends_in_order_and_its_last_words_are_logged(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path
) -> None:
    worker, log = start_worker("--executors", "2")
    files = [str(tasks / name) for name in ("one", "two")]
    pairs = [{"own": own, "other": other} for own, other in (files, reversed(files))]
    all_results(
        dispatcher.submit_batch([JobRequest("loud_tasks:meet", parameters=one) for one in pairs])
    )
    worker.process.terminate()
    assert worker.process.wait(TIMEOUT_S) == 0
    assert len([r for r in log.records() if r["message"] == "at the end"]) == 2


@pytest.mark.parametrize(("level", "expected"), [("error", 0), ("warning", 1), ("debug", 2)])
def test_the_level_holds_for_tasks(
    dispatcher: Dispatcher, start_worker: StartWorker, level: str, expected: int
) -> None:
    worker, log = start_worker("--log-level", level)
    job = run(dispatcher, "say")
    worker.process.terminate()
    assert worker.process.wait(TIMEOUT_S) == 0
    found = [r for r in log.records(job.name) if r["logger"] == "my.logger"]
    assert len(found) == expected
    assert "printed" in job.output[0].last_lines


def test_records_of_tasks_in_threads_have_their_label(
    dispatcher: Dispatcher, start_worker: StartWorker
) -> None:
    _, log = start_worker("--threads", loader=None)
    job = run(dispatcher, "say")
    record = log.wait_for("logged 7")
    assert (record["job"], record["task"], record["attempt"]) == (job.name, "loud_tasks:say", 1)
    assert job.output == ()


def test_a_worker_in_a_program_logs_with_the_programs_settings(
    dispatcher: Dispatcher, server: Any, tasks: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.syspath_prepend(tasks)
    with Worker(server.hosts, ROOT, loader="loud_tasks:load"):
        job = run(dispatcher, "say")
    assert f"[{job.name} loud_tasks:say attempt 1] logged 7" in caplog.messages
