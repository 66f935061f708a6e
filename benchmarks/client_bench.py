"""zoolet's clients beside sockets, kazoo and aiozk: the rows of ``make bench-client``.

One compiled server serves all systems; it syncs every write to the disk of this checkout. In each
round, each system runs in a new process, one after the other; every second round in reverse.
Prints each row with zoolet's client interpreted and compiled. Usage: see --help.
"""

import argparse
import compileall
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

import zoolet
from benchmarks import servers
from benchmarks.client_costs import idle_mb, import_ms
from benchmarks.client_rows import COMPILED, INTERPRETED, LOAD, ONE_CORE, ROWS, Measured, Row, show
from benchmarks.client_timing import OUTSTANDING
from benchmarks.native import run_load
from zoolet.model.build import KIND

ROUNDS = 5
CHECKOUT = Path(__file__).resolve().parents[1]
SCRATCH = CHECKOUT / ".cache" / "benchmarks"
AIOZK = CHECKOUT / ".cache" / "job-peers" / "aiozk" / "bin" / "python"
MODULES = {
    INTERPRETED: "client_zoolet",
    COMPILED: "client_zoolet",
    "socket": "client_socket",
    "stream": "client_socket",
    "kazoo": "client_kazoo",
    "aiozk": "client_aiozk",
}

_WARMUP_S = 0.3
_MARGIN_S = 60.0


class Bench(NamedTuple):
    """What is the same for all measurements.

    Attributes:
        server: the server.
        seconds: the time of one measurement.
        sources: the parent of the package zoolet, by system; others use the compiled one.
    """

    server: servers.Running
    seconds: float
    sources: Mapping[str, Path]

    def measure(self, measured: Measured) -> float:
        """Return one figure; raises RuntimeError."""
        environment = self._environment(measured.system)
        library = measured.system if measured.system == "kazoo" else "zoolet"
        if measured.system == LOAD:
            timed = (_WARMUP_S, self.seconds, measured.scenario)
            return float(run_load("requests", self.server.port, 1, OUTSTANDING, *timed)["per_s"])
        if measured.scenario == "import":
            return import_ms(library, environment)
        if measured.scenario == "idle":
            return idle_mb(library, f"127.0.0.1:{self.server.port}", environment)
        return self._run(measured, environment)

    def _environment(self, system: str) -> dict[str, str]:
        source = self.sources.get(system, self.sources[COMPILED])
        return os.environ | {"PYTHONPATH": str(source)}

    def _run(self, measured: Measured, environment: Mapping[str, str]) -> float:
        python = AIOZK if measured.system == "aiozk" else Path(sys.executable)
        module = f"benchmarks.{MODULES[measured.system]}"
        done = subprocess.run(
            [python, "-m", module, measured.scenario, str(self.server.port), str(self.seconds)],
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=self.seconds + _MARGIN_S,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{measured}: {done.stderr}")
        return float(done.stdout)


@contextlib.contextmanager
def on_cores(pid: int, *, one: bool) -> Iterator[None]:
    """Let this process, its children and a server use one core, or all."""
    cores = os.sched_getaffinity(0)
    used = {min(cores)} if one else cores
    _set_cores(pid, used)
    os.sched_setaffinity(0, used)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        _set_cores(pid, cores)


def _set_cores(pid: int, cores: set[int]) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def measure(rows: Sequence[Row], bench: Bench, rounds: int) -> dict[Measured, list[float]]:
    """Measure everything that the rows need, in turn; returns the figures of each round."""
    progress = Console(stderr=True)
    wanted = dict.fromkeys(each for row in rows for each in row.measured)
    figures: dict[Measured, list[float]] = {
        each: [] for each in wanted if each.system != "aiozk" or AIOZK.exists()
    }
    for number in range(rounds):
        for each in list(figures)[:: 1 if number % 2 == 0 else -1]:
            with on_cores(bench.server.pid, one=each.scenario in ONE_CORE):
                found = bench.measure(each)
            figures[each].append(found)
            progress.print(f"{number + 1}: {each.system} {each.scenario}: {found:,.2f}")
    return figures


@contextlib.contextmanager
def interpreted_copy() -> Iterator[Path]:
    """Copy zoolet's sources without its compiled modules; yields the parent of the package."""
    with servers.scratch(SCRATCH) as home:
        package = Path(zoolet.__file__).parent
        shutil.copytree(package, home / "zoolet", ignore=shutil.ignore_patterns("*.so"))
        compileall.compile_dir(home, quiet=1)
        yield home


def machine() -> str:
    """Return the processor, the number of cores, the load and the Python."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, "
        f"load before the run {os.getloadavg()[0]:.2f}, Python {platform.python_version()}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=0.7, help="of each measurement")
    parser.add_argument("--only", nargs="*", default=[], help="scenarios")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    rows = [row for row in ROWS if not options.only or row.scenario in options.only]
    SCRATCH.mkdir(parents=True, exist_ok=True)
    if KIND != COMPILED:
        raise SystemExit("The client and the server are not compiled: run make setup.")
    if not AIOZK.exists():
        sys.stderr.write(
            "aiozk is not installed, so it is left out: make bench-client installs it\n"
        )
    about = machine()
    with (
        interpreted_copy() as copy,
        servers.scratch(SCRATCH) as home,
        servers.zoolet(home) as server,
    ):
        run_load("requests", server.port, 1, 1, 0, 0, "none")
        compiled = Path(zoolet.__file__).parents[1]
        bench = Bench(server, options.seconds, {INTERPRETED: copy, COMPILED: compiled})
        figures = measure(rows, bench, options.rounds)
    if options.json:
        found = [[*measured, values] for measured, values in figures.items()]
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    console = Console(width=220)
    console.print(f"{about}; {options.rounds} rounds of {options.seconds:g} s")
    console.print(show(rows, figures))


if __name__ == "__main__":
    main()
