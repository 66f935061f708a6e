"""The load programs in C on real servers, for a moment: their output, and faults that end them.

What they measure is not judged here.
"""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import servers, syncs
from benchmarks.native import CLIENT_LOAD, LOAD, REDIS_LOAD, run_load, start_load
from benchmarks.restart import write_znodes
from tests.support.skips import needs
from tests.support.waiting import wait_until
from zoolet.testing import ReservedPort

SHORT = (3, 4, 0.05, 0.3)
"""Connections, outstanding requests of each, seconds of warming up, seconds."""

FIGURES = {"per_s", "answered", "p50_us", "p99_us", "p999_us", "max_us", "silence_us"}
WORKS = ("get", "set", "create", "multi")
HEADER = Path("/usr/include/zookeeper/zookeeper.h")

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None, reason=needs("a C compiler", "gcc", "libc6-dev")
)


@pytest.fixture(scope="module")
def zoolet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Running]:
    with servers.zoolet(tmp_path_factory.mktemp("zoolet")) as running:
        yield running


@pytest.fixture(scope="module")
def redis_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("redis-server") is None:
        pytest.skip(needs("Redis", "redis-server"))
    return tmp_path_factory.mktemp("redis") / "home"


@pytest.fixture(scope="module")
def redis(redis_home: Path) -> Iterator[servers.Running]:
    with servers.redis(redis_home) as running:
        yield running


def require_c_client() -> None:
    if not HEADER.exists():
        pytest.skip(needs("Apache's C client", "libzookeeper-st-dev"))


def check_figures(printed: dict[str, float]) -> None:
    """Fail if the figures cannot be those of a load."""
    assert set(printed) == FIGURES
    assert printed["answered"] > 0
    assert 0 < printed["p50_us"] <= printed["p99_us"] <= printed["p999_us"]
    assert printed["max_us"] > 0
    assert printed["silence_us"] > 0


def connect_requests(server: servers.Running) -> int:
    return int(server.mntr()["zk_connection_request_count"])


def ask_redis(server: servers.Running, command: str) -> str:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"{command}\r\n".encode())
        return connection.makefile(encoding="utf-8", newline="").readline().rstrip()


