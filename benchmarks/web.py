"""What ``zoolet web`` needs for a znode with many children, and what this costs the server.

- ``rows``: the time until Chromium shows the first names of a znode with CHILDREN children, its
  heap, and the memory of the page's process. Beside it: a page that lists all children at once.
- ``server``: the load generator in C asks for getData on 64 connections, one request at a time
  each: without the page, while the page loads the list again and again, and beside a program that
  uses as much CPU time as the page. The load has a fixed rate, so that the processes share the
  cores as they do in use.
- ``updates``: PAGES pages show one subtree that changes ten times a second: the time from the reply
  to a write until the page shows it, and the memory of the page's process.

Prints the medians of the rounds, with minimum and maximum. Usage: see --help.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks import servers
from benchmarks.web_parts import rows, server_load, updates

Figures = Mapping[str, float]

WANTED: Final = {
    "first rows, s": 1.0,
    "p99 of getData with the page ÷ without": 1.25,
    "longest pause of the server, ms": 20.0,
    "update of a page, p99, s": 1.0,
    "process, 100 pages, MB": 400.0,
}
"""The most that the figures may be."""

PARTS: Final[Mapping[str, Callable[[int, float], Figures]]] = {
    "rows": rows.measure,
    "server": server_load.measure,
    "updates": updates.measure,
}


def show(found: Mapping[str, list[float]], console: Console) -> None:
    """Print the median, the minimum and the maximum of each figure."""
    table = Table("", "median", "from", "to", "wanted")
    for name, values in found.items():
        figures = [statistics.median(values), min(values), max(values)]
        wanted = f"≤ {WANTED[name]:g}" if name in WANTED else ""
        table.add_row(name, *(f"{value:,.2f}" for value in figures), wanted)
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description=__doc__)
    parser.add_argument("--children", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--only", choices=list(PARTS), help="the part to measure")
    options = parser.parse_args()
    servers.touch_memory()
    found: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, measure in PARTS.items():
            if options.only in {None, name}:
                for figure, value in measure(options.children, options.seconds).items():
                    found.setdefault(figure, []).append(value)
    show(found, Console())


if __name__ == "__main__":
    main()
