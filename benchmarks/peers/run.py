"""One run of another job system, by its own interpreter: prints its figures as JSON.

Usage: PEER/bin/python run.py PEER SCENARIO JOBS PORT, where Redis listens on PORT (PEER_DSN names
the PostgreSQL of those that use it), and SCENARIO is
``throughput`` (JOBS no-ops with their results, two workers), ``single`` (JOBS no-ops, each waited
for), or ``kill`` (JOBS of 50 ms, one of the two workers killed by -9 in the middle, up to 60 s; how
many results are there, and how often the task was begun). All is as the systems' own pages have it,
by default, in one file so that they can be compared. A system that can submit many jobs, or read
many results, with one call, does so in ``throughput``, as zoolet does.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
KILL_WAIT_S = 60.0
RESULT_S = 120.0
SUBMIT_AT_ONCE = 50
"""The jobs that one call submits: as many as zoolet has in one request."""
TASK_S = 0.05


class Peer:
    """A system with its workers running.

    Attributes:
        pids: of the two workers.
        submit_all: submits no-ops with these numbers, and returns their handles.
        results_of: returns the results of handles.
    """

    def __init__(
        self, submit: Callable[[str, int], Any], result: Callable[[Any, float], Any]
    ) -> None:
        self.submit = submit
        self.result = result
        self.pids: list[int] = []
        self.submit_all: Callable[[range], list[Any]] = lambda numbers: [
            submit("noop", n) for n in numbers
        ]
        self.results_of: Callable[[list[Any]], list[Any]] = lambda handles: [
            result(handle, RESULT_S) for handle in handles
        ]


@contextmanager
def processes(*commands: list[str], settle_s: float = 3.0) -> Iterator[list[int]]:
    """Run workers, each in a process group of its own, in the folder of their module."""
    started = [
        subprocess.Popen(
            command, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for command in commands
    ]  # fmt: skip
    time.sleep(settle_s)
    try:
        yield [process.pid for process in started]
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def huey() -> Iterator[Peer]:
    """Run Huey."""
    import huey_tasks

    def result(handle: Any, timeout_s: float) -> Any:
        return handle.get(blocking=True, timeout=timeout_s, backoff=1.0, max_delay=0.005)

    command = [str(BIN / "huey_consumer"), "huey_tasks.huey", "-w", "1", "-k", "thread"]
    with processes(command, command) as pids:
        peer = Peer(lambda name, n: getattr(huey_tasks, name)(n), result)
        peer.pids = pids
        yield peer


@contextmanager
def dramatiq() -> Iterator[Peer]:
    """Run Dramatiq."""
    import dramatiq_tasks

    def result(message: Any, timeout_s: float) -> Any:
        return message.get_result(block=True, timeout=int(timeout_s * 1000))

    command = [str(BIN / "dramatiq"), "dramatiq_tasks", "-p", "1", "-t", "1"]
    with processes(command, command) as pids:
        peer = Peer(lambda name, n: getattr(dramatiq_tasks, name).send(n), result)
        peer.pids = pids
        yield peer


@contextmanager
def dramatiq_pg() -> Iterator[Peer]:
    """Run Dramatiq on PostgreSQL."""
    dsn = os.environ["PEER_DSN"]
    subprocess.run([str(BIN / "dramatiq-pg"), "-d", dsn, "init"], check=True, capture_output=True)
    import dramatiq_pg_tasks
    from dramatiq.results import ResultMissing

    def result(message: Any, timeout_s: float) -> Any:
        # Its blocking call fails if two results arrive at the same time.
        until = time.monotonic() + timeout_s
        while True:
            try:
                return message.get_result(block=False)
            except ResultMissing:
                if time.monotonic() > until:
                    raise TimeoutError from None
                time.sleep(0.002)

    # With the default, two messages for a thread, its consumer sleeps up to 1 s before it fetches
    # the next ones: 6 jobs a second.
    os.environ["dramatiq_queue_prefetch"] = "1000"  # noqa: SIM112 -- the name that it reads
    command = [str(BIN / "dramatiq"), "dramatiq_pg_tasks", "-p", "1", "-t", "1"]
    with processes(command, command) as pids:
        peer = Peer(lambda name, n: getattr(dramatiq_pg_tasks, name).send(n), result)
        peer.pids = pids
        yield peer


@contextmanager
def procrastinate() -> Iterator[Peer]:
    """Run procrastinate, which is on PostgreSQL."""
    os.environ["PEER_SUBMITS"] = "1"
    import procrastinate_tasks
    import psycopg

    del os.environ["PEER_SUBMITS"]
    app = procrastinate_tasks.app
    with app.open(), psycopg.connect(procrastinate_tasks.DSN, autocommit=True) as reader:
        app.schema_manager.apply_schema()
        query = "SELECT status, args FROM procrastinate_jobs WHERE id = %s"

        def result(job: int, timeout_s: float) -> Any:
            until = time.monotonic() + timeout_s
            while True:
                [(status, arguments)] = reader.execute(query, (job,)).fetchall()
                if status == "succeeded":
                    return arguments["n"]
                if time.monotonic() > until:
                    raise TimeoutError
                time.sleep(0.002)

        def submit_all(numbers: range) -> list[Any]:
            found: list[Any] = []
            for first in range(0, len(numbers), SUBMIT_AT_ONCE):
                some = numbers[first : first + SUBMIT_AT_ONCE]
                found += procrastinate_tasks.noop.batch_defer(*[{"n": n} for n in some])
            return found

        def results_of(handles: list[Any]) -> list[Any]:
            # It stores no results: a job that has succeeded returned its number.
            left = "SELECT count(*) FROM procrastinate_jobs WHERE status <> 'succeeded'"
            until = time.monotonic() + KILL_WAIT_S + 0.1 * len(handles)
            while reader.execute(left).fetchall() != [(0,)]:
                if time.monotonic() > until:
                    raise TimeoutError
                time.sleep(0.02)
            numbers = (
                "SELECT (args->>'n')::int FROM procrastinate_jobs WHERE id = ANY(%s) ORDER BY id"
            )
            return [n for (n,) in reader.execute(numbers, (handles,)).fetchall()]

        command = [
            str(BIN / "procrastinate"), "--app=procrastinate_tasks.app", "worker",
            "--concurrency=1",
        ]  # fmt: skip
        with processes(command, command) as pids:
            peer = Peer(lambda name, n: getattr(procrastinate_tasks, name).defer(n=n), result)
            peer.submit_all, peer.results_of = submit_all, results_of
            peer.pids = pids
            yield peer


@contextmanager
def celery() -> Iterator[Peer]:
    """Run Celery."""
    import celery_tasks

    def result(handle: Any, timeout_s: float) -> Any:
        return handle.get(timeout=timeout_s)

    commands = [
        [str(BIN / "celery"), "-A", "celery_tasks", "worker", "-c", "1", "-n", f"w{n}@%h", "-l",
         "CRITICAL"]
        for n in range(2)
    ]  # fmt: skip
    with processes(*commands, settle_s=6.0) as pids:
        peer = Peer(lambda name, n: getattr(celery_tasks, name).delay(n), result)
        peer.pids = pids
        yield peer


@contextmanager
def rq() -> Iterator[Peer]:
    """Run RQ."""
    import rq_tasks

    def result(job: Any, timeout_s: float) -> Any:
        until = time.monotonic() + timeout_s
        while (found := job.latest_result()) is None:
            if time.monotonic() > until:
                raise TimeoutError
            time.sleep(0.002)
        return found.return_value

    command = [str(BIN / "rq"), "worker", "-q", "--url", f"redis://127.0.0.1:{rq_tasks.PORT}"]
    with processes(command, command) as pids:
        peer = Peer(lambda name, n: rq_tasks.queue.enqueue(getattr(rq_tasks, name), n), result)
        peer.pids = pids
        yield peer


@contextmanager
def arq() -> Iterator[Peer]:
    """Run ARQ."""
    import arq_tasks
    from arq import create_pool

    loop = asyncio.new_event_loop()
    pool = loop.run_until_complete(create_pool(arq_tasks.REDIS))

    def submit(name: str, n: int) -> Any:
        return loop.run_until_complete(pool.enqueue_job(name, n))

    def result(job: Any, timeout_s: float) -> Any:
        return loop.run_until_complete(job.result(timeout=timeout_s, poll_delay=0.002))

    command = [str(BIN / "arq"), "arq_tasks.WorkerSettings"]
    with processes(command, command) as pids:
        peer = Peer(submit, result)
        peer.pids = pids
        yield peer


@contextmanager
def dask() -> Iterator[Peer]:
    """Run Dask."""
    import plain_tasks
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        peer = Peer(
            lambda name, n: client.submit(getattr(plain_tasks, name), n, pure=False),
            lambda future, timeout_s: future.result(timeout=timeout_s),
        )
        peer.pids = [worker.pid for worker in cluster.workers.values()]
        yield peer


@contextmanager
def ray() -> Iterator[Peer]:
    """Run Ray."""
    import plain_tasks
    import ray as system

    system.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    tasks = {name: system.remote(getattr(plain_tasks, name)) for name in ("noop", "slow", "pid")}
    peer = Peer(
        lambda name, n: tasks[name].remote(n),
        lambda reference, timeout_s: system.get(reference, timeout=timeout_s),
    )
    found = system.get([tasks["pid"].remote(0) for _ in range(20)])
    peer.pids = list(dict.fromkeys(found))
    yield peer
    system.shutdown()


def throughput(peer: Peer, jobs: int) -> dict[str, float]:
    """Submit all, wait for all results."""
    peer.result(peer.submit("noop", -1), 30.0)
    began = time.perf_counter()
    results = peer.results_of(peer.submit_all(range(jobs)))
    took_s = time.perf_counter() - began
    return {"jobs": jobs, "right": int(results == list(range(jobs))), "seconds": took_s}


def single(peer: Peer, jobs: int) -> dict[str, float]:
    """Submit one after the other, each when the one before has its result."""
    latencies_ms = []
    for number in range(jobs):
        began = time.perf_counter()
        peer.result(peer.submit("noop", number), 30.0)
        latencies_ms.append((time.perf_counter() - began) * 1000)
    latencies_ms.sort()
    return {
        "jobs": jobs,
        "p50_ms": latencies_ms[jobs // 2],
        "p95_ms": latencies_ms[jobs * 95 // 100],
    }


def kill(peer: Peer, jobs: int) -> dict[str, float]:
    """Kill a worker, with all of its processes, in the middle; count the results after 60 s."""
    log = Path(os.environ["BEGUN_LOG"])
    peer.result(peer.submit("noop", -1), 30.0)
    began = time.monotonic()
    handles = [peer.submit("slow", n) for n in range(jobs)]
    while not log.exists() or log.read_text().count("\n") < jobs // 2:
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        if os.getpgid(peer.pids[0]) == peer.pids[0]:
            os.killpg(peer.pids[0], signal.SIGKILL)
        else:
            os.kill(peer.pids[0], signal.SIGKILL)
    results = 0
    last = began
    for handle in handles:
        left_s = KILL_WAIT_S - (time.monotonic() - began)
        with suppress(Exception):
            peer.result(handle, max(0.01, left_s))
            results += 1
            last = time.monotonic()
    begun = [line for line in log.read_text().splitlines() if line]
    return {
        "jobs": jobs,
        "results": results,
        "begun_twice": len(begun) - len(set(begun)),
        "seconds": last - began,
    }


def main() -> None:
    """Run what is asked for."""
    name, scenario, jobs, port = sys.argv[1:5]
    os.environ["PEER_PORT"] = port
    os.environ.setdefault("BEGUN_LOG", str(Path(tempfile.mkdtemp()) / "begun"))
    sys.path[:0] = [str(HERE)]
    os.environ["PYTHONPATH"] = str(HERE)
    with globals()[name]() as peer:
        print(json.dumps(globals()[scenario](peer, int(jobs))))


if __name__ == "__main__":
    main()
