"""What a test pays for its ZooKeeper: start, wipe and stop of each kind of server, beside Apache's.

Prints the medians of ROUNDS rounds in milliseconds, and the first start of a process, which loads
what the later ones find loaded. A wipe is what is between two tests; Apache ZooKeeper and a process
are wiped by beginning again on an empty directory. Usage: python -m benchmarks.fixture_cost [ROUNDS
[JARS]].
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.servers import scratch
from zoolet.testing import ApacheServer, EmbeddedServer, ServerProcess
from zoolet.testing.servers.apache import DEBIAN_JARS
from zoolet.testing.servers.base import ManagedServer
from zoolet.testing.servers.process import ExternalServer

PROCESS_ROUNDS = 5
ZNODES_A_TEST = 20
FIRST_START = """
import time
began = time.perf_counter()
from zoolet.testing import EmbeddedServer
loaded = time.perf_counter()
with EmbeddedServer():
    print((loaded - began) * 1000, (time.perf_counter() - loaded) * 1000)
"""

Costs = dict[str, list[float]]


def timed_ms(call: Callable[[], object]) -> float:
    """Return how many milliseconds a call takes."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def use(server: ManagedServer) -> None:
    """Do what a small test does, and leave its znodes behind."""
    client = server.client()
    client.start()
    for number in range(ZNODES_A_TEST):
        client.create(f"/{number}", b"x")
    client.stop()
    client.close()


def embedded_costs(rounds: int, directory: Path | None) -> Costs:
    """Measure servers in this process, in memory or in a directory."""
    costs: Costs = {"start": [], "wipe": [], "stop": []}
    for number in range(rounds):
        began = time.perf_counter()
        server = EmbeddedServer(None if directory is None else directory / str(number))
        server.start()
        costs["start"].append((time.perf_counter() - began) * 1000)
        use(server)
        costs["wipe"].append(timed_ms(server.wipe))
        use(server)
        costs["stop"].append(timed_ms(server.close))
    return costs


def process_costs(make: Callable[[], ExternalServer]) -> Costs:
    """Measure servers in processes of their own."""
    costs: Costs = {"start": [], "wipe": [], "stop": []}
    for _ in range(PROCESS_ROUNDS):
        server = make()

        def wipe(server: ExternalServer = server) -> None:
            server.kill()
            shutil.rmtree(server.directory / "data", ignore_errors=True)
            server.start()

        costs["start"].append(timed_ms(server.start))
        use(server)
        costs["wipe"].append(timed_ms(wipe))
        use(server)
        costs["stop"].append(timed_ms(server.stop))
    return costs


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    jars = Path(sys.argv[2]) if len(sys.argv) > 2 else DEBIAN_JARS
    printed = [
        subprocess.run(
            [sys.executable, "-c", FIRST_START], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(PROCESS_ROUNDS)
    ]
    loading, first = (statistics.median(map(float, each)) for each in zip(*printed, strict=True))
    with scratch() as home:
        measured = {
            "EmbeddedServer(), in memory": embedded_costs(rounds, None),
            "EmbeddedServer(directory)": embedded_costs(rounds, home / "embedded"),
            "ServerProcess(), in memory": process_costs(ServerProcess),
            "ApacheServer": process_costs(
                lambda: ApacheServer(Path(tempfile.mkdtemp(dir=home)), jars)
            ),
        }
    table = Table("ms", "start", "wipe", "stop")
    for name, costs in measured.items():
        table.add_row(name, *(f"{statistics.median(figures):.1f}" for figures in costs.values()))
    console = Console()
    console.print(table)
    console.print(f"The first start of a process: {first:.1f} ms, and {loading:.0f} ms of imports")


if __name__ == "__main__":
    main()
