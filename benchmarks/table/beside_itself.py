"""Rows that compare zoolet with itself: quotas, many znodes, snapshots, memory, TLS."""

from argparse import Namespace
from functools import partial
from typing import Final

from benchmarks import growth, secure, servers
from benchmarks.native import run_load
from benchmarks.restart import CHILDREN_PER_PARENT
from benchmarks.table import snapshots
from benchmarks.table.rows import OURS, Figures, Row, at_least, at_most
from benchmarks.table.running import PIPELINED, Bench, Measurement
from zoolet.testing import ReservedPort

ZNODES: Final = 1_000_000
FEW: Final = 1000
_MAKING_S: Final = 900.0

NO_QUOTA, NO_SNAPSHOT, NO_TLS = "no quota", "no snapshot", "no TLS"
FEW_ZNODES: Final = f"{FEW:,} znodes"


def _load(bench: Bench, port: int, work: str, znodes: int = FEW) -> Figures:
    return run_load(
        *("requests", port, *PIPELINED, bench.warmup_s, bench.seconds, work),
        settings={"ZNODES": znodes},
        timeout_s=_MAKING_S,
    )


def _without_quota(bench: Bench) -> Figures:
    with bench.home() as home, servers.zoolet(home) as server:
        return _load(bench, server.port, "set")


def _with_quota(bench: Bench) -> Figures:
    with (
        bench.home() as home,
        servers.zoolet(home) as server,
        growth.with_quota(server.port),
    ):
        return _load(bench, server.port, "set")


def _random(znodes: int, bench: Bench) -> Figures:
    """Read random znodes of all; of few, if the run is smaller."""
    with bench.home() as home, servers.zoolet(home) as server:
        return _load(bench, server.port, "get", max(1, bench.size(znodes)))


def _without_snapshot(bench: Bench) -> Figures:
    admin = ReservedPort()
    with bench.home() as home:
        bench.with_znodes(home, ZNODES)
        with servers.zoolet(home, snapshots.settings(admin)) as server:
            return _load(bench, server.port, "set")


def _during_snapshots(bench: Bench) -> Figures:
    admin = ReservedPort()
    with bench.home() as home:
        bench.with_znodes(home, ZNODES)
        with servers.zoolet(home, snapshots.settings(admin)) as server:
            growth.make_znodes(server.port)
            with snapshots.one_after_the_other(admin):
                figures = _load(bench, server.port, "set")
            return {**figures, "snapshots": snapshots.taken(server)}


def _bytes_per_znode(bench: Bench) -> Figures:
    each = growth.bytes_per_znode(bench.num_parents(ZNODES) * CHILDREN_PER_PARENT)
    return {"bytes": each - servers.DATA_BYTES}


def _secured(variant: secure.Variant, bench: Bench) -> Figures:
    options = Namespace(warmup=bench.warmup_s, seconds=bench.seconds)
    return {"per_s": secure.measure_once(variant, options)}


ROWS: Final = [
    Row(
        "quota",
        "setData under a quota ÷ without, 16x32",
        "per s",
        "quota",
        "per_s",
        NO_QUOTA,
        at_least(0.9),
    ),
    Row(
        "random",
        f"getData, 16x32, random over {ZNODES:,} znodes ÷ over {FEW:,}",
        "per s",
        "random",
        "per_s",
        FEW_ZNODES,
        at_least(0.4),
    ),
    Row(
        "snapshot",
        "setData, 16x32, during snapshots ÷ without",
        "per s",
        "snapshot",
        "per_s",
        NO_SNAPSHOT,
        at_least(0.95),
    ),
    Row(
        "bytes-per-znode",
        "memory per znode without its data",
        "bytes",
        "bytes-per-znode",
        "bytes",
        "",
        at_most(170.0),
    ),
    Row(
        "tls",
        "getData with TLS ÷ without, 16x32",
        "per s",
        "tls",
        "per_s",
        NO_TLS,
        at_least(0.8),
    ),
]
MEASUREMENTS: Final = [
    Measurement("quota", {NO_QUOTA: _without_quota, OURS: _with_quota}),
    Measurement("random", {FEW_ZNODES: partial(_random, FEW), OURS: partial(_random, ZNODES)}),
    Measurement("snapshot", {NO_SNAPSHOT: _without_snapshot, OURS: _during_snapshots}),
    Measurement("bytes-per-znode", {OURS: _bytes_per_znode}),
    Measurement(
        "tls", {NO_TLS: partial(_secured, secure.PLAIN), OURS: partial(_secured, secure.TLS)}
    ),
]
