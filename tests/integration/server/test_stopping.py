"""What stops leave behind: no padding, no pid file, nothing of starts that failed."""

import os
import random
import signal
import socket
from pathlib import Path

import pytest

from tests.support.rawclient import RawClient
from tests.support.scripts import run_script, write_zoo_cfg
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.storage.files import LOCK_NAME
from zoolet.storage.txn_log import DEFAULT_PREALLOCATE_BYTES
from zoolet.testing import ReservedPort, ServerProcess
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

DEFAULT_PREALLOCATION = {"preAllocSize": DEFAULT_PREALLOCATE_BYTES // 1024}


def create(server: ServerProcess, path: str) -> None:
    with RawClient(server.port) as client:
        client.connect()
        body = pack_ustring(path) + pack_buffer(b"x") + pack_acl(OPEN_ACL) + INT.pack(0)
        assert client.request(OpCode.CREATE, body).err == 0


def size_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def names_in(server: ServerProcess) -> set[str]:
    return {path.name for path in (server.directory / "data").rglob("*") if path.is_file()}


def test_five_restarts_leave_five_small_logs(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, DEFAULT_PREALLOCATION) as server:
        for number in range(5):
            create(server, f"/n{number}")
            assert server.stop() == 0
            assert size_bytes(tmp_path / "data") < 10_000
            server.start()
        assert "Node count: 10" in server.ask("srvr")
    assert "could not be removed" not in server.log


def test_five_kills_leave_the_padding_of_one_log(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, DEFAULT_PREALLOCATION) as server:
        for number in range(5):
            create(server, f"/n{number}")
            server.kill()
            assert size_bytes(tmp_path / "data") < DEFAULT_PREALLOCATE_BYTES + 20_000
            server.start()
            assert size_bytes(tmp_path / "data") < 20_000
        assert "Node count: 10" in server.ask("srvr")


def test_stops_and_kills_in_any_order_lose_nothing(tmp_path: Path) -> None:
    chance = random.Random(16)
    created = 0
    with ServerProcess(tmp_path, {"snapCount": 7}) as server:
        for _ in range(10):
            for _ in range(chance.randrange(6)):
                create(server, f"/n{created}")
                created += 1
            if chance.random() < 0.5:
                assert server.stop() == 0
                logs = (tmp_path / "data" / "version-2").glob("log.*")
                assert not any(log.read_bytes().endswith(b"\0") for log in logs)
            else:
                server.kill()
            server.start()
            assert f"Node count: {created + 5}\n" in server.ask("srvr") + "\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_end_removes_the_pid_file(tmp_path: Path, number: signal.Signals) -> None:
    with ServerProcess(tmp_path) as server:
        assert (tmp_path / "data" / LOCK_NAME).read_text() == f"{server.pid}\n"
        os.kill(server.pid, signal.SIGHUP)
        os.kill(server.pid, number)
        assert server.wait() == 0
        assert not (tmp_path / "data" / LOCK_NAME).exists()


def test_the_pid_files_exist_as_long_as_the_server(tmp_path: Path) -> None:
    pid_path = tmp_path / "run" / "zk.pid"
    path = write_zoo_cfg(tmp_path, ReservedPort(), dataLogDir=tmp_path / "logs")
    variables = {"ZOOPIDFILE": str(pid_path)}
    for _ in range(2):
        started = run_script("zkServer.sh", "start", path, variables=variables)
        assert started.returncode == 0, started.stderr
        pid = pid_path.read_text().strip()
        assert f"STARTED (process {pid})" in started.stdout
        locks = [tmp_path / name / LOCK_NAME for name in ("data", "logs")]
        assert [lock.read_text().strip() for lock in locks] == [pid, pid]
        again = run_script("zkServer.sh", "start", path, variables=variables)
        assert again.returncode == 1
        assert pid_path.read_text().strip() == pid
        assert run_script("zkServer.sh", "stop", path, variables=variables).returncode == 0
        assert not any(lock.exists() for lock in [*locks, pid_path])


def test_a_failed_start_leaves_only_what_the_next_one_needs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = ServerProcess(tmp_path, {"clientPort": taken.getsockname()[1]})
        for _ in range(3):
            with pytest.raises(RuntimeError, match="cannot listen on"):
                server.start()
            assert names_in(server) == {"snapshot.0"}


def test_what_a_killed_server_left_of_a_snapshot_is_removed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        create(server, "/a")
        server.kill()
        directory = tmp_path / "data" / "version-2"
        for name in ("unfinished.snapshot.5", "unfinished.probe"):
            (directory / name).write_bytes(b"x")
        server.start()
        assert server.stop() == 0
        assert names_in(server) == {"snapshot.0", "log.1"}
