"""Worker processes with tasks that a test directs, and what must hold of a queue in the end."""

import json
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from zoolet.jobs import Batch, Job, JobQueue, JobRequest
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.znodes.batch_log import read_log

ROOT = "/jobs/flights"
TIMEOUT_S = 60

TASKS = '''
import fcntl
import itertools
import os
import signal
import time
from pathlib import Path

def load(dataset, groupid):
    if dataset == "broken":
        raise OSError("this data cannot be read")
    return {"dataset": dataset, "groupid": groupid}

def greedy(group, parameters):
    parameters.clear()

def echo(group, parameters):
    return {"group": group, "parameters": parameters}

def number(group, parameters):
    time.sleep(parameters.get("s", 0))
    return parameters["n"]

def text(group, parameters):
    return "x" * parameters["size"]

def counted(group, parameters):
    """Return how many of these tasks run; a lock of a process that was killed does not count."""
    directory = Path(parameters["counted_in"])
    with (directory / "all").open("w") as all_of_them:
        fcntl.flock(all_of_them, fcntl.LOCK_EX)
        running, own = 0, None
        for number in range(64):
            lock = (directory / str(number)).open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                running += 1
                lock.close()
                continue
            if own is None:
                own = lock
            else:
                lock.close()
    started = time.time()
    time.sleep(parameters.get("s", 0))
    own.close()
    return {"running": running + 1, "started": started, "n": parameters["n"]}

def read_pipe(group, parameters):
    return Path(parameters["pipe"]).read_text()

def hang_once(group, parameters):
    """Create a file and hang; if the file exists already, return."""
    try:
        Path(parameters["file"]).touch(exist_ok=False)
    except FileExistsError:
        return "again"
    time.sleep(600)

def read_own_pipe(group, parameters):
    for number in itertools.count():
        try:
            Path(f"{parameters['pipe']}{number}.begun").touch(exist_ok=False)
        except FileExistsError:
            continue
        return Path(f"{parameters['pipe']}{number}").read_text()

def trouble(group, parameters):
    raise ValueError("this task raises")

def leave(group, parameters):
    raise SystemExit(7)

def not_json(group, parameters):
    return {1, 2}

def spin(group, parameters):
    until = time.monotonic() + parameters["s"]
    while time.monotonic() < until:
        sum(range(10**6))
    return "spun"

def end_own_process(group, parameters):
    os.kill(os.getpid(), signal.SIGKILL)

def exit_own_process(group, parameters):
    os._exit(3)

def die_at(step, names):
    """A step hook that kills its worker once, at the step that the environment names."""
    done = Path(os.environ["DIED"])
    if step == os.environ["DIE_AT"] and names and not done.exists():
        done.touch()
        os.kill(os.getpid(), signal.SIGKILL)
'''


class WorkerProcess:
    """A worker as its users run it; ``process.stdout`` is what it prints."""

    def __init__(
        self,
        hosts: str,
        tasks: Path,
        *options: str,
        root: str = ROOT,
        loader: str | None = "pipe_tasks:load",
        environment: dict[str, str] | None = None,
        cwd: Path | None = None,
        prefix: Sequence[str] = (),
        stderr: TextIO | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "zoolet", "worker",
             "--server", hosts, "--queue", root, *(["--loader", loader] if loader else []),
             "--import-path", str(tasks), "--session-timeout-ms", "1000", *options],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=os.environ | (environment or {}),
            cwd=cwd,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.started = self.process.stdout.readline()
        assert self.started.startswith("worker "), self.started
        self.worker_id = self.started.split()[1].rstrip(":")

    def kill(self) -> None:
        """End it by kill -9."""
        self.process.kill()
        self.process.wait(TIMEOUT_S)

    def close(self) -> None:
        """Leave nothing of it behind."""
        self.process.kill()
        self.process.communicate(timeout=TIMEOUT_S)


def write_tasks(directory: Path) -> None:
    """Write the module ``pipe_tasks``."""
    (directory / "pipe_tasks.py").write_text(TASKS)


def wait_until_unread(pipe: int) -> None:
    """Return when no process has a pipe open to read it, for example because the task was ended.

    ``pipe`` is the descriptor of the other end, which reports this.
    """
    poll = select.poll()
    poll.register(pipe, 0)
    assert poll.poll(TIMEOUT_S * 1000), f"after {TIMEOUT_S} s a process still reads the pipe"


def numbered(count: int, groups: int = 4, **parameters: Any) -> list[JobRequest]:
    """Return jobs that return their numbers."""
    return [
        JobRequest("pipe_tasks:number", "flights", str(n % groups), {"n": n} | parameters)
        for n in range(count)
    ]


def next_result(batch: Batch) -> Job:
    """Return the next job that finishes."""
    job = batch.next_result(TIMEOUT_S)
    assert job is not None, f"no job finished in {TIMEOUT_S} s: {batch.progress()}"
    return job


def all_results(batch: Batch) -> list[Job]:
    """Return all jobs, as they finish."""
    found = [next_result(batch) for _ in range(batch.outstanding)]
    assert batch.next_result() is None
    return found


def assert_done_once(queue: JobQueue, batch: Batch, jobs: Sequence[Job]) -> None:
    """Fail unless each job stands under done and nowhere else, with one result, committed once."""
    assert sorted(job.name for job in jobs) == sorted(batch.names)
    assert_in_one_place(queue, batch.names)
    assert batch.name is not None
    assert Counter(_logged(queue, batch.name)) == Counter(batch.names)
    for job in jobs:
        assert job.state == "SUCCESSFUL", job.errors
        assert job.attempts == len(job.errors) - job.losses + 1


def assert_in_one_place(queue: JobQueue, names: Iterable[str]) -> None:
    """Fail unless each of these jobs is in exactly one place."""
    found = Counter(
        name.name for place in Place for page in queue.layout.iterate_names(place) for name in page
    )
    assert {name: found[name] for name in names} == dict.fromkeys(names, 1)


def _logged(queue: JobQueue, batch: str) -> list[str]:
    """Return the names in a batch's log, as often as they are in it."""
    ended, entries = read_log(queue.layout, batch, 0)
    values = queue.layout.znodes.get_all(
        [queue.layout.znodes.path("batches", batch, "log", f"e-{n:010d}") for n in range(entries)]
    )
    names = [
        name
        for znode in values
        if znode
        for some in json.loads(znode.data).values()
        for name in some
    ]
    assert set(names) == set(ended)
    return names
