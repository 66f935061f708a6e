"""What zoolet serves beside Apache ZooKeeper and a C echo server, or beside an older zoolet.

In each round every server is started in turn on an empty data directory, warmed up, and given the
same work. Prints medians, latencies, the ratio to Apache (or to the other zoolet) and what is
wanted of that beside Apache. Usage: see --help.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import servers
from benchmarks.native import run_load, start_load
from benchmarks.verdict import LEAST_PAIRS, Verdict

WATCHING_CONNECTIONS, WATCHES_EACH, WATCH_ROUNDS = 1000, 10, 5
IDLE_SESSIONS, IDLE_TIMEOUT_MS, IDLE_S = 10_000, 15_000, 20.0


Measure = Callable[[servers.Running, argparse.Namespace], dict[str, float]]


class Row(NamedTuple):
    """One line of the table: a throughput, or something of which less is better.

    Attributes:
        name: what is measured.
        unit: of the figure.
        wanted: what the ratio to Apache must be.
        more_is_better: whether ``wanted`` is the least, or the most.
        measure: returns figures by name; rows that share it are measured at once.
        figure: which of them it is; latencies in µs are shown beside it, where there are some.
        with_echo: whether the echo server can do it too.
    """

    name: str
    unit: str
    wanted: float
    more_is_better: bool
    measure: Measure
    figure: str = "per_s"
    with_echo: bool = False


def _requests(work: str, connections: int, outstanding: int) -> Measure:
    return lambda server, options: run_load(
        *("requests", server.port, connections, outstanding),
        *(options.warmup, options.seconds, work),
    )


def _scaled(number: int, options: argparse.Namespace) -> int:
    return max(1, int(number * options.scale))


def _watches(server: servers.Running, options: argparse.Namespace) -> dict[str, float]:
    connections = _scaled(WATCHING_CONNECTIONS, options)
    printed = run_load("watches", server.port, connections, WATCHES_EACH, WATCH_ROUNDS)
    return {"last_ms": statistics.median(printed["last_us"]) / 1000}


def _idle(server: servers.Running, options: argparse.Namespace) -> dict[str, float]:
    sessions = _scaled(IDLE_SESSIONS, options)
    load = start_load("idle", server.port, sessions, IDLE_TIMEOUT_MS, IDLE_S)
    try:
        load.stdout.readline()
        time.sleep(2)
        before = server.usage()
        if load.wait(IDLE_S + 30):
            raise RuntimeError("the load of idle sessions ended with an error")
        after = server.usage()
    finally:
        load.kill()
        load.wait()
    return {"resident_mb": before.resident_mb, "cpu_s": after.cpu_s - before.cpu_s}


def _empty(server: servers.Running, options: argparse.Namespace) -> dict[str, float]:
    del options
    time.sleep(1)
    return {"start_ms": server.start_s * 1000, "resident_mb": server.usage().resident_mb}


ROWS = [
    Row("get 16x32", "/s", 6.0, True, _requests("get", 16, 32), with_echo=True),
    Row("mixed 16x32", "/s", 4.0, True, _requests("mixed", 16, 32)),
    Row("set 16x32", "/s", 3.0, True, _requests("set", 16, 32)),
    Row("create 16x32", "/s", 3.0, True, _requests("create", 16, 32)),
    Row("children 16x32", "/s", 3.0, True, _requests("children", 16, 32)),
    Row("multi 16x8", "/s", 3.0, True, _requests("multi", 16, 8)),
    Row("get 64x1", "/s", 2.2, True, _requests("get", 64, 1), with_echo=True),
    Row("set 64x1", "/s", 2.0, True, _requests("set", 64, 1)),
    Row("set 1x1", "µs p50", 0.8, False, _requests("set", 1, 1), "p50_us"),
    Row("watches", "ms", 1 / 3, False, _watches, "last_ms"),
    Row("idle memory", "MB", 0.5, False, _idle, "resident_mb"),
    Row("idle pings", "CPU s", 0.5, False, _idle, "cpu_s"),
    Row("start", "ms", 0.25, False, _empty, "start_ms"),
    Row("resident empty", "MB", 0.35, False, _empty, "resident_mb"),
]

OURS = "zoolet"

Start = Callable[[Path], AbstractContextManager[servers.Running]]
"""Runs a server on a directory."""

Starters = dict[str, Start]
"""How each server is started; the first is what zoolet is compared with."""


def starters(checkout: Path | None) -> Starters:
    """Return Apache, zoolet and the echo server, or another checkout's zoolet and this one."""
    if checkout is not None:
        return {"before": servers.revision(checkout), OURS: servers.zoolet}
    return {"apache": servers.apache, OURS: servers.zoolet, "echo": servers.echo}


