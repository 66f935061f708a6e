"""The health of a real worker, as probes, systemd and readers of the status file see it."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.jobs import ROOT, TIMEOUT_S, WorkerProcess, next_result, numbered, write_tasks
from tests.support.notify import ServiceManager
from tests.support.waiting import WAIT_S, wait_until
from zoolet.jobs import Dispatcher
from zoolet.testing import ServerProcess

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    directory = tmp_path / "tasks"
    directory.mkdir()
    write_tasks(directory)
    return directory


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    manager = ServiceManager(tmp_path)
    yield manager
    manager.close()


def port_in(log: Path) -> int:
    """Return the port of the health endpoint, from the output of the worker."""
    [line] = [line for line in log.read_text().splitlines() if line.startswith("health on port")]
    return int(line.split()[3])


def ask(port: int, path: str) -> tuple[int, str]:
    """Return the status of a probe, and the reason in its reply."""
    connection = http.client.HTTPConnection("127.0.0.1", port, WAIT_S)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())["reason"]
    finally:
        connection.close()


def test_probes_and_the_status_file_follow_the_worker(
    server: ServerProcess, dispatcher: Dispatcher, start_worker: StartWorker, tmp_path: Path
) -> None:
    log, file = tmp_path / "log", tmp_path / "status.json"
    with log.open("w") as stderr:
        worker = start_worker("--health-port", "0", "--status-file", str(file), stderr=stderr)
    port = port_in(log)
    assert ask(port, "/live") == ask(port, "/ready") == (200, "")
    next_result(dispatcher.submit_batch(numbered(1)))
    server.kill()
    wait_until(lambda: ask(port, "/ready")[0] == 503, "a worker that is not ready")
    assert "no connection" in ask(port, "/ready")[1]
    assert ask(port, "/live")[0] == 200, "a restart would not help a worker without a server"
    wait_until(lambda: json.loads(file.read_text())["is_ready"] is False, "the status file")
    server.start()
    wait_until(lambda: ask(port, "/ready")[0] == 200, "a worker that is ready again")
    worker.process.terminate()
    assert worker.process.wait(TIMEOUT_S) == 0
    found = json.loads(file.read_text())
    assert found["state"] == "ended"
    assert found["successful"] == 1


def test_systemd_learns_the_start_a_reload_and_the_stop(
    dispatcher: Dispatcher, start_worker: StartWorker, manager: ServiceManager
) -> None:
    assert dispatcher.queue.workers() == []
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        pytest.skip("the tests run with nohup, and so do the workers")
    worker = start_worker(environment={"NOTIFY_SOCKET": manager.variable})
    assert manager.receive()["READY"] == "1"
    os.kill(worker.process.pid, signal.SIGHUP)
    assert manager.receive()["RELOADING"] == "1"
    assert manager.receive()["READY"] == "1"
    worker.process.terminate()
    assert manager.receive()["STOPPING"] == "1"


def test_a_port_that_is_in_use_is_an_error_with_a_reason(server: ServerProcess) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "zoolet", "worker", "--server", server.hosts, "--queue", ROOT,
         "--health-port", str(server.port)],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )  # fmt: skip
    assert found.returncode == 1
    assert f"cannot serve the health on 127.0.0.1, port {server.port}" in found.stderr
