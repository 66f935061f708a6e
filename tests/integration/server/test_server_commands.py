"""zkServer.sh: its verbs, and what it says of settings and directories that cannot be used."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until
from zoolet.testing import ReservedPort, ServerProcess

PORT = ReservedPort()
ZK_SERVER = Path(sys.executable).parent / "zkServer.sh"


def zk_server(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [ZK_SERVER, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def write_config(directory: Path, **settings: object) -> Path:
    written = {
        "dataDir": directory / "data",
        "clientPort": PORT.number,
        "clientPortAddress": "127.0.0.1",
        "preAllocSize": 64,
        **settings,
    }
    path = directory / "zoo.cfg"
    path.write_text("".join(f"{key}={value}\n" for key, value in written.items()))
    return path


def test_start_status_restart_stop(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    status = zk_server("status", path)
    assert (status.returncode, "probably not running" in status.stderr) == (1, True)
    started = zk_server("start", path)
    try:
        assert started.returncode == 0
        assert "STARTED" in started.stdout
        status = zk_server("status", path)
        assert status.returncode == 0
        assert status.stdout.splitlines()[-1] == "Mode: standalone"
        again = zk_server("start", path)
        assert again.returncode == 1
        assert "already running" in again.stderr
        restarted = zk_server("restart", path)
        assert restarted.returncode == 0
        assert restarted.stdout.count("STOPPED") == restarted.stdout.count("STARTED") == 1
    finally:
        stopped = zk_server("stop", path)
    assert (stopped.returncode, "STOPPED" in stopped.stdout) == (0, True)
    stopped = zk_server("stop", path)
    assert (stopped.returncode, "no server runs" in stopped.stdout) == (0, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_start_foreground_ends_cleanly(
    server: ServerProcess, client: Any, number: signal.Signals
) -> None:
    client.create("/a", b"kept")
    os.kill(server.pid, number)
    assert server.wait() == 0
    assert "stopped; every acknowledged change is on disk" in server.log
    server.start()
    assert client.retry(client.get, "/a")[0] == b"kept"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("tickTime=soon", "zoo.cfg:5: tickTime=soon is not a whole number from 1 to"),
        ("clientPort=70000", "zoo.cfg:5: clientPort=70000 is not a whole number from 0 to 65535"),
        ("tickTime", "zoo.cfg:5: tickTime= is not a whole number from 1 to"),
        ("nonsense=\\u12", "zoo.cfg:5: \\u is not followed by four hexadecimal digits"),
        ("server.1=a:2888:3888\nserver.2=b:2888:3888", "zoo.cfg:5: server.1 sets up an ensemble"),
        ("minSessionTimeout=99999999", "minSessionTimeout (99999999 ms) is greater than"),
        ("dataDir=", "dataDir is missing"),
    ],
)
@pytest.mark.parametrize("verb", ["start", "start-foreground"])
def test_a_setting_that_cannot_be_is_said(
    tmp_path: Path, line: str, reason: str, verb: str
) -> None:
    path = write_config(tmp_path)
    path.write_text(f"{path.read_text()}{line}\n")
    completed = zk_server(verb, path)
    assert completed.returncode == 1
    assert reason in completed.stderr
    assert "Traceback" not in completed.stderr
    assert not (tmp_path / "data" / "version-2").exists()


def test_no_config_is_said(tmp_path: Path) -> None:
    completed = zk_server("start", tmp_path / "missing.cfg")
    assert completed.returncode == 1
    assert "the file does not exist" in completed.stderr


def test_a_setting_without_effect_is_a_warning(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {"initLimit": 5, "no.such.key": 1}) as server:
        assert "zoo.cfg:9: initLimit is ignored: zoolet is not a member of" in server.log
        assert "zoo.cfg:10: no.such.key is not a known key and is ignored" in server.log


@pytest.mark.parametrize("verb", ["start", "start-foreground"])
def test_a_port_that_is_taken_is_said(tmp_path: Path, verb: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        completed = zk_server(verb, write_config(tmp_path, clientPort=port))
    assert completed.returncode == 1
    assert f"port {port}" in completed.stderr
    assert "set another clientPort" in completed.stderr
    assert "Traceback" not in completed.stderr


@pytest.mark.parametrize("verb", ["start", "start-foreground"])
def test_a_data_directory_that_cannot_be_written_is_said(tmp_path: Path, verb: str) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a directory")
    completed = zk_server(verb, write_config(tmp_path, dataDir=in_the_way / "data"))
    assert completed.returncode == 1
    assert str(in_the_way) in completed.stderr
    assert "dataDir" in completed.stderr
    assert "Traceback" not in completed.stderr
    assert in_the_way.read_text() == "not a directory"


def test_a_second_server_is_kept_out(server: ServerProcess, tmp_path: Path, client: Any) -> None:
    path = write_config(tmp_path, dataDir=server.directory / "data")
    completed = zk_server("start-foreground", path)
    assert completed.returncode == 1
    assert "another server has the data directory" in completed.stderr
    client.create("/a")
    assert client.exists("/a")


def test_connections_from_one_address_are_limited(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {"maxClientCnxns": 3}) as server:
        address = ("127.0.0.1", server.port)
        kept = [socket.create_connection(address) for _ in range(3)]
        with socket.create_connection(address, timeout=20) as refused:
            assert refused.recv(1) == b""
        for connection in kept:
            connection.close()

        def answers() -> bool:
            # A connection counts until the server has seen that it is closed.
            with contextlib.suppress(ConnectionError):
                return "Mode" in server.ask("srvr")
            return False

        wait_until(answers, "an answer")
