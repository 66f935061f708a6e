"""The table of the benchmark, at sizes that take no time. What it measures is not judged here."""

import http.client
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import servers
from benchmarks.table import beside_apache, snapshots
from benchmarks.table.__main__ import EVERY_ROW
from benchmarks.table.running import Bench
from tests.support.apache import require_apache
from tests.support.skips import needs
from tests.support.waiting import wait_until
from zoolet.testing import ReservedPort

ROOT = Path(__file__).parents[3]
SHORT = ("--rounds", "1", "--seconds", "0.4", "--warmup", "0", "--settle", "0", "--scale", "0.002")

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None, reason=needs("a C compiler", "gcc", "libc6-dev")
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the table as a user does."""
    command = [sys.executable, "-m", "benchmarks.table", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def check_rows(tmp_path: Path, *names: str) -> None:
    """Run these rows; fail if one of them has no figure, or no line in the table."""
    figures = tmp_path / "figures.json"
    options = ("--directory", str(tmp_path), "--json", str(figures), "--only", *names)
    finished = run(*SHORT, *options)
    assert finished.returncode == ("missed: " in finished.stderr), finished.stderr
    found = json.loads(figures.read_text())
    rows = {row.name: row for row in EVERY_ROW}
    for name in names:
        assert f"| {name} " in finished.stdout
        for rounds in found[rows[name].measurement].values():
            (only,) = rounds
            assert math.isfinite(only[rows[name].figure])
    assert "multiplied by 0.002" in finished.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


def test_the_rows_of_zoolet_alone(tmp_path: Path) -> None:
    check_rows(tmp_path, "quota", "random", "bytes-per-znode")


def test_the_rows_with_snapshots(tmp_path: Path) -> None:
    check_rows(tmp_path, "snapshot", "large-p999", "large-silence", "large-start")


def test_the_rows_beside_redis(tmp_path: Path) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip(needs("Redis", "redis-server"))
    check_rows(tmp_path, "redis-set-1x1", "redis-multi-16x32")


def test_the_rows_beside_apache(tmp_path: Path) -> None:
    require_apache(servers.JARS)
    check_rows(tmp_path, "restart", "memory", "watchers", "sessions")


def test_the_rows_of_the_c_client(tmp_path: Path) -> None:
    require_apache(servers.JARS)
    if not Path("/usr/include/zookeeper/zookeeper.h").exists():
        pytest.skip(needs("Apache's C client", "libzookeeper-st-dev"))
    check_rows(tmp_path, "client-get-64x1", "echo-get-64x1-client")


def test_an_unknown_row_is_refused() -> None:
    finished = run("--only", "redsi")
    assert finished.returncode == 1
    assert "no row is called 'redsi'" in finished.stderr


def test_no_rounds_are_refused() -> None:
    assert run("--rounds", "0").returncode == 2


def test_the_list_has_all_rows() -> None:
    printed = run("--list").stdout.splitlines()
    assert [line.split()[0] for line in printed] == [row.name for row in EVERY_ROW]


class TestSnapshots:
    def test_one_is_taken_and_counted(self, tmp_path: Path) -> None:
        admin = ReservedPort()
        with servers.zoolet(tmp_path, snapshots.settings(admin)) as server:
            assert snapshots.taken(server) == 0
            snapshots.take(admin)
            assert snapshots.taken(server) == 1

    def test_they_are_taken_until_the_block_ends(self, tmp_path: Path) -> None:
        admin = ReservedPort()
        with servers.zoolet(tmp_path, snapshots.settings(admin)) as server:
            with snapshots.one_after_the_other(admin):
                wait_until(lambda: snapshots.taken(server) >= 3, "three snapshots")
            count = snapshots.taken(server)
            assert count >= 3
            snapshots.take(admin)
            assert snapshots.taken(server) == count + 1

    def test_a_refusal_is_an_error(self, tmp_path: Path) -> None:
        admin = ReservedPort()
        refusing = {**snapshots.settings(admin), "admin.snapshot.enabled": "false"}
        with servers.zoolet(tmp_path, refusing):
            with pytest.raises(RuntimeError, match="no snapshot: status 503"):
                snapshots.take(admin)
            with (
                pytest.raises(RuntimeError, match="the snapshots failed"),
                snapshots.one_after_the_other(admin),
            ):
                pass

    def test_a_server_that_is_gone_is_an_error(self) -> None:
        with pytest.raises((OSError, http.client.HTTPException)):
            snapshots.take(ReservedPort())


def test_a_restart_that_loses_znodes_is_an_error(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 0.1, 0.0, 0.0, 0.001)
    bench.prepared(tmp_path / "first", "killed", lambda new: new.mkdir(parents=True))
    restart = next(each for each in beside_apache.MEASUREMENTS if each.name == "restart")
    with pytest.raises(RuntimeError, match="of 1,000 znodes, the restart found"):
        restart.sides["zoolet"](bench)
