"""What the samples of requests cost the server: its CPU time for a request, with and without them.

One server runs, and the load generator in C keeps it busy. The sampling is switched on and off
again and again, every second time in the reverse order, so both have the same process, the same
connections and the same moment. Without samples, the server only counts the requests of each batch.

Prints the median of the ratios with its 95% confidence interval. Usage: see --help.
"""

import argparse
import asyncio
import contextlib
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import servers
from benchmarks.native import start_load
from benchmarks.verdict import Verdict
from zoolet.server.connections.sampling import Sampler
from zoolet.server.service import Server
from zoolet.server.zoo_cfg.reading import read_config
from zoolet.testing import ReservedPort
from zoolet.testing.servers.base import write_settings

ROWS: Final = ((16, 32), (64, 1))
"""The connections, and the outstanding requests of each."""

WANTED: Final = 1.01
"""The most CPU time of a request with samples, divided by that without."""

_NEVER: Final = 1 << 60
_WARMUP_S: Final = 2.0


class Pair(NamedTuple):
    """The CPU time of a request with samples and without them, in µs."""

    with_us: float
    without_us: float


class Served:
    """A server whose sampling can be switched: reads lines, "with" or "without"."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def switch(self, how: str) -> tuple[float, int]:
        """Switch; returns the CPU time of the server's thread in s, and how many requests it had.

        Raises:
            RuntimeError: the server has ended.
        """
        reading, writing = self._process.stdout, self._process.stdin
        if reading is None or writing is None:
            raise AssertionError("the server's process has no pipes")
        writing.write(how + "\n")
        writing.flush()
        line = reading.readline()
        if not line:
            raise RuntimeError("the server has ended")
        cpu_s, requests = line.split()
        return float(cpu_s), int(requests)

    def cpu_us(self, how: str, seconds: float) -> float:
        """Return the CPU time of a request, in µs."""
        cpu_s, requests = self.switch(how)
        time.sleep(seconds)
        until_s, until = self.switch(how)
        return (until_s - cpu_s) / (until - requests) * 1e6


async def _serve(path: Path) -> None:
    """Run a server until standard input ends."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    async with Server(read_config(path)) as server:
        processor = server._processor  # noqa: SLF001 -- no setting switches the sampling off
        without = Sampler(processor.scheduler.now_s())
        without._left, without._due_s = _NEVER, math.inf  # noqa: SLF001
        samplers = {"with": processor.sampler, "without": without}

        def switch() -> None:
            line = sys.stdin.readline()
            if not line:
                ended.set()
                return
            processor.sampler = samplers[line.strip()]
            sys.stdout.write(f"{time.thread_time()} {processor.stats.packets_received}\n")
            sys.stdout.flush()

        loop.add_reader(sys.stdin.fileno(), switch)
        await ended.wait()
        loop.remove_reader(sys.stdin.fileno())


@contextlib.contextmanager
def server(directory: Path) -> Iterator[tuple[int, Served]]:
    """Run a server with samples; yields its port, and what switches them."""
    port = ReservedPort()
    path = directory / "zoo.cfg"
    path.write_text(write_settings(directory / "data", port.number, servers.SETTINGS))
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sampling", "--serve", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        served = Served(process)
        served.switch("with")
        yield port.number, served


def measure(connections: int, outstanding: int, pairs: int, seconds: float) -> list[Pair]:
    """Return the pairs of a row; each of the two takes ``seconds``."""
    found: list[Pair] = []
    with servers.scratch() as home, server(home) as (port, served):
        lasting_s = (2 * seconds + 1.0) * pairs
        arguments = ("requests", port, connections, outstanding, _WARMUP_S, lasting_s, "get")
        with start_load(*arguments) as load:
            try:
                time.sleep(_WARMUP_S)
                for number in range(pairs):
                    order = ("with", "without") if number % 2 else ("without", "with")
                    used = {how: served.cpu_us(how, seconds) for how in order}
                    found.append(Pair(used["with"], used["without"]))
            finally:
                load.terminate()
    return found


def main() -> None:
    """Measure and print; the exit status is 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampling", description=__doc__)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each of a pair")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        uvloop.run(_serve(options.serve))
        return
    table = Table("getData", "without, µs", "with, µs", "ratio", "95% interval", f"≤ {WANTED}")
    is_missed = False
    for connections, outstanding in ROWS:
        pairs = measure(connections, outstanding, options.pairs, options.seconds)
        verdict = Verdict.of([pair.with_us / pair.without_us for pair in pairs])
        is_missed |= verdict.median > WANTED
        table.add_row(
            f"{connections} x {outstanding}",
            f"{statistics.median(pair.without_us for pair in pairs):.3f}",
            f"{statistics.median(pair.with_us for pair in pairs):.3f}",
            f"{verdict.median:.4f}",
            f"{verdict.low:.4f} to {verdict.high:.4f}",
            "missed" if verdict.median > WANTED else "reached",
        )
    Console().print(table)
    sys.exit(is_missed)


if __name__ == "__main__":
    main()
