"""What a server under systemd reports, and when: it serves, it stops, its event loop runs."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.notify import ServiceManager, environment_of, log_of, serving
from tests.support.scripts import run_script, write_zoo_cfg
from tests.support.waiting import WAIT_S, wait_until
from zoolet.server.cli.control import ask, running_pid
from zoolet.server.zoo_cfg.reading import read_config
from zoolet.testing import ReservedPort

WATCHDOG_US = 200_000
INTERVAL_S = WATCHDOG_US / 1e6 / 2
VARIABLES = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}

STANDS_STILL = """
import os, signal, socket, sys
def stand_still(*_):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reports:
        reports.sendto(b"STANDS_STILL=1", {notify!r})
    open({fifo!r}).close()
signal.signal(signal.SIGUSR1, stand_still)
from zoolet.cli import main
main()
"""
"""A server whose event loop stands still at SIGUSR1, until somebody opens the FIFO for writing.

Its other threads go on.
"""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    listening = ServiceManager(tmp_path)
    yield listening
    listening.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_zoo_cfg(tmp_path, ReservedPort())


def wait_until_served(config: Path) -> None:
    def is_served() -> bool:
        try:
            return "Mode: standalone" in ask(read_config(config), "srvr")
        except OSError:
            return False

    wait_until(is_served, "the server")


@pytest.mark.parametrize("is_abstract", [False, True])
def test_ready_comes_when_the_port_serves_and_stopping_when_it_ends(
    tmp_path: Path, config: Path, is_abstract: bool
) -> None:
    manager = ServiceManager(tmp_path, is_abstract=is_abstract)
    with serving(config, notify=manager.variable) as process:
        ready = manager.receive()
        assert "Mode: standalone" in ask(read_config(config), "srvr")
        assert set(ready) == {"READY", "STATUS"}
        assert ready["READY"] == "1"
        assert (
            f"listening for clients 127.0.0.1:{read_config(config).client_port}"
            in (ready["STATUS"])
        )
        process.terminate()
        assert manager.receive()["STOPPING"] == "1"
        assert process.wait(WAIT_S) == 0
        manager.mark()
        assert manager.receive() == {"MARK": "1"}
    manager.close()


def test_a_server_that_cannot_listen_reports_the_reason(
    tmp_path: Path, manager: ServiceManager
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = write_zoo_cfg(tmp_path, ReservedPort(), clientPort=port)
        with serving(config, notify=manager.variable) as process:
            report = manager.receive()
            assert process.wait(WAIT_S) == 1
    assert set(report) == {"STATUS"}
    assert f"cannot listen on 127.0.0.1, port {port}" in report["STATUS"]


def test_the_watchdog_hears_of_the_event_loop_and_of_nothing_else(
    tmp_path: Path, manager: ServiceManager, config: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = ["-c", STANDS_STILL.format(notify=manager.variable, fifo=str(fifo))]
    with serving(
        config, notify=manager.variable, watchdog_us=WATCHDOG_US, program=program
    ) as process:
        assert manager.receive()["READY"] == "1"
        for _ in range(5):
            assert manager.receive() == {"WATCHDOG": "1"}
        process.send_signal(signal.SIGUSR1)
        while (report := manager.receive()) == {"WATCHDOG": "1"}:
            pass
        assert report == {"STANDS_STILL": "1"}
        with pytest.raises(TimeoutError):
            manager.receive(timeout_s=20 * INTERVAL_S)
        with fifo.open("w"):
            pass
        for _ in range(3):
            assert manager.receive() == {"WATCHDOG": "1"}
        # What systemd does when the reports stop: the log then says where the event loop stood.
        process.send_signal(signal.SIGUSR1)
        while (report := manager.receive()) == {"WATCHDOG": "1"}:
            pass
        assert report == {"STANDS_STILL": "1"}
        process.send_signal(signal.SIGABRT)
        assert process.wait(WAIT_S) == -signal.SIGABRT
    log = log_of(config)
    assert "Fatal Python error: Aborted" in log
    assert "in stand_still" in log


def test_a_server_without_a_watchdog_sends_no_such_reports(
    manager: ServiceManager, config: Path
) -> None:
    with serving(config, notify=manager.variable) as process:
        assert manager.receive()["READY"] == "1"
        assert ask(read_config(config), "srvr")
        process.terminate()
        assert "STOPPING" in manager.receive()
        assert process.wait(WAIT_S) == 0


@pytest.mark.parametrize("kind", ["missing", "closed", "relative"])
def test_a_socket_that_refuses_does_not_harm_the_server(
    tmp_path: Path, config: Path, kind: str
) -> None:
    notify = "notify" if kind == "relative" else str(tmp_path / "notify")
    if kind == "closed":
        manager = ServiceManager(tmp_path)
        manager.close()
    with serving(config, notify=notify, watchdog_us=WATCHDOG_US) as process:
        wait_until_served(config)
        process.terminate()
        assert process.wait(WAIT_S) == 0
    assert ("cannot be sent to NOTIFY_SOCKET" in log_of(config)) == (kind != "relative")


def test_a_full_queue_does_not_harm_the_server_and_ready_comes_later(
    manager: ServiceManager, config: Path
) -> None:
    count = manager.fill()
    with serving(config, notify=manager.variable) as process:
        wait_until_served(config)
        for _ in range(count):
            assert manager.receive() == {"FILLING": "1"}
        assert manager.receive()["READY"] == "1"
        process.terminate()
        assert process.wait(WAIT_S) == 0


def test_a_server_that_an_operator_starts_in_the_units_environment_reports_nothing(
    manager: ServiceManager, config: Path
) -> None:
    variables = {"NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    for verb in ("start", "restart", "status"):
        completed = run_script("zkServer.sh", verb, config, variables=variables)
        assert completed.returncode == 0, completed.stderr
        pid = running_pid(read_config(config))
        assert pid is not None
        assert environment_of(pid) & VARIABLES == set()
    assert run_script("zkServer.sh", "stop", config, variables=variables).returncode == 0
    manager.mark()
    assert manager.receive() == {"MARK": "1"}
