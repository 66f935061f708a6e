"""Running other job systems, and zoolet: Redis, PostgreSQL, their workers, their figures."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.jobs import WorkerProcess
from tests.support.postgresql import PostgresqlServer
from zoolet.jobs import Dispatcher
from zoolet.testing import ServerProcess
from zoolet.testing.servers.base import ADDRESS, ReservedPort

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent / ".cache" / "job-peers"
PEERS = (
    "huey", "dramatiq", "arq", "celery", "rq", "dask", "ray", "procrastinate", "dramatiq_pg",
)  # fmt: skip
PSQL = shutil.which("psql") or "psql"
REDIS = shutil.which("redis-server") or "redis-server"
ON_POSTGRESQL = frozenset({"procrastinate", "dramatiq_pg"})
"""These run on a PostgreSQL with fsync and synchronous_commit, which are on by default."""
WITHOUT_REDIS = frozenset({"dask", "ray", *ON_POSTGRESQL})
ROOT = "/jobs/bench"
_TIMEOUT_S = 400
_START_S = 10.0


@contextlib.contextmanager
def redis(fsync: str) -> Iterator[int]:
    """Run Redis with its append-only file synced ``everysec`` or ``always``; yield its port."""
    reserved = ReservedPort()
    port = reserved.number
    with tempfile.TemporaryDirectory(prefix="zoolet-bench-") as home:
        process = subprocess.Popen(
            [REDIS, "--port", str(port), "--bind", ADDRESS, "--dir", home,
             "--appendonly", "yes", "--appendfsync", fsync, "--save", ""],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            until = time.monotonic() + _START_S
            while True:
                with contextlib.suppress(OSError), socket.create_connection((ADDRESS, port)):
                    break
                if time.monotonic() > until:
                    raise TimeoutError("redis-server does not answer")
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait()


def check_syncs(dsn: str) -> None:
    """Raise RuntimeError unless a PostgreSQL syncs each change before it confirms the change."""
    for setting in ("fsync", "synchronous_commit"):
        command = [PSQL, "--no-psqlrc", "--tuples-only", "--no-align", "-c", f"SHOW {setting}", dsn]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        if shown.stdout.strip() != "on":
            raise RuntimeError(f"PostgreSQL has {setting}={shown.stdout.strip()}")


def syncs_of(peer: str) -> tuple[str, ...]:
    """Return how often the system is to sync its changes, for one run each."""
    if peer in ON_POSTGRESQL:
        return ("always",)
    return ("never",) if peer in WITHOUT_REDIS else ("everysec", "always")


def run_peer(peer: str, scenario: str, jobs: int, fsync: str) -> dict[str, Any] | None:
    """Return the figures of one run; None where the system is not installed, or failed."""
    python = ENVIRONMENTS / peer / "bin" / "python"
    if not python.exists():
        return None
    with contextlib.ExitStack() as started:
        port = 0 if peer in WITHOUT_REDIS else started.enter_context(redis(fsync))
        dsn = ""
        if peer in ON_POSTGRESQL:
            server = started.enter_context(PostgresqlServer())
            dsn = server.url.replace("postgresql+psycopg://", "postgresql://")
            check_syncs(dsn)
        try:
            completed = subprocess.run(
                [python, HERE / "peers" / "run.py", peer, scenario, str(jobs), str(port)],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
                env=os.environ | {"PEER_PORT": str(port), "PEER_DSN": dsn},
            )
        except subprocess.TimeoutExpired:
            sys.stderr.write(f"{peer} {scenario}: not done within {_TIMEOUT_S:.0f} s\n")
            return None
    lines = [line for line in completed.stdout.splitlines() if line.startswith("{")]
    if completed.returncode or not lines:
        sys.stderr.write(f"{peer} {scenario}: {completed.stderr[-500:]}\n")
        return None
    found: dict[str, Any] = json.loads(lines[-1])
    return found


@contextlib.contextmanager
def zoolet(workers: int) -> Iterator[tuple[Dispatcher, list[WorkerProcess]]]:
    """Run zoolet's server, which syncs every batch, and workers; all by default."""
    tasks = HERE / "peers"
    with tempfile.TemporaryDirectory(prefix="zoolet-bench-") as home, contextlib.ExitStack() as up:
        server = up.enter_context(
            ServerProcess(Path(home), {"tickTime": 2000, "preAllocSize": 65536})
        )
        dispatcher = up.enter_context(Dispatcher(server.hosts, ROOT, create=True))
        running = []
        for _ in range(workers):
            # The default, which tests shorten.
            timeout = ("--session-timeout-ms", "10000")
            running.append(WorkerProcess(server.hosts, tasks, *timeout, root=ROOT, loader=None))
            up.callback(running[-1].close)
        yield dispatcher, running
