"""``start-foreground --apache-exit-status`` exits with the statuses of Apache ZooKeeper."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.process import ExternalServer

TIMEOUT_S = 60


class ContainerServer(ServerProcess):
    """zoolet as the entry point of the container image starts it."""

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "zoolet", "server", "start-foreground"]
        return [*command, "--apache-exit-status", str(self.config_path)]


@pytest.fixture(params=["zoolet", "apache"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ExternalServer]:
    """A server that is not started, of zoolet, then of Apache ZooKeeper."""
    found: ExternalServer
    if request.param == "zoolet":
        found = ContainerServer(tmp_path / "server")
    else:
        found = ApacheServer(tmp_path / "server", request.getfixturevalue("apache_jars"))
    yield found
    if found.is_running:
        found.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_status_after_a_signal(server: ExternalServer, number: signal.Signals) -> None:
    server.start()
    assert server._process is not None
    server._process.send_signal(number)
    # Java handles the signals, so it is not killed by them: its status is not negative.
    assert server.wait() == 128 + number


def wrong_number(server: ExternalServer) -> None:
    with server.config_path.open("a") as file:
        file.write("tickTime=soon\n")


def no_file(server: ExternalServer) -> None:
    server.config_path.unlink()


def no_directory(server: ExternalServer) -> None:
    with server.config_path.open("a") as file:
        file.write("dataLogDir=/dev/null/logs\n")


def mixed_up(server: ExternalServer) -> None:
    with server.config_path.open("a") as file:
        file.write(f"dataLogDir={server.directory / 'logs'}\n")
    for name, content in (("data", "log.1"), ("logs", "snapshot.0")):
        folder = server.directory / name / "version-2"
        folder.mkdir(parents=True)
        (folder / content).touch()


@pytest.mark.parametrize(
    ("spoil", "status"),
    [(wrong_number, 2), (no_file, 2), (no_directory, 3), (mixed_up, 3)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_status_of_a_refused_start(
    server: ExternalServer, spoil: Callable[[ExternalServer], None], status: int
) -> None:
    spoil(server)
    done = subprocess.run(
        server._command(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == status, done


def test_the_status_if_the_port_is_in_use(server: ExternalServer) -> None:
    with socket.create_server(("127.0.0.1", server.port)):
        done = subprocess.run(
            server._command(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    assert done.returncode == 1, done
