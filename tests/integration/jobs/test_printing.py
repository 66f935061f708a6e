"""What the commands print: data is no markup and no control code, lines are not wrapped, JSON."""

import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pexpect
import pytest
from click.testing import CliRunner, Result
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, TIMEOUT_S, WorkerProcess, write_tasks
from tests.support.waiting import wait_until
from zoolet.cli import main
from zoolet.jobs import Batch, Dispatcher, JobRequest

NASTY = (
    "[/b]", "[bold red]x[/]", "[link=file:///etc/passwd]x[/link]", "\\[", "[[", ":smile:",
    "[@click=x]",
    "\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\r", "\n", "\t", "\b", "\u202e", "\u2028", "ü漢",
    "%s{0}",
)  # fmt: skip
CONTROLS = {chr(code) for code in (*range(9), 11, 12, *range(13, 32), *range(127, 160))} | {
    "\u202e",
    "\u2028",
}

Run = Callable[..., Result]


def invoke(server: Any, root: str, *arguments: str, status: int | None = 0) -> Result:
    where = ("--server", server.hosts, "--queue", root)
    result = CliRunner().invoke(main, ["jobs", arguments[0], *where, *arguments[1:]])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert status is None or result.exit_code == status, result.output
    return result


@pytest.fixture
def run(server: Any) -> Run:
    return lambda *arguments, **options: invoke(server, ROOT, *arguments, **options)


def fail_once(dispatcher: Dispatcher, request: JobRequest, error: str) -> str:
    """Submit a job that a worker of this process fails."""
    queue = dispatcher.queue
    queue.register("w")
    [name] = dispatcher.submit_batch([request], reuse=False).names
    queue.fail(queue.own_job(name, "w"), error)
    return name


def nasty(chance: random.Random) -> str:
    return "".join(chance.choices(NASTY, k=chance.randint(1, 4)))


# --- Text of others


def test_a_queue_path_with_markup(server: Any) -> None:
    root = "/jobs/[/b]"
    for command in ("create", "status", "list", "pause", "resume", "export", "top", "configure"):
        output = invoke(server, root, command).output
        assert root in output or command in {"list", "export"}


@pytest.mark.parametrize("seed", range(6))
def test_no_command_takes_data_for_markup_or_control_codes(
    server: Any, client: KazooClient, seed: int
) -> None:
    chance = random.Random(seed)
    path_part = "".join(c for c in nasty(chance) if c not in CONTROLS and c not in "\n\t/")
    root = f"/jobs/q{path_part}"
    with Dispatcher(client, root, create=True) as dispatcher:
        error = nasty(chance)
        request = JobRequest(
            nasty(chance), nasty(chance), nasty(chance), {nasty(chance): nasty(chance)},
            max_attempts=1,
        )  # fmt: skip
        failed = fail_once(dispatcher, request, error)
        batch = f"b{path_part}"
        dispatcher.submit_batch(
            [JobRequest(nasty(chance), nasty(chance), nasty(chance), max_attempts=1)], name=batch
        )
        report = {"executors": nasty(chance), "kind": nasty(chance), "successful": [nasty(chance)],
                  "cache_hits": nasty(chance)}  # fmt: skip
        client.create(f"{root}/workers/x{path_part}", json.dumps(report).encode())
        dispatcher.queue.pause(nasty(chance))
        commands: list[tuple[str, ...]] = [
            ("status",), ("list",), ("list", "--batch", batch), ("show", failed),
            ("show", "--batch", batch), ("top",), ("export",),
            ("configure", "--keep-done-jobs", "9"),
            ("pause",), ("pause", "--dataset", nasty(chance)), ("resume",), ("show", nasty(chance)),
            ("list", "--batch", nasty(chance)), ("show", "--batch", nasty(chance)),
            ("submit", "--task", nasty(chance), "--dataset", nasty(chance), "--group",
             nasty(chance), "--parameters", json.dumps({"x": nasty(chance)})),
            ("submit", "--task", "t", "--dataset", "d", "--group", "1", "--batch", nasty(chance)),
            ("configure", "--result-store", nasty(chance)), ("retry", nasty(chance)),
            ("cancel", nasty(chance)), ("retry", failed), ("cancel", "--batch", batch),
            ("purge", "--keep", "0"), ("create", "--acl", nasty(chance)),
        ]  # fmt: skip
        for command in commands:
            text = invoke(server, root, *command, status=None)
            assert not CONTROLS & set(text.output), (command, text.output)
            assert "Traceback" not in text.output
            if command[0] not in {"cancel", "retry", "purge", "pause", "resume", "submit"}:
                again = invoke(server, root, *command, "--output", "json", status=text.exit_code)
                for line in again.stdout.splitlines():
                    json.loads(line)


