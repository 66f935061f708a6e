"""How many requests a queue costs its server: many waiting jobs, and many workers.

WORKERS worker sessions in a few processes work off JOBS jobs that wait, on a queue of SHARDS
shards. Between them and the server stands a proxy that counts what passes: each request, and the
bytes of each answer. Prints requests per finished job (the submitter's and the workers' starts and
ends included) and the largest answer. Usage: python -m benchmarks.jobs_requests [JOBS [WORKERS
[SHARDS [TASK_MS]]]].
"""

import multiprocessing
import sys
import tempfile
import threading
import time
from collections import Counter
from multiprocessing.synchronize import Event, Semaphore
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.counting import CountingProxy, Figures
from zoolet.jobs import ConnectionSettings, Dispatcher, JobRequest, JobState, QueueSettings, Worker
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.znodes.connection import connect
from zoolet.testing import ServerProcess

ROOT = "/jobs/bench"
PROCESSES = 8
GROUPS = 1000
SERVER = {"tickTime": 2000, "maxSessionTimeout": 120_000}
SESSION_TIMEOUT_MS = 60_000
WAIT_S = 900.0
REPORT_S = 10.0


def work(group: None, parameters: dict[str, float]) -> float:
    """Take a while, as a task does."""
    del group
    time.sleep(parameters["ms"] / 1000)
    return parameters["n"]


def run_workers(hosts: str, count: int, started: Semaphore, stop: Event) -> None:
    """Run light workers, each with a session of its own and one executor, a thread."""
    workers = [
        Worker(
            hosts,
            ROOT,
            threads=True,
            session_timeout_ms=SESSION_TIMEOUT_MS,
            connect_timeout_ms=60_000,
        )
        for _ in range(count)
    ]
    for worker in workers:
        worker.start()
        started.release()
    stop.wait()
    for worker in workers:
        worker.stop(grace_ms=5000)


def measure(jobs: int, workers: int, shards: int, task_ms: float, home: Path) -> Figures:
    """Submit, start the workers, wait for the end, stop them; return what passed."""
    with ServerProcess(home, SERVER) as server, CountingProxy(server.port) as proxy:
        link = connect(ConnectionSettings(proxy.hosts))
        queue = JobQueue(link, ROOT)
        queue.ensure_layout(QueueSettings(shards=shards))
        dispatcher = Dispatcher(link, ROOT)
        began = time.monotonic()
        batch = dispatcher.submit_batch(
            [
                JobRequest(
                    "benchmarks.jobs_requests:work", "d", str(n % GROUPS), {"n": n, "ms": task_ms}
                )
                for n in range(jobs)
            ]
        )
        submitted_s = time.monotonic() - began
        context = multiprocessing.get_context("spawn")
        stop, started = context.Event(), context.Semaphore(0)
        processes = [
            context.Process(
                target=run_workers,
                args=(proxy.hosts, workers // PROCESSES, started, stop),
                daemon=True,
            )
            for _ in range(PROCESSES)
        ]
        began = time.monotonic()
        for process in processes:
            process.start()
        states: Counter[JobState] = Counter()
        seen = threading.Event()
        threading.Thread(target=report, args=(proxy, states, seen), daemon=True).start()
        while (job := batch.next_result(WAIT_S)) is not None:
            states[job.state] += 1
        took_s = time.monotonic() - began
        # The tail: those that are idle now have looked for more, and some are still starting.
        for _ in range(PROCESSES * (workers // PROCESSES)):
            started.acquire()
        stop.set()
        for process in processes:
            process.join()
        seen.set()
        link.close(10.0)
        figures = proxy.figures(submitted_s, took_s)
        if states != {JobState.SUCCESSFUL: jobs}:
            raise RuntimeError(f"not every job was done: {states}")
    return figures


def report(proxy: CountingProxy, states: Counter[JobState], end: threading.Event) -> None:
    """Say now and then how it comes on."""
    console = Console(stderr=True)
    while not end.wait(REPORT_S):
        kinds = ", ".join(f"{name} {count:,}" for name, count in proxy.by_kind().most_common(5))
        console.print(f"{states.total():,} jobs, {proxy.requests:,} requests so far: {kinds}")


def main() -> None:
    """Measure and print."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    shards = int(sys.argv[3]) if len(sys.argv) > 3 else 128
    task_ms = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
    with tempfile.TemporaryDirectory(prefix="zoolet-bench-") as home:
        figures = measure(jobs, workers, shards, task_ms, Path(home))
    table = Table(
        "", "", title=f"{jobs:,} jobs of {task_ms:g} ms, {workers:,} workers, {shards} shards"
    )
    table.add_row("submitted in", f"{figures.submitted_s:.1f} s")
    table.add_row("done in", f"{figures.took_s:.1f} s")
    table.add_row("requests", f"{figures.requests:,}")
    table.add_row("pings", f"{figures.pings:,}")
    table.add_row("requests per finished job", f"{figures.requests / jobs:.2f}")
    table.add_row("largest answer", f"{figures.largest_answer_bytes:,} bytes")
    for name, count in figures.by_kind.most_common(8):
        table.add_row(f"  {name}", f"{count / jobs:.3f} per job")
    Console().print(table)


if __name__ == "__main__":
    main()
