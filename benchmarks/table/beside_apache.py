"""Rows beside Apache ZooKeeper that are no throughput: restart, memory, watchers, new sessions."""

import math
import shutil
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import servers, serving
from benchmarks.native import run_load
from benchmarks.restart import CHILDREN_PER_PARENT, write_znodes
from benchmarks.snapshot_pause import NEVER
from benchmarks.table.rows import OURS, Figures, Row, at_least, at_most
from benchmarks.table.running import Bench, Measure, Measurement
from benchmarks.table.throughput import APACHE

ZNODES: Final = 1_000_000
WATCHERS: Final = 10_000
SESSIONS: Final = 10_000

_EVENTS: Final = 5
_SESSION_TIMEOUT_MS: Final = 30_000
_WARMUP_PART: Final = 5
_LOGGED_PART: Final = 3
_MAKING_S: Final = 900.0
_KILLED: Final = "killed"
_ZNODES: Final = "zk_znode_count"


def _write_killed(bench: Bench, directory: Path) -> None:
    """Write what a server leaves that is killed when a third of its znodes are only in the log."""
    znodes = bench.size(ZNODES)
    logged = znodes // _LOGGED_PART
    parents = math.ceil((znodes - logged) / CHILDREN_PER_PARENT)
    with bench.home() as home:
        made = home / "data" / "version-2"
        write_znodes(made, parents * CHILDREN_PER_PARENT)
        with servers.zoolet(home, {"snapCount": NEVER}) as server:  # it ends with SIGKILL
            run_load(
                *("requests", server.port, 1, 1, 0, 0, "none"),
                settings={"ZNODES": logged},
                timeout_s=_MAKING_S,
            )
        directory.parent.mkdir(parents=True)
        shutil.move(made, directory)


def _restarted(start: serving.Start, bench: Bench) -> Figures:
    with bench.home() as home:
        bench.prepared(home, _KILLED, partial(_write_killed, bench))
        with start(home) as server:
            time.sleep(bench.settle_s)
            znodes = int(server.mntr()[_ZNODES])
            if znodes < bench.size(ZNODES):
                raise RuntimeError(
                    f"of {bench.size(ZNODES):,} znodes, the restart found {znodes:,}"
                )
            return {"start_s": server.start_s, "resident_mb": server.usage().resident_mb}


def _empty(start: serving.Start, bench: Bench) -> Figures:
    with bench.home() as home, start(home) as server:
        time.sleep(bench.settle_s)
        return {"resident_mb": server.usage().resident_mb}


def _watchers(start: serving.Start, bench: Bench) -> Figures:
    with bench.home() as home, start(home) as server:
        printed = run_load("watches", server.port, bench.size(WATCHERS), 1, _EVENTS)
        return {"last_ms": statistics.median(printed["last_us"]) / 1000}


def _sessions(start: serving.Start, bench: Bench) -> Figures:
    """Open sessions twice: Java compiles its code the first time."""
    with bench.home() as home, start(home) as server:
        for sessions in (bench.size(SESSIONS) // _WARMUP_PART + 1, bench.size(SESSIONS)):
            printed = run_load("sessions", server.port, sessions, _SESSION_TIMEOUT_MS)
        return printed


def _sides(
    measure: Callable[[serving.Start, Bench], Figures],
) -> dict[str, Measure]:
    return {APACHE: partial(measure, servers.apache), OURS: partial(measure, servers.zoolet)}


_HEAP: Final = f"-Xmx{servers.HEAP_MIB}m"
ROWS: Final = [
    Row(
        "restart",
        f"start after kill -9, {ZNODES:,} znodes, a third in the log",
        "s",
        "restart",
        "start_s",
        APACHE,
        at_most(0.3),
    ),
    Row(
        "memory",
        f"resident with these znodes ({_HEAP})",
        "MB",
        "restart",
        "resident_mb",
        APACHE,
        at_most(0.3),
    ),
    Row(
        "memory-empty",
        f"resident without znodes ({_HEAP})",
        "MB",
        "memory-empty",
        "resident_mb",
        APACHE,
        at_most(0.3),
    ),
    Row(
        "watchers",
        f"one event to {WATCHERS:,} watchers: the last one has it",
        "ms",
        "watchers",
        "last_ms",
        APACHE,
        at_most(0.3),
    ),
    Row(
        "sessions",
        "connections with new sessions",
        "per s",
        "sessions",
        "per_s",
        APACHE,
        at_least(3.0),
    ),
]
MEASUREMENTS: Final = [
    Measurement("restart", _sides(_restarted)),
    Measurement("memory-empty", _sides(_empty)),
    Measurement("watchers", _sides(_watchers)),
    Measurement("sessions", _sides(_sessions)),
]
