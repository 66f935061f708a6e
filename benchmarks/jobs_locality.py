"""How often a job finds its data loaded, and what it waits for that: with affinity and without.

GROUPS groups of data, WORKERS workers that hold GROUPS / WORKERS each: together just as many. A
stream of queries, one at a time at random groups, at a rate that leaves workers idle in between.
The first queries load each group once and are not counted. A job waits for the data's sake while
some worker is idle, so what it waited, less the time for which all were busy, is shown beside the
bounded round. Usage: python -m benchmarks.jobs_locality [QUERIES [GROUPS [WORKERS]]].
"""

import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from rich.console import Console
from rich.table import Table

from zoolet.jobs import Batch, Dispatcher, Job, Worker
from zoolet.testing import ServerProcess

ROOT = "/jobs/bench"
ROUND_MS = 200
TASK_S = 0.02
LOAD_S = 0.05
BETWEEN_S = 0.01
SEED = 1


def load(dataset: str, groupid: str) -> str:
    """Load a group, which takes longer than a task."""
    time.sleep(LOAD_S)
    return f"{dataset}:{groupid}"


def query(group: str, parameters: dict[str, int]) -> str:
    """Take a while with a group."""
    del parameters
    time.sleep(TASK_S)
    return group


@dataclass(frozen=True, slots=True)
class Figures:
    """What was found: the share of cache hits, and how long jobs waited to be taken, in ms."""

    hits: float
    waited_p50_ms: float
    waited_p99_ms: float
    waited_most_ms: float
    idle_most_ms: float


def measure(home: Path, round_ms: int, queries: int, groups: int, workers: int) -> Figures:
    """Run the stream; return what was found."""
    chance = random.Random(SEED)  # noqa: S311
    with ServerProcess(home, {"tickTime": 2000}) as server:
        running = []
        with Dispatcher(server.hosts, ROOT, create=True) as first:
            del first
        for _ in range(workers):
            running.append(
                Worker(
                    server.hosts,
                    ROOT,
                    loader="benchmarks.jobs_locality:load",
                    threads=True,
                    cache_groups=groups // workers,
                    locality_wait_ms=round_ms,
                )
            )
            running[-1].start()
        with Dispatcher(server.hosts, ROOT) as dispatcher:
            for group in range(groups):
                list(submit(dispatcher, group, -1 - group).results())
            batches = []
            for number in range(queries):
                batches.append(submit(dispatcher, chance.randrange(groups), number))
                time.sleep(chance.expovariate(1 / BETWEEN_S))
            jobs = [job for batch in batches for job in batch.results()]
        for worker in running:
            worker.stop()
    return figures_of(jobs, workers)


def submit(dispatcher: Dispatcher, group: int, number: int) -> Batch:
    """Submit one query."""
    return dispatcher.submit(
        "benchmarks.jobs_locality:query", "d", str(group), {"number": number}, reuse=True
    )


def figures_of(jobs: Sequence[Job], workers: int) -> Figures:
    """Return what the jobs tell."""
    waited = sorted((job.taken_ms or 0) - job.submitted_ms for job in jobs)
    cuts = quantiles(waited, n=100)
    return Figures(
        sum(job.cache_hit is True for job in jobs) / len(jobs),
        cuts[49],
        cuts[98],
        waited[-1],
        max(waited_while_idle(job, jobs, workers) for job in jobs),
    )


def waited_while_idle(job: Job, jobs: Sequence[Job], workers: int) -> float:
    """Return for how many ms a job waited while a worker had nothing to do."""
    start, end = job.submitted_ms, job.taken_ms or 0
    changes: list[tuple[int, int]] = []
    for other in jobs:
        began, ended = max(other.taken_ms or 0, start), min(other.finished_ms or 0, end)
        if other is not job and began < ended:
            changes += [(began, 1), (ended, -1)]
    idle_ms, busy, at = 0, 0, start
    for moment, change in [*sorted(changes), (end, 0)]:
        idle_ms += (moment - at) * (busy < workers)
        busy, at = busy + change, moment
    return idle_ms


def main() -> None:
    """Measure and print."""
    queries = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    groups = int(sys.argv[2]) if len(sys.argv) > 2 else 64
    workers = int(sys.argv[3]) if len(sys.argv) > 3 else 8
    table = Table(
        "",
        "found in cache",
        "waited p50",
        "p99",
        "longest",
        "longest while a worker was idle",
        title=f"{queries:,} queries over {groups} groups, {workers} workers holding"
        f" {groups // workers} each, a round of {ROUND_MS} ms",
    )
    for name, round_ms in (("affinity", ROUND_MS), ("no affinity", 0)):
        with tempfile.TemporaryDirectory(prefix="zoolet-bench-") as home:
            found = measure(Path(home), round_ms, queries, groups, workers)
        table.add_row(
            name,
            f"{found.hits:.1%}",
            f"{found.waited_p50_ms:.0f} ms",
            f"{found.waited_p99_ms:.0f} ms",
            f"{found.waited_most_ms:.0f} ms",
            f"{found.idle_most_ms:.0f} ms",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
