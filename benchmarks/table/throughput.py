"""Rows of throughput: beside Redis, Apache and a C echo server, by three load programs."""

from argparse import Namespace
from functools import partial
from typing import Final

from benchmarks import servers, serving, syncs
from benchmarks.native import CLIENT_LOAD, LOAD, REDIS_LOAD, run_load
from benchmarks.table.rows import OURS, Figures, Row, at_least, at_most
from benchmarks.table.running import (
    ALONE,
    MANY_CLIENTS,
    PIPELINED,
    SHAPES,
    Bench,
    Measure,
    Measurement,
)

REDIS, APACHE, ECHO = "Redis", "Apache", "echo"

_COMMANDS: Final = {
    "get": "getData ÷ GET",
    "set": "setData ÷ SET",
    "create": "create ÷ SETNX",
    "multi": "multi of 10 creates ÷ MULTI of 10 SETNX",
}
_REQUESTS: Final = {
    "get": "getData",
    "set": "setData",
    "create": "create",
    "multi": "multi of 10 creates",
}
_READS: Final = frozenset({"get"})

_REDIS_TARGETS: Final = {
    ("set", PIPELINED): at_least(1.0),
    ("set", MANY_CLIENTS): at_least(0.95),
    ("set", ALONE): at_most(1.0),
    ("get", PIPELINED): at_least(1.0),
    ("get", MANY_CLIENTS): at_least(0.9),
    ("create", PIPELINED): at_least(0.7),
    ("multi", PIPELINED): at_least(0.7),
}
"""The wanted ratios to Redis; the other rows are only shown."""

_APACHE_RATE: Final = at_least(2.0)
_APACHE_LATENCY: Final = at_most(0.8)
"""Of setData alone."""

_ECHO_RATE: Final = 0.85
_REPEATED_IN_MEMORY: Final = "resident empty"
"""The row of ``serving`` that ``beside_apache`` measures 10 s after the start."""


def _load(bench: Bench, program: str, port: int, work: str, shape: tuple[int, int]) -> Figures:
    return run_load(
        *("requests", port, *shape, bench.warmup_s, bench.seconds, work), program=program
    )


def _on_redis(work: str, shape: tuple[int, int], bench: Bench) -> Figures:
    with bench.home() as home, servers.redis(home / "redis") as server:
        figures = _load(bench, REDIS_LOAD, server.port, work, shape)
        if work not in _READS:
            count = syncs.preloaded(home / "redis")
            syncs.check(figures["answered"], shape[0] * shape[1], count)
        return figures


def _on_zookeeper(
    start: serving.Start,
    program: str,
    work: str,
    shape: tuple[int, int],
    bench: Bench,
) -> Figures:
    """Put a load on a server of ZooKeeper; writes must be as durable as the server says."""
    with bench.home() as home, start(home / "server") as server:
        if program == CLIENT_LOAD:
            run_load("requests", server.port, 1, 1, 0, 0, "none")
        figures = _load(bench, program, server.port, work, shape)
        if work not in _READS:
            count = syncs.of_mntr(server.mntr())
            syncs.check(figures["answered"], shape[0] * shape[1], count)
        return figures


def _on_echo(work: str, shape: tuple[int, int], bench: Bench) -> Figures:
    with bench.home() as home, servers.echo(home) as server:
        return _load(bench, CLIENT_LOAD, server.port, work, shape)


def _name(kind: str, work: str, shape: tuple[int, int]) -> str:
    return f"{kind}-{work}-{shape[0]}x{shape[1]}"


def _row(kind: str, title: str, work: str, shape: tuple[int, int], base: str) -> Row:
    """Return a row that compares rates, or latencies if there is one request at a time."""
    name = _name(kind, work, shape)
    title = f"{title}, {shape[0]}x{shape[1]}"
    if shape == ALONE:
        return Row(name, f"{title}, p50", "µs", name, "p50_us", base)
    return Row(name, title, "per s", name, "per_s", base)


def _redis_rows() -> list[Row]:
    return [
        _row("redis", title, work, shape, REDIS)._replace(target=_REDIS_TARGETS.get((work, shape)))
        for work, title in _COMMANDS.items()
        for shape in SHAPES
    ]


def _client_rows() -> list[Row]:
    rows = []
    for work, request in _REQUESTS.items():
        for shape in SHAPES:
            row = _row("client", f"{request}, C client", work, shape, APACHE)
            if shape != ALONE:
                row = row._replace(target=_APACHE_RATE)
            elif work == "set":
                row = row._replace(target=_APACHE_LATENCY)
            rows.append(row)
    return rows


def _serving_name(row: serving.Row) -> str:
    return f"apache-{row.name.replace(' ', '-')}"


def _served(measure: serving.Measure, start: serving.Start, bench: Bench) -> Figures:
    options = Namespace(warmup=bench.warmup_s, seconds=bench.seconds, scale=bench.scale)
    with bench.home() as home, start(home / "server") as server:
        return measure(server, options)


def _serving_parts() -> tuple[list[Row], list[Measurement]]:
    """Return the rows of ``serving``; what it measures at once is one measurement."""
    rows: list[Row] = []
    measurements: dict[serving.Measure, Measurement] = {}
    for row in serving.ROWS:
        if row.name == _REPEATED_IN_MEMORY:
            continue
        starters: dict[str, serving.Start] = {APACHE: servers.apache, OURS: servers.zoolet}
        if row.with_echo:
            starters[ECHO] = servers.echo
        sides = {side: partial(_served, row.measure, start) for side, start in starters.items()}
        measurement = measurements.setdefault(row.measure, Measurement(_serving_name(row), sides))
        rows.append(
            Row(
                _serving_name(row),
                f"{row.name}, load.c",
                row.unit,
                measurement.name,
                row.figure,
                APACHE,
                (at_least if row.more_is_better else at_most)(row.wanted),
            )
        )
    return rows, list(measurements.values())


def _measurements() -> list[Measurement]:
    found = [
        Measurement(
            _name("redis", work, shape),
            {
                REDIS: partial(_on_redis, work, shape),
                OURS: partial(_on_zookeeper, servers.zoolet, LOAD, work, shape),
            },
        )
        for work in _COMMANDS
        for shape in SHAPES
    ]
    for work in _REQUESTS:
        for shape in SHAPES:
            sides: dict[str, Measure] = {
                APACHE: partial(_on_zookeeper, servers.apache, CLIENT_LOAD, work, shape),
                OURS: partial(_on_zookeeper, servers.zoolet, CLIENT_LOAD, work, shape),
            }
            if (work, shape) == ("get", MANY_CLIENTS):
                sides[ECHO] = partial(_on_echo, work, shape)
            found.append(Measurement(_name("client", work, shape), sides))
    return found


def _echo_rows() -> list[Row]:
    return [
        Row(
            f"echo-get-64x1-{kind}",
            f"getData ÷ a C echo server, 64x1, {program}.c",
            "per s",
            measurement,
            "per_s",
            ECHO,
            at_least(_ECHO_RATE),
        )
        for kind, program, measurement in (
            ("load", LOAD, "apache-get-64x1"),
            ("client", CLIENT_LOAD, "client-get-64x1"),
        )
    ]


_served_rows, _served_measurements = _serving_parts()
ROWS: Final = [*_redis_rows(), *_served_rows, *_client_rows(), *_echo_rows()]
MEASUREMENTS: Final = [*_measurements(), *_served_measurements]