Figures = dict[str, dict[str, list[dict[str, float]]]]
"""By row and server, the figures of each round."""


def measure(rows: list[Row], started: Starters, options: argparse.Namespace) -> Figures:
    """Run every row on every server, in up to ``rounds`` rounds; every other one in reverse."""
    progress = Console(stderr=True)
    found: Figures = {row.name: {name: [] for name in started} for row in rows}
    together: dict[Measure, list[Row]] = {}
    for row in rows:
        together.setdefault(row.measure, []).append(row)
    for number in range(options.rounds):
        for measure_once, shown in together.items():
            for name, start in list(started.items())[:: 1 if number % 2 == 0 else -1]:
                if name == "echo" and not shown[0].with_echo:
                    continue
                with servers.scratch() as home, start(home / name) as server:
                    figures = measure_once(server, options)
                for row in shown:
                    found[row.name][name].append(figures)
                    progress.print(f"{row.name} {name}: {figures}", soft_wrap=True)
    return found


def _median(rounds: list[dict[str, float]], key: str) -> float | None:
    values = [figures[key] for figures in rounds if key in figures]
    return statistics.median(values) if values else None


def _ratio(ours: list[dict[str, float]], theirs: list[dict[str, float]], key: str) -> float | None:
    """Return the median of the ratios of paired rounds."""
    pairs = zip(ours, theirs, strict=False)
    ratios = [us[key] / them[key] for us, them in pairs if key in us and key in them]
    return statistics.median(ratios) if ratios else None


def show(rows: list[Row], found: Figures, base: str) -> Table:
    """Return the table."""
    table = Table(
        *("", "unit", base, OURS, "ratio", "wanted of Apache", "of echo"),
        *("p50 µs", "p99 µs", "p999 µs", "p999 ratio"),
    )
    for row in rows:
        rounds = found[row.name]
        ratio = _ratio(rounds[OURS], rounds[base], row.figure)
        reached = ratio is not None and (
            ratio >= row.wanted if row.more_is_better else ratio <= row.wanted
        )
        sign = "≥" if row.more_is_better else "≤"
        latencies = [
            " / ".join(
                _text(_median(rounds[name], key), 0)
                for name in (base, OURS)
                if any(key in figures for figures in rounds[name])
            )
            for key in ("p50_us", "p99_us", "p999_us")
        ]
        table.add_row(
            row.name,
            row.unit,
            _text(_median(rounds[base], row.figure), 1),
            _text(_median(rounds[OURS], row.figure), 1),
            f"{'[green]' if reached else '[red]'}{_text(ratio, 2)}",
            f"{sign} {row.wanted:.2f}",
            _text(_ratio(rounds[OURS], rounds.get("echo", []), row.figure), 2),
            *latencies,
            _text(_ratio(rounds[OURS], rounds[base], "p999_us"), 2),
        )
    return table


def compare(rows: list[Row], found: Figures, base: str) -> tuple[Table, list[str]]:
    """Return the table of a comparison with an older version, and the rows that are slower."""
    table = Table("", "unit", "before", "now", "median ratio", "95% interval", "verdict")
    slower: list[str] = []
    for row in rows:
        rounds = found[row.name]
        ratios = [
            now[row.figure] / before[row.figure]
            for now, before in zip(rounds[OURS], rounds[base], strict=True)
        ]
        if not row.more_is_better:
            ratios = [1 / ratio for ratio in ratios]
        verdict = Verdict.of(ratios)
        if verdict.is_slower:
            slower.append(row.name)
        table.add_row(
            row.name,
            row.unit,
            _text(_median(rounds[base], row.figure), 1),
            _text(_median(rounds[OURS], row.figure), 1),
            f"{verdict.median:.3f}",
            f"{verdict.low:.3f} to {verdict.high:.3f}",
            "[red]slower" if verdict.is_slower else "not slower",
        )
    return table, slower


def _text(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, help="3; 9 with --against")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warmup", type=float, default=5.0)
    parser.add_argument("--scale", type=float, default=1.0, help="of sessions and watches")
    parser.add_argument("--only", nargs="*", default=[], help="rows whose names begin so")
    parser.add_argument(
        "--against", type=Path, metavar="CHECKOUT", help="compare with the zoolet in there instead"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.against is None else LEAST_PAIRS)
    rows = [row for row in ROWS if not options.only or row.name.startswith(tuple(options.only))]
    started = starters(options.against)
    servers.touch_memory()
    servers.write_bytecode(options.against)
    found = measure(rows, started, options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    if options.against is None:
        Console(width=150).print(show(rows, found, next(iter(started))))
        return
    table, slower = compare(rows, found, next(iter(started)))
    Console(width=150).print(table)
    if slower:
        raise SystemExit("slower than before: " + ", ".join(slower))


if __name__ == "__main__":
    main()
