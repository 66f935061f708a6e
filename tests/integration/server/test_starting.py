"""zkServer.sh start and stop: STARTED means that the server which was started serves."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.scripts import SCRIPTS, TIMEOUT_S, run_script, write_zoo_cfg
from tests.support.waiting import wait_until
from zoolet.server.cli import control
from zoolet.server.cli.control import running_pid
from zoolet.server.common.errors import ServerError
from zoolet.server.zoo_cfg.reading import read_config
from zoolet.testing import ReservedPort, ServerProcess


@contextmanager
def stopped_in_the_end(*paths: Path) -> Iterator[None]:
    try:
        yield
    finally:
        for path in paths:
            run_script("zkServer.sh", "stop", path)


def start_at_once(*paths: Path) -> list[tuple[int, str, str]]:
    """Run zkServer.sh start on each, all at the same time; returns status, stdout, stderr."""
    starts = [
        subprocess.Popen(
            [SCRIPTS / "zkServer.sh", "start", path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for path in paths
    ]
    found = []
    for process in starts:
        out, err = process.communicate(timeout=TIMEOUT_S)
        found.append((process.returncode, out, err))
    return found


def pids_of(outputs: list[tuple[int, str, str]]) -> list[int]:
    """Return the pids of the servers that were started."""
    return [
        int(out.partition("STARTED (process ")[2].partition(")")[0])
        for status, out, _ in outputs
        if status == 0
    ]


@pytest.mark.parametrize("count", [2, 3, 6])
def test_of_concurrent_starts_of_one_configuration_one_succeeds(tmp_path: Path, count: int) -> None:
    path = write_zoo_cfg(tmp_path, ReservedPort())
    with stopped_in_the_end(path):
        outputs = start_at_once(*[path] * count)
        (pid,) = pids_of(outputs)
        assert running_pid(read_config(path)) == pid
        for status, out, err in outputs:
            assert ("STARTED" in out) == (status == 0)
            if status:
                assert status == 1
                assert f"zoolet: already running as process {pid}" in err
                assert "Traceback" not in err


def test_of_two_configurations_with_one_port_one_starts(tmp_path: Path) -> None:
    port = ReservedPort()
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(write_zoo_cfg(tmp_path / name, port))
    with stopped_in_the_end(*paths):
        outputs = start_at_once(*paths)
        (pid,) = pids_of(outputs)
        assert [running_pid(read_config(path)) for path in paths].count(pid) == 1
        (loser,) = (err for status, _, err in outputs if status)
        assert f"port {port.number}" in loser
        assert "set another clientPort" in loser
        # The loser has left its directory, and starts when the port is free.
        (lost,) = (path for path, (status, _, _) in zip(paths, outputs, strict=True) if status)
        assert running_pid(read_config(lost)) is None
        (won,) = (path for path in paths if path != lost)
        assert run_script("zkServer.sh", "stop", won).returncode == 0
        assert run_script("zkServer.sh", "start", lost).returncode == 0


def test_of_two_configurations_with_one_log_directory_one_starts(tmp_path: Path) -> None:
    """The dataLogDir is locked like the dataDir."""
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(write_zoo_cfg(tmp_path / name, ReservedPort(), dataLogDir=tmp_path / "logs"))
    with stopped_in_the_end(*paths):
        outputs = start_at_once(*paths)
        (pid,) = pids_of(outputs)
        (loser,) = (err for status, _, err in outputs if status)
        assert f"already running as process {pid}: another server has the data directory" in loser
        assert str(tmp_path / "logs") in loser


def test_a_start_beside_a_running_server_names_it(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        again = run_script("zkServer.sh", "start", server.config_path)
        assert (again.returncode, again.stdout) == (1, "")
        assert f"already running as process {server.pid}" in again.stderr
        foreground = run_script("zkServer.sh", "start-foreground", server.config_path)
        assert foreground.returncode == 1
        assert f"already running as process {server.pid}" in foreground.stderr
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("os.kill(os.getpid(), 9)", "the server ended with status -9 before it served"),
        ("sys.exit('no memory')", "the server ended with status 1 before it served"),
        ("os.close(fd)", "the server ended with status 0 before it served"),
        ("os.write(fd, b'the disk is gone')", "the disk is gone"),
    ],
)
def test_a_server_that_ends_is_no_start_whatever_answers_on_the_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, said: str
) -> None:
    """For example, one that the system kills for its memory while it loads."""

    def command(_path: Path, options: list[str]) -> list[str]:
        text = f"import os, sys; fd = {options[options.index('--ready-fd') + 1]}; {program}"
        return [sys.executable, "-c", text]

    monkeypatch.setattr(control, "foreground_command", command)
    with socket.create_server(("127.0.0.1", 0)) as other:
        path = write_zoo_cfg(tmp_path, ReservedPort(), clientPort=other.getsockname()[1])
        with pytest.raises(ServerError, match=said):
            control.start(read_config(path), path, tmp_path / "log", [], TIMEOUT_S)


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_server_that_takes_long_is_no_start_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pid"
    program = f"import os, signal; open({str(pids)!r}, 'w').write(str(os.getpid())); signal.pause()"
    monkeypatch.setattr(
        control, "foreground_command", lambda _path, _options: [sys.executable, "-c", program]
    )
    path = write_zoo_cfg(tmp_path, ReservedPort())
    try:
        with pytest.raises(
            ServerError, match=r"does not serve yet after 0 s; process \d+ is still starting"
        ):
            control.start(read_config(path), path, tmp_path / "log", [], 0)
    finally:
        wait_until(lambda: pids.exists() and pids.read_text() != "", "the process")
        os.kill(int(pids.read_text()), signal.SIGKILL)


def test_a_dead_servers_pid_file_does_not_keep_a_server_out(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "server") as server:
        lock = server.directory / "data" / "zookeeper_server.pid"
        server.kill()
        assert lock.exists()
        assert running_pid(server.config) is None
        stopped = run_script("zkServer.sh", "stop", server.config_path)
        assert (stopped.returncode, "no server runs" in stopped.stdout) == (0, True)
        # The number may be that of another process now, which holds no lock.
        lock.write_text("1\n")
        assert running_pid(server.config) is None
        server.start()
        assert running_pid(server.config) == server.pid
        assert server.stop() == 0
        assert not lock.exists()


@pytest.mark.parametrize("content", ["", "\n", "-5\n", "x" * 100, "99999999999999999999\n", "\0\0"])
def test_a_pid_file_with_anything_in_it_is_no_server(tmp_path: Path, content: str) -> None:
    path = write_zoo_cfg(tmp_path, ReservedPort())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "zookeeper_server.pid").write_text(content)
    assert running_pid(read_config(path)) is None


@pytest.mark.parametrize("_round", range(2))
def test_many_servers_on_one_directory_start_and_stop(tmp_path: Path, _round: int) -> None:
    """Eight at once: one serves, and the others name it."""
    path = write_zoo_cfg(tmp_path, ReservedPort())
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "zoolet", "server", "start-foreground", path],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    wait_until(
        lambda: sum(process.poll() is not None for process in processes) == 7,
        "the end of all but one",
    )
    (winner,) = (process for process in processes if process.poll() is None)
    wait_until(lambda: running_pid(read_config(path)) == winner.pid, "the winner's lock")
    winner.terminate()
    for process in processes:
        _, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == (0 if process is winner else 1), err
        assert ("already running" in err) == (process is not winner)
    assert not (tmp_path / "data" / "zookeeper_server.pid").exists()


@pytest.mark.timeout(300)  # 24 processes: a busy machine takes more than a minute
def test_of_12_starts_at_once_one_server_serves_round_after_round(tmp_path: Path) -> None:
    """Each round starts on the files that the one before has left."""
    port = ReservedPort()
    path = write_zoo_cfg(tmp_path, port)
    pid_file = tmp_path / "data" / "zookeeper_server.pid"
    with stopped_in_the_end(path):
        for _ in range(2):
            outputs = start_at_once(*[path] * 12)
            assert sum("STARTED" in out for _, out, _ in outputs) == 1
            (pid,) = pids_of(outputs)
            assert control.ask(read_config(path), "srvr").startswith("Zookeeper version")
            assert pid_file.read_text() == f"{pid}\n"
            losers = [err for status, _, err in outputs if status]
            assert all(f"already running as process {pid}" in err for err in losers), losers
            assert "STOPPED" in run_script("zkServer.sh", "stop", path).stdout
            assert not pid_file.exists()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port.number), TIMEOUT_S)
