"""A histogram over many rows in Parquet: the first question, the second, and the first partial.

The files are generated: FILES files with a column of random doubles, and a column that the question
does not need. Each round starts two workers of zoolet, then two workers of Dask, each with one
process for tasks. Both read the same files with the same function (`benchmarks.histograms`), one
row group at a time. A question on a small file loads the libraries first, and is not counted. The
operating system has the files in its page cache.

Usage: python -m benchmarks.datasets [MILLIONS_OF_ROWS [ROUNDS]].
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.histograms import COLUMN, merge
from benchmarks.jobpeers import ENVIRONMENTS
from tests.support.jobs import WorkerProcess
from zoolet.jobs import Dispatcher
from zoolet.testing import ServerProcess

ROOT = "/jobs/bench"
CHECKOUT = Path(__file__).parents[1]
DASK = CHECKOUT / "benchmarks" / "peers" / "dask_datasets.py"
FILES = 10
GROUP_ROWS = 1_000_000
WORKERS = 2
QUESTIONS = (100, 64)
"""The number of bins of each question."""
SEED = 1
_TIMEOUT_S = 600.0


def generate(directory: Path, rows: int, files: int) -> None:
    """Write files with ``rows`` rows in all."""
    directory.mkdir()
    chance = np.random.default_rng(SEED)
    for number in range(files):
        count = rows // files
        table = pa.table(
            {
                COLUMN: chance.standard_normal(count),
                "detector": chance.integers(0, 1000, count, dtype=np.int32),
            }
        )
        pq.write_table(table, directory / f"{number:03d}.parquet", row_group_size=GROUP_ROWS)


def ask(dispatcher: Dispatcher, dataset: str, bins: int) -> dict[str, Any]:
    """Ask a question: the time of the answer and of the first partial result, in s, the answer."""
    began = time.perf_counter()
    result = dispatcher.map(
        "benchmarks.histograms:count", dataset, {"bins": bins}, columns=[COLUMN], reduce=merge
    )
    first_s, answer = 0.0, []
    for partial in result.partials():
        first_s = first_s or time.perf_counter() - began
        answer = partial.value
    return {"s": time.perf_counter() - began, "first_s": first_s, "answer": answer}


def with_zoolet(directory: Path, small: Path) -> list[dict[str, Any]]:
    """Ask the questions with two new workers of zoolet."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zoolet-bench-")))
        server = stack.enter_context(ServerProcess(home, {"tickTime": 2000}))
        dispatcher = stack.enter_context(Dispatcher(server.hosts, ROOT, create=True))
        for _ in range(WORKERS):
            worker = WorkerProcess(
                server.hosts, CHECKOUT, "--cache-groups", "1000", root=ROOT, loader=None
            )
            stack.callback(worker.close)
        dispatcher.datasets.create("small", "parquet", small)
        dispatcher.datasets.create("large", "parquet", directory)
        ask(dispatcher, "small", 10)
        return [ask(dispatcher, "large", bins) for bins in QUESTIONS]


def with_dask(directory: Path, small: Path) -> dict[str, list[dict[str, Any]]]:
    """Ask the questions with two new workers of Dask, without and with persisted data."""
    python = ENVIRONMENTS / "dask" / "bin" / "python"
    done = subprocess.run(
        [python, DASK, CHECKOUT, directory, small, *map(str, QUESTIONS)],
        capture_output=True,
        text=True,
        check=True,
        timeout=_TIMEOUT_S,
    )
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(rows: int, size_bytes: int, found: dict[str, list[list[dict[str, Any]]]]) -> None:
    """Print the medians of all rounds, and their ratios to Dask."""
    rounds = len(next(iter(found.values())))
    table = Table(
        "",
        "first question",
        "second question",
        "first partial result",
        title=f"{rows:,} rows, {size_bytes / 1e6:,.0f} MB of Parquet, {WORKERS} workers, the median"
        f" of {rounds} rounds",
    )
    medians = {
        name: (
            _median([answers[0]["s"] for answers in of_rounds]),
            _median([answers[1]["s"] for answers in of_rounds]),
            _median([answers[0]["first_s"] for answers in of_rounds]),
        )
        for name, of_rounds in found.items()
    }
    for name, (first_s, second_s, partial_s) in medians.items():
        table.add_row(name, f"{first_s:.2f} s", f"{second_s:.2f} s", f"{partial_s:.3f} s")
    Console().print(table)
    ours, dask, persisted = (medians[name] for name in ("zoolet", "Dask", "Dask, persisted"))
    say = Console().print
    say(f"first question: {dask[0] / ours[0]:.2f} x as fast as Dask", _verdict(ours[0] <= dask[0]))
    say(
        f"second question: {dask[1] / ours[1]:.2f} x as fast as Dask,"
        f" {persisted[1] / ours[1]:.2f} x as fast as Dask with persisted data,"
        f" {ours[0] / ours[1]:.2f} x as fast as the first question",
        _verdict(2 * ours[1] <= dask[1]),
    )
    say(
        f"first partial result: after {ours[2] / ours[0]:.1%} of the time of the first question",
        _verdict(10 * ours[2] <= ours[0]),
    )


def _median(times_s: Sequence[float]) -> float:
    return statistics.median(times_s)


def _verdict(is_good: bool) -> str:
    return "(as wanted)" if is_good else "(NOT AS WANTED)"


def main() -> None:
    """Generate the files, run the rounds, and print."""
    rows = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 100_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    found: dict[str, list[list[dict[str, Any]]]] = {
        "zoolet": [],
        "Dask": [],
        "Dask, persisted": [],
    }
    with tempfile.TemporaryDirectory(prefix="zoolet-bench-data-") as home:
        directory, small = Path(home) / "large", Path(home) / "small"
        generate(directory, rows, FILES)
        generate(small, 1000, 1)
        for _ in range(rounds):
            found["zoolet"].append(with_zoolet(directory, small))
            of_dask = with_dask(directory, small)
            found["Dask"].append(of_dask["plain"])
            found["Dask, persisted"].append(of_dask["persisted"])
            answers = [[each["answer"] for each in last[-1]] for last in found.values()]
            if answers.count(answers[0]) != len(answers):
                raise SystemExit("the answers differ")
        size_bytes = sum(path.stat().st_size for path in directory.iterdir())
    show(rows, size_bytes, found)


if __name__ == "__main__":
    main()
