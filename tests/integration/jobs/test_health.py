"""The health of a real worker, as probes, systemd and readers of the status file see it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.jobs import ROOT, TIMEOUT_S, WorkerProcess, next_result, numbered, write_tasks
from tests.support.notify import ServiceManager
from tests.support.waiting import WAIT_S, wait_until
from zoolet.jobs import Dispatcher
from zoolet.jobs.worker.health import WorkerHealth
from zoolet.jobs.worker.health_server import HealthServer
from zoolet.testing import ServerProcess

StartWorker = Callable[..., WorkerProcess]
PROBES = 50


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


@pytest.mark.parametrize("is_good", [True, False])
def test_a_probe_gets_a_reply_in_one_piece(is_good: bool) -> None:
    """A worker may be killed between two pieces, and the client would get the first one."""
    health = WorkerHealth("ready", is_live=is_good, is_ready=is_good, reason="")
    server = HealthServer(lambda: health, 0)
    try:
        for _ in range(PROBES):
            with socket.create_connection(("127.0.0.1", server.server_port), WAIT_S) as connection:
                connection.sendall(b"GET /live HTTP/1.0\r\n\r\n")
                first = connection.recv(1 << 16)
                assert connection.recv(1 << 16) == b""
            status, body = first.split(b"\r\n", 1)[0], first.partition(b"\r\n\r\n")[2]
            assert status.split()[1] == (b"200" if is_good else b"503")
            assert json.loads(body)["is_live"] is is_good
    finally:
        server.close()


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