class TestLoad:
    @pytest.mark.parametrize("work", [*WORKS, "mixed", "children", "exists"])
    def test_each_work_prints_its_figures(self, zoolet: servers.Running, work: str) -> None:
        check_figures(run_load("requests", zoolet.port, *SHORT, work))

    def test_the_writes_are_those_that_the_server_has(self, zoolet: servers.Running) -> None:
        before = int(zoolet.mntr()["zk_znode_count"])
        printed = run_load("requests", zoolet.port, 3, 4, 0, 0.3, "create")
        made = int(zoolet.mntr()["zk_znode_count"]) - before
        # The rest was answered after the end.
        assert printed["answered"] <= made <= printed["answered"] + 12

    def test_sessions_are_opened(self, zoolet: servers.Running) -> None:
        before = connect_requests(zoolet)
        assert run_load("sessions", zoolet.port, 40, 5000)["per_s"] > 0
        assert connect_requests(zoolet) == before + 40

    def test_the_last_event_is_waited_for(self, zoolet: servers.Running) -> None:
        assert len(run_load("watches", zoolet.port, 20, 1, 2)["last_us"]) == 2

    def test_the_mix_uses_the_znodes_of_a_snapshot(self, tmp_path: Path) -> None:
        write_znodes(tmp_path / "data" / "version-2", 2000)
        with servers.zoolet(tmp_path) as server:
            before = server.mntr()["zk_znode_count"]
            settings = {"PARENTS": 2}
            check_figures(run_load("requests", server.port, *SHORT, "large", settings=settings))
            assert server.mntr()["zk_znode_count"] == before

    def test_a_znode_that_is_missing_ends_it(
        self, zoolet: servers.Running, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(RuntimeError, match="load requests"):
            run_load("requests", zoolet.port, *SHORT, "large", settings={"PARENTS": 2})
        assert "was refused with -101" in capfd.readouterr().err


class TestRedisLoad:
    @pytest.mark.parametrize("work", WORKS)
    def test_each_work_prints_its_figures(self, redis: servers.Running, work: str) -> None:
        check_figures(run_load("requests", redis.port, *SHORT, work, program=REDIS_LOAD))

    def test_the_keys_are_made_and_all_writes_are_synced(
        self, redis: servers.Running, redis_home: Path
    ) -> None:
        keys, count = int(ask_redis(redis, "DBSIZE")[1:]), syncs.preloaded(redis_home)
        printed = run_load("requests", redis.port, 1, 1, 0, 0.3, "create", program=REDIS_LOAD)
        assert printed["answered"] <= int(ask_redis(redis, "DBSIZE")[1:]) - keys
        syncs.check(printed["answered"], 1, syncs.preloaded(redis_home) - count)

    def test_a_transaction_is_one_request(self, redis: servers.Running) -> None:
        keys = int(ask_redis(redis, "DBSIZE")[1:])
        printed = run_load("requests", redis.port, 2, 3, 0, 0.3, "multi", program=REDIS_LOAD)
        made = int(ask_redis(redis, "DBSIZE")[1:]) - keys
        # At most the keys of get and set, and what was answered after the end, come on top.
        assert 10 * printed["answered"] <= made <= 10 * (printed["answered"] + 6) + 1000

    @pytest.mark.usefixtures("redis_home")
    @pytest.mark.parametrize(
        ("break_it", "work", "message"),
        [
            ("CONFIG SET maxmemory 1", "set", "-OOM"),
            ("CONFIG SET requirepass secret", "get", "-NOAUTH"),
            ("RENAME-NOTHING", "unknown", "no such work"),
        ],
    )
    def test_what_is_unexpected_ends_it(
        self,
        tmp_path: Path,
        break_it: str,
        work: str,
        message: str,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        with servers.redis(tmp_path / "home") as server:
            ask_redis(server, break_it)
            with pytest.raises(RuntimeError, match="redis_load requests"):
                run_load("requests", server.port, *SHORT, work, program=REDIS_LOAD)
        assert message in capfd.readouterr().err

    @pytest.mark.usefixtures("redis_home")
    def test_unsynced_writes_are_noticed(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        with servers.redis(home) as server:
            assert ask_redis(server, "CONFIG SET appendfsync no") == "+OK"
            before = syncs.preloaded(home)
            printed = run_load("requests", server.port, 1, 1, 0, 0.3, "set", program=REDIS_LOAD)
            with pytest.raises(RuntimeError, match="writes were acknowledged"):
                syncs.check(printed["answered"], 1, syncs.preloaded(home) - before)


class TestClientLoad:
    @pytest.mark.parametrize("work", WORKS)
    def test_each_work_prints_its_figures(self, zoolet: servers.Running, work: str) -> None:
        require_c_client()
        run_load("requests", zoolet.port, 1, 1, 0, 0, "none")
        check_figures(run_load("requests", zoolet.port, *SHORT, work, program=CLIENT_LOAD))

    def test_the_creates_are_those_that_the_server_has(self, zoolet: servers.Running) -> None:
        require_c_client()
        run_load("requests", zoolet.port, 1, 1, 0, 0, "none")
        before = int(zoolet.mntr()["zk_znode_count"])
        printed = run_load("requests", zoolet.port, 3, 4, 0, 0.3, "multi", program=CLIENT_LOAD)
        made = int(zoolet.mntr()["zk_znode_count"]) - before
        assert 10 * printed["answered"] <= made <= 10 * (printed["answered"] + 12)

    def test_a_znode_that_is_missing_ends_it(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        require_c_client()
        with (
            servers.zoolet(tmp_path) as server,
            pytest.raises(RuntimeError, match="client_load requests"),
        ):
            run_load("requests", server.port, *SHORT, "get", program=CLIENT_LOAD)
        assert "a request was refused: no node" in capfd.readouterr().err


@pytest.mark.parametrize("program", [LOAD, REDIS_LOAD, CLIENT_LOAD])
def test_a_server_that_is_killed_ends_the_load(
    program: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if program == CLIENT_LOAD:
        require_c_client()
    if program == REDIS_LOAD:
        request.getfixturevalue("redis_home")
    start = servers.redis if program == REDIS_LOAD else servers.zoolet
    with start(tmp_path / "home") as server:
        if program == CLIENT_LOAD:
            run_load("requests", server.port, 1, 1, 0, 0, "none")
        began_s = server.usage().cpu_s
        load = start_load("requests", server.port, 2, 2, 0, 600, "get", program=program)
        try:
            # The server has answered for some time: the load has made what it needs, and reads.
            wait_until(lambda: server.usage().cpu_s > began_s + 0.5, "the load reads")
            os.kill(server.pid, signal.SIGKILL)
            load.communicate(timeout=60)
            assert load.returncode == 1
        finally:
            load.kill()
            load.communicate()


@pytest.mark.parametrize("program", [LOAD, REDIS_LOAD, CLIENT_LOAD])
def test_a_server_that_is_not_there_ends_the_load(program: str) -> None:
    if program == CLIENT_LOAD:
        require_c_client()
    with pytest.raises(RuntimeError, match=f"{program} requests"):
        run_load("requests", ReservedPort().number, *SHORT, "get", program=program)
