"""Rows with very many znodes: a mix of requests during a snapshot, start time and memory."""

import json
import time
from functools import partial
from typing import Final

from benchmarks import servers
from benchmarks.native import start_load
from benchmarks.table import snapshots
from benchmarks.table.rows import OURS, Figures, Row, at_most, below
from benchmarks.table.running import PIPELINED, Bench, Measurement
from zoolet.testing import ReservedPort

MIXED: Final = 6_000_000
MANY: Final = 10_000_000
FEWER: Final = 1_000_000

_STARTED: Final = f"{FEWER:,} znodes"
_MOST_SNAPSHOT_S: Final = 600.0
_ENDING_S: Final = 60.0
_LOOK_S: Final = 0.01
_RECEIVED: Final = "zk_packets_received"
_BEGUN_REQUESTS: Final = 1000
"""After this number of requests, the load has begun."""

_SNAPSHOT_AFTER: Final = 0.1
"""When the snapshot begins, as a part of the time that is measured."""


def _mix(bench: Bench) -> Figures:
    """Put the mix on the server until it has taken a snapshot, and as long as is asked for.

    Raises:
        RuntimeError: the load failed, or no snapshot was written in ten minutes.
    """
    admin = ReservedPort()
    with bench.home() as home:
        bench.with_znodes(home, MIXED)
        with servers.zoolet(home, snapshots.settings(admin)) as server:
            most_s = bench.seconds + _MOST_SNAPSHOT_S
            load = start_load(
                *("requests", server.port, *PIPELINED, bench.warmup_s, most_s, "large"),
                settings={"PARENTS": bench.num_parents(MIXED)},
            )
            try:
                while int(server.mntr()[_RECEIVED]) < _BEGUN_REQUESTS and load.poll() is None:
                    time.sleep(_LOOK_S)
                time.sleep(bench.warmup_s + _SNAPSHOT_AFTER * bench.seconds)
                began_s = time.perf_counter()
                snapshots.take(admin)
                snapshot_s = time.perf_counter() - began_s
                time.sleep(max(0.0, (1 - _SNAPSHOT_AFTER) * bench.seconds - snapshot_s))
                if load.poll() is not None or snapshots.taken(server) != 1:
                    raise RuntimeError("the load ended before the snapshot was written")
                load.terminate()
                output, _ = load.communicate(timeout=_ENDING_S)
            finally:
                load.kill()
                load.wait()
            if load.returncode:
                raise RuntimeError("the load generator failed; it has written why")
    printed = json.loads(output)
    return {
        **printed,
        "snapshot_s": snapshot_s,
        "p999_ms": printed["p999_us"] / 1000,
        "silence_ms": printed["silence_us"] / 1000,
    }


def _started(znodes: int, bench: Bench) -> Figures:
    with bench.home() as home:
        bench.with_znodes(home, znodes)
        servers.touch_memory()  # a host may have taken it back from this machine meanwhile
        with servers.zoolet(home) as server:
            time.sleep(bench.settle_s)
            return {"start_s": server.start_s, "resident_mb": server.usage().resident_mb}


_TITLE: Final = f"{MIXED:,} znodes, 65% getData, 33% multi of 5 setData, 2% getChildren, 16x32"
ROWS: Final = [
    Row("large-rate", _TITLE, "per s", "large", "per_s", ""),
    Row("large-p999", "the same: p99.9", "ms", "large", "p999_ms", "", below(25.0)),
    Row(
        "large-silence",
        "the same: longest time without any reply",
        "ms",
        "large",
        "silence_ms",
        "",
        below(15.0),
    ),
    Row(
        "large-start",
        f"start with {MANY:,} znodes ÷ 10 times with {FEWER:,}",
        "s",
        "large-start",
        "start_s",
        _STARTED,
        at_most(1.1),
        MANY / FEWER,
    ),
    Row(
        "large-memory",
        f"resident with {MANY:,} znodes ÷ 10 times with {FEWER:,}",
        "MB",
        "large-start",
        "resident_mb",
        _STARTED,
        at_most(1.1),
        MANY / FEWER,
    ),
]
MEASUREMENTS: Final = [
    Measurement("large", {OURS: _mix}),
    Measurement("large-start", {_STARTED: partial(_started, FEWER), OURS: partial(_started, MANY)}),
]