def test_a_terminal_gets_no_markup_of_a_job(server: Any, dispatcher: Dispatcher) -> None:
    error = "[/b] \x1b[31mred"
    fail_once(dispatcher, JobRequest("[bold]t", "[/b]d", "\x1b[2Jg", max_attempts=1), error)
    for command in (["status"], ["list"], ["top", "--rounds", "1"]):
        arguments = ["-m", "zoolet", "jobs", *command, "--server", server.hosts, "--queue", ROOT]
        terminal = pexpect.spawn(
            sys.executable, arguments, encoding="utf-8", dimensions=(50, 200), timeout=TIMEOUT_S,
        )  # fmt: skip
        shown = terminal.read()
        terminal.close()
        assert terminal.exitstatus == 0, shown
        assert "\x1b[2J" not in shown
        assert "\x1b[31mred" not in shown
        if command != ["status"]:
            assert "[bold]t" in shown
            assert "\\x1b[31mred" in shown


# --- Programs read it


def test_a_program_gets_one_job_in_a_line(run: Run, dispatcher: Dispatcher) -> None:
    long = "g" * 200
    fail_once(dispatcher, JobRequest("m:f", "d", long, max_attempts=1), "first\nlast\tline")
    dispatcher.submit_batch([JobRequest("m:g", "d", str(n)) for n in range(3)])
    lines = run("list").stdout.splitlines()
    assert len(lines) == 4
    *_, failed = lines
    name, task, state, attempts, duration, worker, error = failed.split("\t")
    assert long in name
    assert (task, state, attempts, worker) == ("m:f", "FAILED", "1 of 1", "w")
    assert duration == ""
    assert error == "last\\tline"
    limited = run("list", "--limit", "2")
    assert len(limited.stdout.splitlines()) == 2
    assert "increase --limit" in limited.stderr
    found = [json.loads(line) for line in run("list", "--output", "json").stdout.splitlines()]
    assert [job["state"] for job in found] == ["PENDING", "PENDING", "PENDING", "FAILED"]
    assert found[3]["task"] == "m:f"
    assert found[3]["last_error"] == "last\tline"


def test_every_command_answers_in_json(run: Run, dispatcher: Dispatcher) -> None:
    def answer(*arguments: str) -> Any:
        [line] = run(*arguments, "--output", "json").stdout.splitlines()
        return json.loads(line)

    assert answer("create")["settings"]["shards"] == 1
    assert answer("configure", "--keep-done-jobs", "7")["settings"]["keep_done_jobs"] == 7
    job = ("--task", "m:f", "--dataset", "d")
    alone = answer("submit", *job, "--group", "1")
    assert alone["batch"] is None
    assert alone["jobs"][0]["origin"] == "NEW"
    assert answer("submit", *job, "--group", "2", "--batch", "night")["batch"] == "night"
    assert answer("status")["states"]["PENDING"] == 2
    assert answer("status")["waits_longest"]["why"].startswith("the queue has no worker")
    top = answer("top")
    assert (top["jobs"]["unowned"], top["running"], top["failed"]) == (2, [], [])
    assert answer("show", alone["jobs"][0]["job"])["task"] == "m:f"
    assert answer("show", "--batch", "night") == {"batch": "night", "jobs": 1, "PENDING": 1}
    assert answer("pause") == {"paused": True, "paused_datasets": []}
    assert answer("resume")["paused"] is False
    assert len(answer("cancel", "--batch", "night")["cancelled"]) == 1
    assert "retried" in answer("retry", "--batch", "night")
    assert dispatcher.queue.counts()["done"] == 0
    assert answer("purge", "--keep", "0") == {"jobs": 0, "batches": 0}
    assert len(run("export", "--output", "json").stdout.splitlines()) == 2
    group = main.get_command(None, "jobs")  # type: ignore[arg-type]
    assert isinstance(group, click.Group)
    for command in leaves(group):
        assert "--output" in {option for p in command.params for option in p.opts}, command.name


