"""Jobs a second with more workers and executors, and with many waiting jobs.

- ``workers``: a submitter submits JOBS no-op jobs in one batch and reads all results, with 1, 2 and
  4 workers of 1 and 8 executors. The queue has one shard.
- ``waiting``: N jobs of priority 0 wait in a queue with SHARDS shards. The queue is paused while
  JOBS jobs of priority 1 are submitted. Then two workers with one executor run these jobs, and the
  submitter reads the results. The N jobs wait all the time.

The server syncs every change. Prints the median of the rounds, and the CPU time of a job in all
processes. All rows are measured once in each round, because other programs may use the machine.
A measurement ends after `TIME_LIMIT_S`, and each process may use `MEMORY_LIMIT_BYTES`. Usage: see
--help.
"""

import argparse
import contextlib
import os
import resource
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import servers
from benchmarks.jobs_rows import ROOT, TASK, WAIT_S, cpu_s, descendants, workers
from zoolet.jobs import ConnectionSettings, Dispatcher, JobRequest, QueueSettings
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.znodes.connection import connect
from zoolet.testing import ServerProcess

TIME_LIMIT_S = 900
MEMORY_LIMIT_BYTES = 12 << 30
WORKERS, EXECUTORS = (1, 2, 4), (1, 8)
WAITING = (1000, 1_000_000)
SHARDS = 16
FILL_JOBS = 50_000
"""The jobs of a batch of waiting jobs."""
GROUPS = 64


class Sample(NamedTuple):
    """One measurement.

    Attributes:
        rate_per_s: jobs a second, from the start to the last result.
        cpu_us: the CPU time of a job in all processes, in µs.
        submit_per_s: jobs a second that were submitted before the start; 0 if there were none.
    """

    rate_per_s: float
    cpu_us: float
    submit_per_s: float = 0.0


@contextlib.contextmanager
def running(
    shards: int, waiting: int, count: int, executors: int
) -> Iterator[tuple[Dispatcher, list[int]]]:
    """Run a server, a queue with waiting jobs, and workers; yield the ids of all processes.

    If jobs wait, the queue is paused.
    """
    with (
        servers.scratch() as home,
        ServerProcess(home, servers.SETTINGS) as server,
        contextlib.ExitStack() as opened,
    ):
        link = connect(ConnectionSettings(server.hosts))
        opened.callback(link.close, 10.0)
        queue = JobQueue(link, ROOT)
        queue.ensure_layout(QueueSettings(shards=shards))
        with Dispatcher(link, ROOT) as dispatcher:
            if waiting:
                queue.pause()
            for first in range(0, waiting, FILL_JOBS):
                dispatcher.submit_batch(grouped(min(FILL_JOBS, waiting - first), first))
            with workers(server.hosts, count, "--executors", str(executors)) as started:
                pids = [os.getpid(), server.pid]
                for worker in started:
                    pids += [worker.pid, *descendants(worker.pid)]
                yield dispatcher, pids


def grouped(count: int, first: int = 0, priority: int = 0) -> list[JobRequest]:
    """Return jobs whose groups are spread over the shards."""
    return [
        JobRequest(TASK, "d", str(n % GROUPS), {"n": n}, priority=priority)
        for n in range(first, first + count)
    ]


def with_workers(jobs: int, count: int, executors: int) -> Sample:
    """Measure one combination of workers and executors."""
    with running(1, 0, count, executors) as (dispatcher, pids):
        # The first jobs load the task in the executors.
        list(dispatcher.submit_batch(grouped(20 * count * executors)).results(WAIT_S))
        before_s, began = sum(map(cpu_s, pids)), time.perf_counter()
        batch = dispatcher.submit_batch(grouped(jobs, first=jobs))
        ended = sum(1 for _ in batch.results(WAIT_S))
        took_s, used_s = time.perf_counter() - began, sum(map(cpu_s, pids)) - before_s
    return _checked(jobs, ended, Sample(jobs / took_s, used_s * 1e6 / jobs))


def with_waiting(jobs: int, waiting: int, shards: int) -> Sample:
    """Measure the rate of ``jobs`` jobs while ``waiting`` other jobs wait."""
    with running(shards, waiting, 2, 1) as (dispatcher, pids):
        began = time.perf_counter()
        batch = dispatcher.submit_batch(grouped(jobs, first=waiting, priority=1))
        submit_per_s = jobs / (time.perf_counter() - began)
        before_s, began = sum(map(cpu_s, pids)), time.perf_counter()
        dispatcher.queue.pause(paused=False)
        ended = sum(1 for _ in batch.results(WAIT_S))
        took_s, used_s = time.perf_counter() - began, sum(map(cpu_s, pids)) - before_s
    return _checked(jobs, ended, Sample(jobs / took_s, used_s * 1e6 / jobs, submit_per_s))


def _checked(jobs: int, ended: int, sample: Sample) -> Sample:
    if ended != jobs:
        raise RuntimeError(f"{ended} of {jobs} jobs ended")
    return sample


Measure = Callable[[], Sample]


def rows(options: argparse.Namespace) -> dict[str, Measure]:
    """Return the measurements by the names of their rows."""
    found: dict[str, Measure] = {}
    for count in WORKERS if "workers" in options.only else ():
        for executors in EXECUTORS:
            name = f"{count} workers, {executors} executors each"
            found[name] = lambda c=count, e=executors: with_workers(options.jobs, c, e)  # type: ignore[misc]
    for waiting in options.waiting if "waiting" in options.only else ():
        name = f"{waiting:,} jobs wait"
        found[name] = lambda w=waiting: with_waiting(options.jobs, w, options.shards)  # type: ignore[misc]
    return found


def limit() -> None:
    """Limit the time of the next measurement, and the memory of this process and its children."""

    def stop(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"a measurement takes longer than {TIME_LIMIT_S} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(TIME_LIMIT_S)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=["workers", "waiting"])
    parser.add_argument("--waiting", nargs="*", type=int, default=list(WAITING))
    parser.add_argument("--shards", type=int, default=SHARDS)
    options = parser.parse_args()
    progress = Console(stderr=True)
    found: dict[str, list[Sample]] = {}
    for _ in range(options.rounds):
        for name, measure in rows(options).items():
            limit()
            sample = measure()
            found.setdefault(name, []).append(sample)
            progress.print(f"{name}: {sample}", soft_wrap=True)
    signal.alarm(0)
    table = Table("", "jobs/s", "CPU of a job, all", "submitted, jobs/s", title="no-op jobs")
    for name, samples in found.items():
        rate, cpu_us, submit = (statistics.median(values) for values in zip(*samples, strict=True))
        table.add_row(name, f"{rate:,.0f}", f"{cpu_us:,.0f} µs", f"{submit:,.0f}" if submit else "")
    Console().print(table)


if __name__ == "__main__":
    main()
