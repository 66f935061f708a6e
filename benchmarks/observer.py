"""What an observer serves beside Apache's observer, in the same place of an ensemble.

In each round three Apache members run. Each observer joins them in turn, and is given the same
work; with many znodes, each observer joins with an empty directory. Prints medians, the median of
the ratios of the rounds, and a verdict for each row. Usage: see --help.
"""

import argparse
import contextlib
import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import observer_lag, servers
from benchmarks.native import run_load, start_load
from benchmarks.observer_join import large_ensemble, measure_join
from tests.support.ensemble import ApacheEnsemble, new_apache_observer, new_observer
from zoolet.model.build import KIND
from zoolet.testing.servers.process import ExternalServer

HEAP_MIB = 1000
"""Java's -Xmx, which Apache's own zkServer.sh gives a server."""

MY_ID = 101
WRITES_PER_S = 2000
SETTINGS = {**servers.SETTINGS, "initLimit": 60, "syncLimit": 30}
MOST_LAG_MS = 20.0
OBSERVERS = ("Apache's", "zoolet's")

_progress = Console(stderr=True)

Figures = dict[str, float]
Found = dict[str, dict[str, list[Figures]]]
"""By measurement and observer, the figures of each round."""


class Place(NamedTuple):
    """Where a measurement runs: the ports of the observer, of a follower and of the leader."""

    observer: int
    follower: int
    leader: int


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        measurement: the name of the measurement; see ``MEASUREMENTS``.
        figure: the figure of it.
        wanted: the least or the most ratio to Apache's observer; None: ``most`` is wanted.
        most: the most that the figure itself may be; None: any.
    """

    name: str
    unit: str
    measurement: str
    figure: str
    wanted: float | None
    more_is_better: bool = False
    most: float | None = None


ROWS = [
    Row("getData 16x32", "/s", "get", "per_s", 15.0, more_is_better=True),
    Row("getData 16x32, 2,000 writes/s", "/s", "get-while", "per_s", 15.0, more_is_better=True),
    Row("setData 16x32", "/s", "set", "per_s", 1.0, more_is_better=True),
    Row("setData 1x1, p50", "µs", "set-alone", "p50_us", 1.0),
    Row("lag, median", "ms", "lag", "lag_p50_ms", None, most=MOST_LAG_MS),
    Row("lag, p99", "ms", "lag", "lag_p99_ms", 1.0),
    Row("writes/s meanwhile", "/s", "lag", "per_s", None),
    Row("resident", "MB", "join", "resident_mb", 0.5),
    Row("last snapshot byte to read", "s", "join", "after_snapshot_s", 0.5),
    Row("join", "s", "join", "join_s", 1.0),
]


def _load(work: str, connections: int, outstanding: int) -> Callable[..., Figures]:
    return lambda place, options: run_load(
        *("requests", place.observer, connections, outstanding),
        *(options.warmup, options.seconds, work),
    )


def _get_while_writing(place: Place, options: argparse.Namespace) -> Figures:
    lasting_s = options.warmup + options.seconds
    writes = start_load(
        *("requests", place.follower, 16, 32, 0.5, lasting_s + 2, "set"),
        settings={"RATE": WRITES_PER_S},
    )
    try:
        reads = _load("get", 16, 32)(place, options)
        written = json.loads(writes.communicate(timeout=lasting_s + 60)[0])
    finally:
        writes.kill()
        writes.wait()
    return {**reads, "writes_per_s": written["per_s"]}


def _lag_while_saturated(place: Place, options: argparse.Namespace) -> Figures:
    writes = start_load(
        *("requests", place.follower, 16, 32, 1.0, options.warmup + options.seconds, "set")
    )
    try:
        lags_ms = observer_lag.measure_lags(place.leader, place.observer, options.seconds)
        written = json.loads(writes.communicate(timeout=options.seconds + 60)[0])
    finally:
        writes.kill()
        writes.wait()
    return {**observer_lag.figures(lags_ms), "per_s": written["per_s"]}


MEASUREMENTS: dict[str, Callable[[Place, argparse.Namespace], Figures]] = {
    "get": _load("get", 16, 32),
    "get-while": _get_while_writing,
    "set": _load("set", 16, 32),
    "set-alone": _load("set", 1, 1),
    "lag": _lag_while_saturated,
}


def _start(
    kind: str, home: Path, ensemble: ApacheEnsemble, lines: Mapping[str, object]
) -> ExternalServer:
    """Return an observer of one kind, not started."""
    settings = {**SETTINGS, **lines}
    if kind == OBSERVERS[0]:
        return new_apache_observer(home, ensemble, MY_ID, settings, (f"-Xmx{HEAP_MIB}m",))
    return new_observer(home, ensemble, MY_ID, settings)


@contextlib.contextmanager
def _members(home: Path) -> Iterator[ApacheEnsemble]:
    with ApacheEnsemble(home / "members", servers.JARS, HEAP_MIB, SETTINGS) as ensemble:
        yield ensemble


def measure(options: argparse.Namespace) -> Found:
    """Run all wanted measurements in all rounds."""
    names = [name for name in MEASUREMENTS if name in options.only]
    found: Found = {}
    for number in range(options.rounds):
        order = OBSERVERS[:: 1 if number % 2 == 0 else -1]
        if names:
            with servers.scratch() as home, _members(home) as ensemble:
                # Java compiles while the members work. The first observer must not pay for that.
                run_load("requests", ensemble.members[0].port, 16, 32, 0, options.warmup, "set")
                for kind in order:
                    _measure_loads(kind, home, ensemble, names, options, found)
        if "join" in options.only:
            with (
                servers.scratch() as home,
                large_ensemble(home, servers.JARS, options.znodes, HEAP_MIB) as ensemble,
            ):
                for kind in order:
                    start = partial(_start, kind)
                    figures = measure_join(start, home / kind[:6], ensemble, options.znodes)
                    _note(found, "join", kind, figures)
    return found


def _measure_loads(
    kind: str,
    home: Path,
    ensemble: ApacheEnsemble,
    names: list[str],
    options: argparse.Namespace,
    found: Found,
) -> None:
    leader = ensemble.leader()
    follower = next(member for member in ensemble.members if member is not leader)
    with _start(kind, home / kind[:6], ensemble, {}) as observer:
        place = Place(observer.port, follower.port, leader.port)
        for name in names:
            _note(found, name, kind, MEASUREMENTS[name](place, options))


def _note(found: Found, name: str, kind: str, figures: Figures) -> None:
    found.setdefault(name, {one: [] for one in OBSERVERS})[kind].append(figures)
    _progress.print(f"{name}, {kind}: {figures}", soft_wrap=True)


def show(found: Found, znodes: int) -> tuple[Table, list[str]]:
    """Return the table, and the rows that are not reached."""
    table = Table("", "unit", *OBSERVERS, "ratio", "wanted", "verdict")
    table.title = f"members and Apache's observer: -Xmx{HEAP_MIB}m; join with {znodes:,} znodes"
    missed: list[str] = []
    for row in ROWS:
        if row.measurement not in found:
            continue
        theirs, ours = (
            [figures[row.figure] for figures in found[row.measurement][kind]] for kind in OBSERVERS
        )
        ratio = statistics.median(us / them for us, them in zip(ours, theirs, strict=True))
        wanted, is_reached = _verdict(row, statistics.median(ours), ratio)
        if not is_reached:
            missed.append(row.name)
        table.add_row(
            row.name,
            row.unit,
            *(f"{statistics.median(each):,.2f}" for each in (theirs, ours)),
            f"{ratio:.2f}",
            wanted,
            "" if not wanted else "[green]reached" if is_reached else "[red]missed",
        )
    return table, missed


def _verdict(row: Row, figure: float, ratio: float) -> tuple[str, bool]:
    """Return what is wanted, in words, and whether it is reached."""
    if row.most is not None:
        return f"< {row.most:g} {row.unit}", figure < row.most
    if row.wanted is None:
        return "", True
    if row.more_is_better:
        return f"≥ {row.wanted:g}", ratio >= row.wanted
    return f"≤ {row.wanted:g}", ratio <= row.wanted


def main() -> None:
    """Measure and print; the exit status is 1 if a row is not reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--warmup", type=float, default=5.0, help="seconds that are not counted")
    parser.add_argument("--znodes", type=int, default=1_000_000, help="of the join")
    parser.add_argument(
        "--only", nargs="*", default=[*MEASUREMENTS, "join"], choices=[*MEASUREMENTS, "join"]
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    servers.touch_memory()
    servers.write_bytecode(None)
    found = measure(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    table, missed = show(found, options.znodes)
    shown = Console(width=150)
    shown.print(table)
    shown.print(f"zoolet is {KIND}; Apache ZooKeeper is in {servers.JARS.name}")
    if missed:
        raise SystemExit("not reached: " + ", ".join(missed))


if __name__ == "__main__":
    main()
