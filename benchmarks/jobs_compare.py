"""This version of the job system beside an older one: the rows of ``make bench-jobs REF=``.

Both versions work on the server of this checkout, in alternating pairs. Prints the median ratio of
each row and its 95% confidence interval; ends with status 1 if a row is slower. Usage: see --help.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from benchmarks import servers
from benchmarks.jobs_rows import MANY_JOBS, MEASURES, RUN_JOBS, SINGLE_JOBS, cpu_s
from benchmarks.serving import OURS, Figures, Row, compare
from benchmarks.verdict import LEAST_PAIRS
from zoolet.testing import ServerProcess

BEFORE = "before"
HERE = Path(__file__).resolve().parent
PROGRAM = HERE / "jobs_rows.py"
_TIMEOUT_S = 300
_PACKETS = "zk_packets_received"


class JobRow(NamedTuple):
    """One line of the table: which figure of which measure, and whether more of it is better."""

    name: str
    unit: str
    more_is_better: bool
    measure: str
    figure: str


ROWS = [
    JobRow("20,000 submitted and run", "jobs/s", True, "many", "many_per_s"),
    JobRow("CPU of such a job, submitter", "µs", False, "many", "submitter_us"),
    JobRow("CPU of such a job, workers", "µs", False, "many", "workers_us"),
    JobRow("CPU of such a job, executors", "µs", False, "many", "executors_us"),
    JobRow("CPU of such a job, server", "µs", False, "many", "server_us"),
    JobRow("CPU of such a job, all", "µs", False, "many", "all_us"),
    JobRow("submitted and run", "jobs/s", True, "run", "run_per_s"),
    JobRow("one at a time", "ms p50", False, "run", "single_ms"),
    JobRow("requests per job", "", False, "run", "requests"),
    JobRow("CPU per job, all processes", "ms", False, "run", "cpu_ms"),
    JobRow("submit alone", "jobs/s", True, "submit", "submit_per_s"),
    JobRow("start of a worker to result", "ms", False, "submit", "start_ms"),
    JobRow("a worker killed, to last result", "s", False, "kill", "recovery_s"),
    JobRow("found in cache", "share", True, "locality", "hits"),
    JobRow("waited for its data", "ms p90", False, "locality", "waited_ms"),
]


def measure_once(name: str, source: Path) -> dict[str, float]:
    """Return the figures of one measure, with the version in ``source``, on a new server."""
    with servers.scratch() as home, ServerProcess(home, servers.SETTINGS) as server:
        began_s = cpu_s(server.pid)
        done = subprocess.run(
            [sys.executable, str(PROGRAM), name, server.hosts],
            env=os.environ | {"PYTHONPATH": str(source), "HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{name} with {source}: {done.stderr[-3000:]}")
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        server_us = (cpu_s(server.pid) - began_s) * 1e6 / MANY_JOBS
        packets = dict(line.split("\t") for line in server.ask("mntr").splitlines())[_PACKETS]
    if name == "many":
        parts = [figures[part] for part in ("submitter_us", "workers_us", "executors_us")]
        return figures | {"server_us": server_us, "all_us": sum(parts) + server_us}
    jobs = RUN_JOBS + SINGLE_JOBS
    return figures | {"requests": float(packets) / jobs, "cpu_ms": figures["cpu_s"] * 1000 / jobs}


def measure(names: list[str], sources: dict[str, Path], rounds: int) -> Figures:
    """Run each measure with both versions, ``rounds`` times; every other time in reverse."""
    progress = Console(stderr=True)
    found: Figures = {name: {version: [] for version in sources} for name in names}
    for number in range(rounds):
        for name in names:
            for version, source in list(sources.items())[:: 1 if number % 2 == 0 else -1]:
                figures = measure_once(name, source)
                found[name][version].append(figures)
                progress.print(f"{name} {version}: {figures}", soft_wrap=True)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", required=True)
    parser.add_argument("--rounds", type=int, default=LEAST_PAIRS)
    parser.add_argument("--only", nargs="*", default=list(MEASURES), choices=list(MEASURES))
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    sources = {BEFORE: options.against.resolve() / "src", OURS: HERE.parent / "src"}
    measured = measure(options.only, sources, options.rounds)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1))
    rows = [row for row in ROWS if row.measure in options.only]
    shown = [Row(r.name, r.unit, 0.0, r.more_is_better, _none, r.figure) for r in rows]
    found = {row.name: measured[row.measure] for row in rows}
    table, slower = compare(shown, found, BEFORE)
    Console(width=120).print(table)
    if slower:
        raise SystemExit("slower than before: " + ", ".join(slower))


def _none(*_: object) -> dict[str, float]:
    """Stand for the measure of a row: it was measured before."""
    return {}


if __name__ == "__main__":
    main()
