"""What an archiver costs an ensemble, and what an archive needs.

In each round three members of Apache ZooKeeper run. Apache's observer and ``zoolet archive`` join
them in turn, and a follower gets as many setData as it can serve. Prints the medians, and the
median of the ratios of the rounds. Then a standalone zoolet gets RATE setData a second, and the
size of its archive gives the bytes per day. Usage: see --help.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import servers
from benchmarks.native import run_load, start_load
from benchmarks.observer import HEAP_MIB, MY_ID, SETTINGS
from tests.support.ensemble import ApacheEnsemble, new_apache_observer
from zoolet.testing import ServerProcess

WANTED = 0.97
RATE = 1000
_JOIN_LIMIT_S = 60.0
_STOP_LIMIT_S = 60.0
_S_PER_DAY = 86_400
_RATE_S = 60.0
"""How long the standalone server is written; the 1,000 znodes that are made first count little."""

_progress = Console(stderr=True)


@contextlib.contextmanager
def _archiver(source: list[str], archive: Path) -> Iterator[None]:
    """Run an archiver; return when the archive has its first objects."""
    command = [sys.executable, "-m", "zoolet", "archive", *source, "--to", str(archive)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        limit_s = time.monotonic() + _JOIN_LIMIT_S
        while not list(archive.glob("timelines/*")):
            if process.poll() is not None or time.monotonic() > limit_s:
                raise RuntimeError(f"the archiver did not begin: {' '.join(command)}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(timeout=_STOP_LIMIT_S)


@contextlib.contextmanager
def _learner(kind: str, home: Path, ensemble: ApacheEnsemble) -> Iterator[None]:
    if kind == "observer":
        options = (f"-Xmx{HEAP_MIB}m",)
        with new_apache_observer(home / kind, ensemble, MY_ID, SETTINGS, options):
            yield
        return
    hosts = ",".join(f"127.0.0.1:{member.port}" for member in ensemble.members)
    with _archiver(["--from", hosts, "--work-dir", str(home / "work")], home / kind):
        yield


def throughput(options: argparse.Namespace) -> dict[str, list[float]]:
    """Return the writes per second of each round, by what has joined the ensemble."""
    kinds = ["observer", "archiver"]
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(options.rounds):
        with (
            servers.scratch() as home,
            ApacheEnsemble(home / "members", servers.JARS, HEAP_MIB, SETTINGS) as ensemble,
        ):
            leader = ensemble.leader()
            follower = next(member for member in ensemble.members if member is not leader)
            load = ("requests", follower.port, 16, 32)
            run_load(*load, 0, options.warmup, "set")
            for kind in kinds[:: 1 if number % 2 == 0 else -1]:
                with _learner(kind, home, ensemble):
                    figures = run_load(*load, options.warmup, options.seconds, "set")
                found[kind].append(figures["per_s"])
                _progress.print(f"{kind}: {figures}", soft_wrap=True)
    return found


def bytes_per_day() -> tuple[float, float]:
    """Return the bytes per day of an archive and of the logs, with RATE setData a second."""
    with servers.scratch() as home, ServerProcess(home / "server", servers.SETTINGS) as server:
        data_dir = server.directory / "data"
        run_load("requests", server.port, 1, 1, 0, 0.5, "get")  # makes the znodes
        with _archiver(["--from-dir", str(data_dir)], home / "archive"):
            load = start_load(
                *("requests", server.port, 16, 32, 0, _RATE_S, "set"),
                settings={"RATE": RATE},
            )
            load.communicate(timeout=_RATE_S + _STOP_LIMIT_S)
        archived = sum(each.stat().st_size for each in (home / "archive/txns").glob("*/*"))
        logs = (data_dir / "version-2").glob("log.*")
        logged = sum(len(each.read_bytes().rstrip(b"\0")) for each in logs)
    return archived / _RATE_S * _S_PER_DAY, logged / _RATE_S * _S_PER_DAY


def main() -> None:
    """Measure and print; the exit status is 1 if the ensemble is slower than wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--warmup", type=float, default=4.0, help="seconds that are not counted")
    options = parser.parse_args()
    servers.touch_memory()
    servers.write_bytecode(None)
    found = throughput(options)
    pairs = zip(found["archiver"], found["observer"], strict=True)
    ratios = [ours / theirs for ours, theirs in pairs]
    ratio = statistics.median(ratios)
    table = Table("setData 16x32 of the ensemble, per s", "median", "of the rounds")
    for kind, rates in found.items():
        spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
        table.add_row(f"with {kind}", f"{statistics.median(rates):,.0f}", spread)
    table.add_row("ratio", f"{ratio:.3f}", f"{min(ratios):.3f} to {max(ratios):.3f}")
    shown = Console(width=120)
    shown.print(table)
    archived, logged = bytes_per_day()
    shown.print(
        f"{RATE:,} setData of 100 bytes a second: {archived / 1e9:.2f} GB a day in the archive,"
        f" {logged / 1e9:.2f} GB in a log"
    )
    if ratio < WANTED:
        raise SystemExit(f"wanted: a ratio of at least {WANTED}")


if __name__ == "__main__":
    main()
