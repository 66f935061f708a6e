"""The servers that a benchmark starts: Apache ZooKeeper, zoolet, Redis, and the echo server.

All of them listen on 127.0.0.1, sync every change, and take as many connections as come.
"""

import compileall
import contextlib
import mmap
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from benchmarks import syncs
from benchmarks.native import build
from zoolet.testing import ApacheServer, ReservedPort, ServerProcess
from zoolet.testing.servers.apache import DEBIAN_JARS
from zoolet.testing.servers.guard import guarded_environment
from zoolet.testing.servers.process import ExternalServer

_CHECKOUT = Path(__file__).parents[1]
JARS_3_9 = _CHECKOUT / ".cache" / "apache-zookeeper-3.9.5"
JARS = JARS_3_9 if JARS_3_9.exists() else DEBIAN_JARS
SETTINGS = {"tickTime": 2000, "preAllocSize": 65536}
DATA_BYTES = 100

HEAP_MIB: Final = 1000
"""Java's -Xmx, which Apache's own zkServer.sh gives a server."""

_START_TIMEOUT_S: Final = 600.0
_REDIS_TIMEOUT_S: Final = 30.0
_TOUCHED_BYTES = 4 << 30
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """What a process has used: MB that are resident, and s of CPU time."""

    resident_mb: float
    cpu_s: float


class Running(NamedTuple):
    """A server that runs, and how long its start took until it answered."""

    port: int
    pid: int
    start_s: float

    def usage(self) -> Usage:
        """Look at the process."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (resident,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return Usage(int(resident.split()[1]) / 1000, ticks / _TICKS_PER_S)

    def mntr(self) -> dict[str, str]:
        """Return the answer of a ZooKeeper server to mntr, as texts by name."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"mntr")
            lines = connection.makefile(encoding="utf-8").read().splitlines()
        return dict(line.split("\t", 1) for line in lines if "\t" in line)


@contextlib.contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """Make a directory for a while; what a server still writes there in the end does not matter.

    Without a ``parent`` it is in the system's directory for such files, which may be in memory.
    """
    with tempfile.TemporaryDirectory(
        prefix="zoolet-bench-", dir=parent, ignore_cleanup_errors=True
    ) as name:
        yield Path(name)


def touch_memory() -> None:
    """Use as much memory as a server may come to need, and give it back.

    A virtual machine often gets its memory from its host when it first touches it, at up to 20 µs a
    page. That is no property of a server, but would be measured with the first that grows so far.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, _TOUCHED_BYTES, flags=flags).close()


def write_bytecode(checkout: Path | None) -> None:
    """Compile zoolet's sources to bytecode, as pip does, here and in another checkout.

    Otherwise a start is measured that compiles all sources that were edited since.
    """
    for root in (_CHECKOUT, checkout):
        if root is not None:
            compileall.compile_dir(root / "src", quiet=1)


@contextlib.contextmanager
def _serving(server: ExternalServer) -> Iterator[Running]:
    began = time.perf_counter()
    with server:
        while not server.ask("srvr").startswith("Zookeeper version"):
            time.sleep(0.002)
        yield Running(server.port, server.pid, time.perf_counter() - began)


class _Apache(ApacheServer):
    """Apache ZooKeeper, which may take long to load many znodes."""

    _start_timeout_s: ClassVar[float] = _START_TIMEOUT_S


class _Zoolet(ServerProcess):
    """zoolet, which may take long to load many znodes."""

    _start_timeout_s: ClassVar[float] = _START_TIMEOUT_S


def apache(
    directory: Path,
    settings: Mapping[str, object] | None = None,
    java_options: Sequence[str] = (),
) -> AbstractContextManager[Running]:
    """Run Apache ZooKeeper, with the heap that its own zkServer.sh gives it."""
    options = (f"-Xmx{HEAP_MIB}m", *java_options)
    return _serving(
        _Apache(directory, JARS, {**SETTINGS, **(settings or {})}, java_options=options)
    )


def zoolet(
    directory: Path, settings: Mapping[str, object] | None = None
) -> AbstractContextManager[Running]:
    """Run zoolet."""
    return _serving(_Zoolet(directory, {**SETTINGS, **(settings or {})}))


class _OfRevision(_Zoolet):
    """A zoolet of another checkout, which has its compiled modules."""

    def __init__(self, directory: Path, checkout: Path) -> None:
        super().__init__(directory, SETTINGS)
        self._checkout = checkout

    def _command(self) -> list[str]:
        return ["env", f"PYTHONPATH={self._checkout / 'src'}", *super()._command()]


def revision(checkout: Path) -> Callable[[Path], AbstractContextManager[Running]]:
    """Return what runs the zoolet of another checkout."""
    return lambda directory: _serving(_OfRevision(directory, checkout))


@contextlib.contextmanager
def echo(directory: Path) -> Iterator[Running]:
    """Run the echo server; the directory is not used."""
    del directory
    port = ReservedPort()
    began = time.perf_counter()
    process = subprocess.Popen([build("echo"), str(port.number), str(DATA_BYTES)])
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port.number)):
                break
        yield Running(port.number, process.pid, time.perf_counter() - began)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def redis(directory: Path) -> Iterator[Running]:
    """Run Redis, which appends each change to its file and syncs it before it replies.

    ``syncs.preloaded`` counts its syncs. It rewrites the file when that has doubled, as by default.

    Raises:
        RuntimeError: Redis is not installed, or it does not start; the message has its log.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("no Redis: install Debian's package redis-server (make redis)")
    directory.mkdir(parents=True)
    port = ReservedPort()
    began = time.perf_counter()
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(program, "--port", str(port.number), "--bind", "127.0.0.1"),
                *("--dir", directory, "--save", "", "--appendonly", "yes"),
                *("--appendfsync", "always", "--maxclients", "10000"),
            ],
            env={**guarded_environment(), **syncs.preload(directory)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # as the other servers: Linux schedules by session
        )
    try:
        while not _pongs(port.number):
            if process.poll() is not None or time.perf_counter() > began + _REDIS_TIMEOUT_S:
                text = (directory / "server.log").read_text(errors="replace")
                raise RuntimeError(f"Redis did not start; its log says:\n{text}")
            time.sleep(0.002)
        yield Running(port.number, process.pid, time.perf_counter() - began)
    finally:
        process.kill()
        process.wait()


def _pongs(port: int) -> bool:
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), 1.0) as connection,
    ):
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False
