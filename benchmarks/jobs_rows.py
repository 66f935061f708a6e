"""Measures one version of the job system on a server; prints the figures as JSON.

`benchmarks.jobs_compare` runs it with the version to measure in PYTHONPATH. So it uses what all
versions have: Dispatcher, JobRequest, Worker, and ``zoolet worker``. Usage: python
benchmarks/jobs_rows.py MEASURE HOST:PORT.
"""

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from zoolet.jobs import Dispatcher, JobRequest, Worker

HERE = Path(__file__).resolve().parent
ROOT = "/jobs/bench"
TASK = "zoolet_tasks:noop"
SLOW_TASK = "zoolet_tasks:slow"
WAIT_S = 120.0

RUN_JOBS = 3000
MANY_JOBS = 20_000
SUBMITTED_JOBS = 5000
SINGLE_JOBS = 100
KILL_JOBS = 100
KILL_SESSION_TIMEOUT_MS = 2000
QUERIES, GROUPS, LOCAL_WORKERS = 200, 16, 4
LOAD_S, QUERY_S, BETWEEN_S = 0.05, 0.01, 0.01

Figures = dict[str, float]


@contextlib.contextmanager
def workers(hosts: str, count: int, *options: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Run workers, each with one executor; yield when they take jobs."""
    with contextlib.ExitStack() as up:
        log = up.enter_context(tempfile.TemporaryFile("w"))
        running = []
        for _ in range(count):
            process = subprocess.Popen(
                [sys.executable, "-m", "zoolet", "worker", "--server", hosts, "--queue", ROOT,
                 "--import-path", str(HERE / "peers"), *options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )  # fmt: skip
            running.append(process)
            up.callback(process.wait)
            up.callback(process.terminate)
        for process in running:
            if process.stdout is None or not process.stdout.readline().startswith("worker "):
                raise RuntimeError("a worker did not start")
        yield running


def requests(count: int, first: int = 0, task: str = TASK) -> list[JobRequest]:
    """Return jobs that return their numbers."""
    return [JobRequest(task, "d", "g", {"n": first + number}) for number in range(count)]


def throughput(dispatcher: Dispatcher, jobs: int, single_jobs: int) -> tuple[float, float]:
    """Submit jobs and take their results, then one job at a time.

    Returns the jobs a second, and the median of one, in ms (0 if there is none).
    """
    list(dispatcher.submit(TASK, "d", "g", {"n": -1}).results())
    began = time.perf_counter()
    found = {job.result for job in dispatcher.submit_batch(requests(jobs)).results()}
    rate_per_s = jobs / (time.perf_counter() - began)
    if found != set(range(jobs)):
        raise RuntimeError("not every job returned its number")
    latencies_ms = []
    for number in range(single_jobs):
        began = time.perf_counter()
        list(dispatcher.submit(TASK, "d", "g", {"n": -2 - number}).results())
        latencies_ms.append((time.perf_counter() - began) * 1000)
    return rate_per_s, sorted(latencies_ms)[single_jobs // 2] if single_jobs else 0.0


def run(hosts: str) -> Figures:
    """Submit jobs and take their results; then one job at a time."""
    with Dispatcher(hosts, ROOT, create=True) as dispatcher, workers(hosts, 2):
        rate_per_s, median_ms = throughput(dispatcher, RUN_JOBS, SINGLE_JOBS)
    return {"run_per_s": rate_per_s, "single_ms": median_ms}


def many(hosts: str) -> Figures:
    """Submit many jobs and take their results; also return the CPU time of each job, by process.

    The time is that of the processes' threads and their descendants, without their start.
    """
    with Dispatcher(hosts, ROOT, create=True) as dispatcher, workers(hosts, 2) as running:
        list(dispatcher.submit(TASK, "d", "g", {"n": -1}).results())
        parts = {
            "submitter": [os.getpid()],
            "workers": [worker.pid for worker in running],
            "executors": [pid for worker in running for pid in descendants(worker.pid)],
        }
        before = {part: sum(map(cpu_s, pids)) for part, pids in parts.items()}
        rate_per_s, _ = throughput(dispatcher, MANY_JOBS, 0)
        after = {part: sum(map(cpu_s, pids)) for part, pids in parts.items()}
    used = {f"{part}_us": (after[part] - before[part]) * 1e6 / MANY_JOBS for part in parts}
    return {"many_per_s": rate_per_s, **used}


def cpu_s(process: int) -> float:
    """Return the CPU time of a process, in s. Only on Linux."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descendants(process: int) -> list[int]:
    """Return the ids of the processes that a process, or a descendant of it, has started."""
    children = [
        int(child)
        for thread in Path(f"/proc/{process}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    return children + [pid for child in children for pid in descendants(child)]


def submit(hosts: str) -> Figures:
    """Submit jobs, with no worker; then start a worker and wait for its first result."""
    with Dispatcher(hosts, ROOT, create=True) as dispatcher:
        began = time.perf_counter()
        batch = dispatcher.submit_batch(requests(SUBMITTED_JOBS))
        took_s = time.perf_counter() - began
        began = time.perf_counter()
        with workers(hosts, 1):
            if batch.next_result(WAIT_S) is None:
                raise RuntimeError("no job finished")
            first_ms = (time.perf_counter() - began) * 1000
    return {"submit_per_s": SUBMITTED_JOBS / took_s, "start_ms": first_ms}


def kill(hosts: str) -> Figures:
    """Kill one of two workers in the middle; return how long after that the last result came."""
    session = ("--session-timeout-ms", str(KILL_SESSION_TIMEOUT_MS))
    os.environ["BEGUN_LOG"] = os.devnull
    with Dispatcher(hosts, ROOT, create=True) as dispatcher, workers(hosts, 2, *session) as running:
        batch = dispatcher.submit_batch(requests(KILL_JOBS, task=SLOW_TASK))
        for _ in range(KILL_JOBS // 4):
            batch.next_result(WAIT_S)
        running[0].send_signal(signal.SIGKILL)
        killed = time.perf_counter()
        while (job := batch.next_result(WAIT_S)) is not None:
            if job.state != "SUCCESSFUL":
                raise RuntimeError(f"a job failed: {job.errors}")
        if batch.outstanding:
            raise RuntimeError("jobs were lost")
        return {"recovery_s": time.perf_counter() - killed}


def load(dataset: str, groupid: str) -> str:
    """Load a group, which takes longer than a task."""
    time.sleep(LOAD_S)
    return f"{dataset}:{groupid}"


def query(group: str, parameters: dict[str, int]) -> str:
    """Take a while with a group."""
    del parameters
    time.sleep(QUERY_S)
    return group


def locality(hosts: str) -> Figures:
    """Send queries at random groups to workers that together hold all groups."""
    sys.path.insert(0, str(HERE))
    chance = random.Random(1)  # noqa: S311
    with Dispatcher(hosts, ROOT, create=True) as dispatcher:
        running = [
            Worker(
                hosts,
                ROOT,
                loader="jobs_rows:load",
                threads=True,
                cache_groups=GROUPS // LOCAL_WORKERS,
            )
            for _ in range(LOCAL_WORKERS)
        ]
        for worker in running:
            worker.start()
        for group in range(GROUPS):
            list(dispatcher.submit("jobs_rows:query", "d", str(group), {"n": -1 - group}).results())
        batches = []
        for number in range(QUERIES):
            groupid = str(chance.randrange(GROUPS))
            batches.append(dispatcher.submit("jobs_rows:query", "d", groupid, {"n": number}))
            time.sleep(chance.expovariate(1 / BETWEEN_S))
        jobs = [job for batch in batches for job in batch.results()]
        for worker in running:
            worker.stop()
    waited_ms = sorted((job.taken_ms or 0) - job.submitted_ms for job in jobs)
    hits = sum(job.cache_hit is True for job in jobs)
    return {"hits": hits / len(jobs), "waited_ms": max(1, waited_ms[len(jobs) * 9 // 10])}


MEASURES: dict[str, Callable[[str], Figures]] = {
    "many": many,
    "run": run,
    "submit": submit,
    "kill": kill,
    "locality": locality,
}


def main() -> None:
    """Measure, and print the figures."""
    name, hosts = sys.argv[1:]
    figures = MEASURES[name](hosts)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    figures["cpu_s"] = sum(one.ru_utime + one.ru_stime for one in used)
    # What a worker leaves running in a thread does not hold up the end.
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
