"""What users of Apache ZooKeeper's zkServer.sh type, and the variables that they set."""

import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.scripts import TIMEOUT_S, run_script, write_zoo_cfg
from tests.support.waiting import wait_until
from zoolet.model.build import DESCRIPTION
from zoolet.server.cli.control import ask, running_pid
from zoolet.server.zoo_cfg.reading import read_config
from zoolet.testing import ReservedPort


@pytest.mark.parametrize("way", ["--config", "ZOOCFGDIR", "ZOOCFGDIR and name", "ZOOCFG"])
def test_a_server_is_started_and_stopped_by_its_configs_directory(tmp_path: Path, way: str) -> None:
    path = write_zoo_cfg(tmp_path, ReservedPort())
    variables = {"ZOOCFGDIR": str(tmp_path)}
    before: list[str] = []
    after: list[str] = []
    if way == "--config":
        before, variables = ["--config", str(tmp_path)], {"ZOOCFGDIR": "/nowhere"}
    elif way != "ZOOCFGDIR":
        path = path.rename(tmp_path / "mine.cfg")
        after = ["mine.cfg"] if way == "ZOOCFGDIR and name" else []
        variables |= {} if after else {"ZOOCFG": "mine.cfg"}
    for verb, said in (
        ("start", "STARTED"),
        ("status", "Mode: standalone"),
        ("restart", "STARTED"),
        ("stop", "STOPPED"),
    ):
        completed = run_script("zkServer.sh", *before, verb, *after, variables=variables)
        assert (completed.returncode, said in completed.stdout) == (0, True), completed
        assert f"Using config: {path}" in completed.stderr


def test_flags_reach_the_server_that_start_starts(tmp_path: Path) -> None:
    path = write_zoo_cfg(tmp_path, ReservedPort())
    flags = {
        "SERVER_JVMFLAGS": '-Xmx3g -Dzookeeper.4lw.commands.whitelist="srvr, conf"',
        "JVMFLAGS": "-Dzookeeper.maxCnxns=17 -Dsecret.password=hunter2",
    }
    started = run_script("zkServer.sh", "start", path, variables=flags)
    try:
        assert started.returncode == 0, started.stderr
        for flag in ("-Xmx3g", "-Dsecret.password=..."):
            assert f"the JVM flag {flag} is ignored" in started.stderr
        # Without the flag srvr alone is answered.
        assert f"clientPort={read_config(path).client_port}\n" in ask(read_config(path), "conf")
    finally:
        run_script("zkServer.sh", "stop", path)
    log = (tmp_path / "data" / "zookeeper.out").read_text()
    assert "the JVM flag -Xmx3g is ignored" in log
    assert "hunter2" not in log + started.stderr


@pytest.mark.parametrize("verb", ["start", "start-foreground", "status"])
def test_a_flag_that_cannot_be_a_setting_is_refused(tmp_path: Path, verb: str) -> None:
    path = write_zoo_cfg(tmp_path, ReservedPort())
    for flags, said in (
        ("-Dzookeeper.ssl.crl=true", "ssl.crl"),
        ("-Dzookeeper.maxCnxns='5", "Close the quote"),
    ):
        completed = run_script("zkServer.sh", verb, path, variables={"JVMFLAGS": flags})
        assert (completed.returncode, said in completed.stderr) == (1, True), completed
        assert "Traceback" not in completed.stderr


def test_version_needs_no_configuration(tmp_path: Path) -> None:
    completed = run_script("zkServer.sh", "version", cwd=tmp_path)
    assert (completed.returncode, completed.stdout) == (0, f"zoolet, version {DESCRIPTION}\n")


def test_print_cmd_prints_a_command_that_serves(tmp_path: Path) -> None:
    """A path with a blank comes through the shell."""
    directory = tmp_path / "with blank"
    directory.mkdir()
    path = write_zoo_cfg(directory, ReservedPort())
    variables = {"ZOO_LOG_DIR": str(tmp_path)}
    printed = run_script("zkServer.sh", "print-cmd", path, variables=variables).stdout
    assert str(tmp_path) in printed
    with subprocess.Popen(shlex.split(printed)) as process:
        config = read_config(path)
        wait_until(lambda: running_pid(config) == process.pid, "the server")
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
    (log,) = tmp_path.glob("zookeeper-*.out")
    assert "stopped; every acknowledged change is on disk" in log.read_text()