def leaves(group: click.Group) -> Iterator[click.Command]:
    """Yield the commands of a group, also those in groups inside it."""
    for command in group.commands.values():
        if isinstance(command, click.Group):
            yield from leaves(command)
        else:
            yield command


def test_top_and_list_show_what_runs_and_what_failed(
    server: Any, run: Run, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    write_tasks(tmp_path)
    fail_once(dispatcher, JobRequest("m:broken", "d", "1", max_attempts=1), "it is broken")
    worker = WorkerProcess(server.hosts, tmp_path)
    try:
        [name] = dispatcher.submit("pipe_tasks:spin", "d", "2", {"s": 600}).names
        wait_until(lambda: dispatcher.queue.find(name).state == "RUNNING", "the start of the job")
        shown = run("top").stdout
        [running] = [line for line in shown.splitlines() if line.startswith(name)]
        assert "pipe_tasks:spin" in running
        assert " ago)" in running
        assert worker.worker_id in running
        assert "m:broken" in shown
        assert "it is broken" in shown
        [found] = json.loads(run("top", "--output", "json").stdout)["running"]
        assert (found["job"], found["task"]) == (name, "pipe_tasks:spin")
        [line] = [line for line in run("list").stdout.splitlines() if line.startswith(name)]
        assert line.split("\t")[2] == "RUNNING"
        assert line.split("\t")[4].endswith("s")
    finally:
        worker.close()


def test_a_worker_tells_its_start_in_json(server: Any, tmp_path: Path) -> None:
    write_tasks(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "zoolet", "worker", "--import-path", str(tmp_path), "--output",
         "json"],
        stdout=subprocess.PIPE, text=True,
        env=os.environ | {"ZOOLET_SERVER": server.hosts, "ZOOLET_QUEUE": ROOT},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        assert (started["queue"], started["executors"]) == (ROOT, 1)
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT_S)


# --- Bad input


@pytest.mark.parametrize("command", ["status", "list", "top", "show", "purge", "export", "pause"])
def test_a_path_that_is_no_queue(server: Any, client: KazooClient, command: str) -> None:
    client.ensure_path("/some/where")
    more = {"show": ("x",), "purge": ("--keep", "1")}.get(command, ())
    for root in ("/some/where", "/no/where", "/"):
        output = invoke(server, root, command, *more, status=1).output
        assert f"there is no queue at {root}" in output
        assert f"zoolet jobs create --queue {root}" in output


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 400, b"\xff" * 400, b"\0\0\0\1x"]
)
@pytest.mark.parametrize("program", ["jobs", "worker"])
def test_a_server_that_is_no_zookeeper(program: str, answer: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    hosts = f"127.0.0.1:{listener.getsockname()[1]}"
    command = ["jobs", "status"] if program == "jobs" else ["worker"]
    completed = subprocess.run(
        [sys.executable, "-m", "zoolet", *command, "--server", hosts, "--queue", "/q",
         "--connect-timeout-ms", "500"],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    listener.close()
    assert completed.returncode == 1
    assert "no ZooKeeper server answers at" in completed.stderr
    assert "Traceback" not in completed.stderr


@pytest.mark.parametrize("command", [("list",), ("export",), ("top",), ("status",)])
def test_a_reader_that_has_enough(
    server: Any, dispatcher: Dispatcher, command: tuple[str, ...]
) -> None:
    dispatcher.submit_batch([JobRequest("m:f", "d", str(n), {"x": "y" * 400}) for n in range(300)])
    limit = ("--limit", "300") if command == ("list",) else ()
    program = [sys.executable, "-m", "zoolet", "jobs", *command, *limit]
    with subprocess.Popen(
        [*program, "--server", server.hosts, "--queue", ROOT],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read()
        process.wait(TIMEOUT_S)
    assert "Traceback" not in complaint
    assert "Exception" not in complaint


def test_a_task_is_given_as_a_function_or_by_its_name(dispatcher: Dispatcher) -> None:
    by_name: Batch = dispatcher.submit("json:dumps", "d", "1")
    by_function = dispatcher.submit(json.dumps, "d", "1")
    assert by_function.names == by_name.names
    assert dispatcher.job(by_name.names[0]).task == "json:dumps"
