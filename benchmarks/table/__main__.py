"""Measure zoolet beside Redis, Apache ZooKeeper and itself, and print one table with verdicts.

In each round, each server runs once. The value of a row is the median of the ratios of the rounds.
The exit status is 1 if a target is missed.
"""

import argparse
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import servers
from benchmarks.table import beside_apache, beside_itself, large, throughput
from benchmarks.table.rows import Row, show
from benchmarks.table.running import Bench, measure
from zoolet.model.build import KIND

_DIRECTORY = Path(__file__).parents[2] / ".cache" / "benchmarks"
_MODULES = (throughput, beside_apache, beside_itself)
ROWS = [row for module in _MODULES for row in module.ROWS]
EVERY_ROW = [*ROWS, *large.ROWS]
MEASUREMENTS = [measurement for module in (*_MODULES, large) for measurement in module.MEASUREMENTS]


def choose(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Return the rows with these names, or whose names begin so where no row has that name.

    Raises:
        ValueError: no row has such a name; the message names it.
    """
    chosen: set[str] = set()
    for name in names:
        exact = {row.name for row in rows if row.name == name}
        found = exact or {row.name for row in rows if row.name.startswith(name)}
        if not found:
            raise ValueError(f"no row is called {name!r}: --list prints the names")
        chosen |= found
    return [row for row in rows if row.name in chosen]


def _versions(scale: float) -> str:
    """Say what was measured."""
    texts = [f"zoolet is {KIND}", f"Apache ZooKeeper: {servers.JARS.name}, {servers.HEAP_MIB} MiB"]
    for program, option in (("java", "-version"), ("redis-server", "--version")):
        if shutil.which(program):
            command = [program, option]
            asked = subprocess.run(command, capture_output=True, text=True, check=False)
            texts.append((asked.stdout or asked.stderr).partition("\n")[0].strip())
    if scale != 1.0:
        texts.append(f"the numbers of znodes, sessions and watchers are multiplied by {scale:g}")
    return "; ".join(texts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--warmup", type=float, default=5.0, help="seconds that are not counted")
    parser.add_argument("--settle", type=float, default=10.0, help="seconds before memory is read")
    parser.add_argument("--scale", type=float, default=1.0, help="of znodes, sessions, watchers")
    parser.add_argument("--only", nargs="+", default=[], help="rows, by name or its beginning")
    parser.add_argument("--large", action="store_true", help="the rows of make bench-large instead")
    parser.add_argument("--list", action="store_true", help="print the names of the rows, and end")
    parser.add_argument("--directory", type=Path, default=_DIRECTORY, help="on the disk to measure")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0 or options.scale <= 0:
        parser.error("--rounds, --seconds and --scale must be above 0")
    return options


def main() -> None:
    """Measure and print."""
    options = _options()
    try:
        rows = choose(EVERY_ROW, options.only)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    rows = rows or (large.ROWS if options.large else ROWS)
    shown = Console(width=230)
    if options.list:
        for row in EVERY_ROW:
            shown.print(f"{row.name:26}{row.target or ''!s:8}{row.title}", highlight=False)
        return
    if options.scale == 1.0:
        servers.touch_memory()
    servers.write_bytecode(None)
    options.directory.mkdir(parents=True, exist_ok=True)
    with servers.scratch(options.directory) as directory:
        bench = Bench(*(directory, options.seconds, options.warmup, options.settle, options.scale))
        found = measure(rows, MEASUREMENTS, bench, options.rounds)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    table, missed = show(rows, found)
    shown.print(table)
    shown.print(_versions(options.scale), highlight=False)
    if missed:
        raise SystemExit("missed: " + ", ".join(missed))


if __name__ == "__main__":
    main()
