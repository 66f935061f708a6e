"""The log of a real server: its first line, its formats and levels, and rotation under clients."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.rawclient import RawClient
from tests.support.scripts import SCRIPTS, TIMEOUT_S, run_script, write_zoo_cfg
from tests.support.waiting import wait_until
from zoolet.model.build import DESCRIPTION, KIND
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.testing import ReservedPort, ServerProcess


def test_the_first_line_says_what_runs_where(tmp_path: Path) -> None:
    admin, metrics = ReservedPort(), ReservedPort()
    provider = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
    settings = {
        "admin.enableServer": "true",
        "admin.serverAddress": "127.0.0.1",
        "admin.serverPort": admin.number,
        "metricsProvider.className": provider,
        "metricsProvider.httpHost": "127.0.0.1",
        "metricsProvider.httpPort": metrics.number,
        "dataLogDir": tmp_path / "logs",
    }
    with ServerProcess(tmp_path, settings) as server:
        wait_until(lambda: "listening for" in server.log, "the line about the addresses")
        first, *others = server.log.splitlines()
        (serving,) = (line for line in others if "listening for" in line)
        for line in (first, serving):
            assert f"zoolet {DESCRIPTION}" in line
            assert KIND in line
            assert f"dataDir {tmp_path / 'data'}" in line
            assert f"dataLogDir {tmp_path / 'logs'}" in line
            for what, port in (("clients", server), ("admin", admin), ("metrics", metrics)):
                number = port.port if isinstance(port, ServerProcess) else port.number
                assert f"{what} 127.0.0.1:{number}" in line
        assert str(server.config_path) in first


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1"])
def test_the_addresses_are_those_that_the_server_has(tmp_path: Path, address: str) -> None:
    with ServerProcess(tmp_path, {"clientPortAddress": address}) as server:
        wait_until(lambda: "listening for" in server.log, "the line about the addresses")
        (line,) = (line for line in server.log.splitlines() if "listening for" in line)
        found = re.search(r"clients (\S+):(\d+)", line)
        assert found is not None
        assert int(found[2]) == server.port


def test_json_is_an_object_a_line_also_if_the_start_fails(tmp_path: Path) -> None:
    path = write_zoo_cfg(tmp_path, ReservedPort(), initLimit=5)
    started = run_script("zkServer.sh", "start", path, "--log-format", "json")
    assert started.returncode == 0, started.stderr
    failed = run_script("zkServer.sh", "start-foreground", "--log-format", "json", path)
    assert failed.returncode == 1
    assert run_script("zkServer.sh", "stop", path).returncode == 0
    log = (tmp_path / "data" / "zookeeper.out").read_text()
    records = [json.loads(line) for line in (log + failed.stderr).splitlines()]
    assert all({"time", "level", "logger", "message"} <= record.keys() for record in records)
    assert "already running as process" in records[-1]["message"]
    assert records[-1]["level"] == "error"
    assert any("initLimit" in record["message"] for record in records)


@pytest.mark.parametrize(("level", "is_shown"), [("info", True), ("warning", False)])
def test_the_level_decides_what_is_logged(tmp_path: Path, level: str, is_shown: bool) -> None:
    path = write_zoo_cfg(tmp_path, ReservedPort(), initLimit=5)
    variables = {"ZOO_LOG_DIR": str(tmp_path / "logs")}
    options = ("--log-level", level)
    assert run_script("zkServer.sh", "start", *options, path, variables=variables).returncode == 0
    assert run_script("zkServer.sh", "stop", path).returncode == 0
    (log,) = (tmp_path / "logs").iterdir()
    assert ("stopping" in log.read_text()) == is_shown
    assert "initLimit" in log.read_text()


@pytest.mark.parametrize("way", ["moved", "moved twice", "cut"])
def test_the_log_is_rotated_and_clients_notice_nothing(tmp_path: Path, way: str) -> None:
    path = write_zoo_cfg(tmp_path, ReservedPort())
    assert run_script("zkServer.sh", "start", path).returncode == 0
    try:
        log = tmp_path / "data" / "zookeeper.out"
        pid = int((tmp_path / "data" / "zookeeper_server.pid").read_text())
        for number in range(2 if way == "moved twice" else 1):
            if way == "cut":
                log.write_text("")
            else:
                log.rename(log.with_suffix(f".{number}"))
            os.kill(pid, signal.SIGHUP)
            wait_until(lambda: log.exists() and "was reopened" in log.read_text(), "the new log")
        assert "Mode: standalone" in run_script("zkServer.sh", "status", path).stdout
    finally:
        assert "STOPPED" in run_script("zkServer.sh", "stop", path).stdout
    assert log.read_text().splitlines()[-1].endswith("every acknowledged change is on disk")
    assert "\0" not in log.read_text()


@contextmanager
def server_that_opens_its_log(path: Path, logs: Path) -> Iterator[Path]:
    """A server started with ``zkServer.sh start``, which makes its log file in ZOO_LOG_DIR."""
    variables = {"ZOO_LOG_DIR": str(logs)}
    assert run_script("zkServer.sh", "start", path, variables=variables).returncode == 0
    try:
        (log,) = logs.iterdir()
        yield log
    finally:
        assert "STOPPED" in run_script("zkServer.sh", "stop", path).stdout


@contextmanager
def server_whose_output_is_the_log(path: Path, logs: Path) -> Iterator[Path]:
    """A server started as a shell does it: ``zkServer.sh start-foreground 2> FILE``."""
    logs.mkdir()
    log = logs / "foreground.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [SCRIPTS / "zkServer.sh", "start-foreground", path], stderr=output
        )
    try:
        yield log
    finally:
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize("started", [server_that_opens_its_log, server_whose_output_is_the_log])
def test_a_log_cut_to_nothing_goes_on_at_its_beginning_without_a_signal(
    tmp_path: Path, started: Callable[[Path, Path], AbstractContextManager[Path]]
) -> None:
    """As logrotate's copytruncate cuts it: the next line begins the file, behind no zero bytes."""
    port = ReservedPort()
    with started(write_zoo_cfg(tmp_path, port), tmp_path / "logs") as log:
        wait_until(lambda: "listening for" in log.read_text(), "the line about the addresses")
        os.truncate(log, 0)
        with RawClient(port.number) as client:
            client.connect()
            assert client.request(OpCode.CREATE, b"no path").err == ErrorCode.MARSHALLING_ERROR
        wait_until(lambda: b"a malformed request" in log.read_bytes(), "the line about it")
    # A slow machine may have logged a warning of its own before it.
    assert re.match(rb"[-\d]{10} [:,\d]{12} (WARNING|INFO) ", log.read_bytes())
    assert b"\0" not in log.read_bytes()
    assert b"reopened" not in log.read_bytes()


def test_sighup_does_not_end_a_server_without_a_log_file(
    server: ServerProcess, client: Any
) -> None:
    for _ in range(3):
        os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: "there is no log file to reopen" in server.log, "the line about the signal")
    client.create("/a")
    assert server.stop() == 0
