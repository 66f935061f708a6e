"""What a server needs: memory, disk and CPU for a number of znodes, sessions, reads and writes.

The memory is that of the whole process. The disk is a snapshot for znodes, and an hour of the
transaction log for writes. The CPU is the time of both threads, in percent of one core. Part of
benchmarks.growth.
"""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import servers
from benchmarks.native import run_load, start_load
from benchmarks.restart import write_znodes

ZNODES = (10_000, 100_000, 1_000_000)
SESSIONS = (1000, 10_000)
WRITES_PER_S = (100, 1000, 10_000)
READS_PER_S = (1000, 10_000, 100_000)

_SESSION_TIMEOUT_MS = 30_000
_CONNECTIONS, _OUTSTANDING = 50, 32
_WARMUP_S = 1.0
_MB = 1e6
_SETTLED_S = 1.0
_S_PER_H = 3600


class Need(NamedTuple):
    """What a server needs under one load; None for what this load does not determine."""

    memory_mb: float
    disk_mb: float | None = None
    cpu_percent: float | None = None
    start_s: float | None = None


def measure(seconds: float) -> Iterator[tuple[str, Need]]:
    """Yield what a server needs under each load, which lasts for this time."""
    yield "no data, no clients", of_znodes(0)
    for znodes in ZNODES:
        yield f"{znodes:,} znodes of {servers.DATA_BYTES} bytes", of_znodes(znodes)
    for sessions in SESSIONS:
        yield f"{sessions:,} idle sessions", of_sessions(sessions, seconds)
    for per_s in WRITES_PER_S:
        yield f"{per_s:,} writes per second", of_requests("set", per_s, seconds)
    for per_s in READS_PER_S:
        yield f"{per_s:,} reads per second", of_requests("get", per_s, seconds)


def of_znodes(znodes: int) -> Need:
    """Return what a server with these znodes needs, after its start."""
    with servers.scratch() as home:
        directory = home / "data" / "version-2"
        if znodes:
            write_znodes(directory, znodes)
        with servers.zoolet(home) as running:
            snapshot_mb = _size_mb(directory, "snapshot.*")
            return Need(running.usage().resident_mb, snapshot_mb, None, running.start_s)


def of_sessions(sessions: int, seconds: float) -> Need:
    """Return what these sessions need, whose clients send only pings."""
    with servers.scratch() as home, servers.zoolet(home) as running:
        arguments = ("idle", running.port, sessions, _SESSION_TIMEOUT_MS, seconds + 2 * _SETTLED_S)
        with start_load(*arguments) as load:
            load.stdout.readline()  # the line that says that all sessions are open
            time.sleep(_SETTLED_S)
            began_s, before = time.perf_counter(), running.usage()
            time.sleep(seconds)
            after, taken_s = running.usage(), time.perf_counter() - began_s
        return Need(after.resident_mb, None, (after.cpu_s - before.cpu_s) / taken_s * 100)


def of_requests(work: str, per_s: int, seconds: float) -> Need:
    """Return what a server needs for requests at this rate, each to one of 1,000 znodes."""
    with servers.scratch() as home:
        log = home / "data" / "version-2"
        shape = (_CONNECTIONS, _OUTSTANDING, _WARMUP_S, seconds)
        with servers.zoolet(home) as running:
            for _ in range(2):
                # Makes the znodes; the second time, it finds them, as the load does.
                before, before_mb = running.usage(), _written_mb(log)
                run_load("requests", running.port, 1, 1, 0, 0, "none")
            began, began_mb = running.usage(), _written_mb(log)
            printed = run_load("requests", running.port, *shape, work, settings={"RATE": per_s})
            after, after_mb = running.usage(), _written_mb(log)
        if printed["per_s"] < 0.95 * per_s:
            raise RuntimeError(f"{per_s} requests per second were wanted, {printed['per_s']} made")
        cpu_s = after.cpu_s - began.cpu_s - (began.cpu_s - before.cpu_s)
        written_mb = after_mb - began_mb - (began_mb - before_mb)
        loaded_s = seconds + _WARMUP_S
        return Need(
            after.resident_mb,
            written_mb / loaded_s * _S_PER_H if work == "set" else None,
            cpu_s / loaded_s * 100,
        )


def _written_mb(directory: Path) -> float:
    """Return the size of the logs without the zeros after their last record."""
    logs = directory.glob("log.*")
    return sum(len(log.read_bytes().rstrip(b"\0")) for log in logs) / _MB


def _size_mb(directory: Path, pattern: str) -> float:
    return sum(path.stat().st_size for path in directory.glob(pattern)) / _MB


def show(rounds: int, seconds: float, console: Console) -> None:
    """Measure in several rounds, and print the medians."""
    found: dict[str, list[Need]] = {}
    for _ in range(rounds):
        for load, need in measure(seconds):
            found.setdefault(load, []).append(need)
    columns = ("memory, MB", "disk, MB", "CPU, % of a core", "start, s")
    table = Table("load", *columns, title="capacity; disk: a snapshot, or an hour of the log")
    for load, needs in found.items():
        cells = (
            _median(values, digits)
            for values, digits in zip(zip(*needs, strict=True), (0, 1, 1, 2), strict=True)
        )
        table.add_row(load, *cells)
    console.print(table)


def _median(values: tuple[float | None, ...], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):,.{digits}f}" if known else ""
