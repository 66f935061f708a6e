"""Workers that load new code, are killed, scale and replace executors under load, from a seed.

No job is lost. A job is started again only if its worker was killed: then the job has an error or a
loss for each additional start.
"""

import itertools
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.jobs import (
    WorkerProcess,
    all_results,
    assert_done_once,
    write_tasks,
)
from tests.support.waiting import wait_until
from zoolet.jobs import Batch, Dispatcher, Job, JobRequest

SEEDS = [int(seed) for seed in os.environ.get("WORKER_CHANGES_SEEDS", "1").split(",")]
STEPS = int(os.environ.get("WORKER_CHANGES_STEPS", "4"))
TASKS = """
import os
import time

VERSION = 1

def load(dataset, groupid):
    return groupid

def note(group, parameters):
    with open(parameters["file"], "a") as file:
        file.write(f"{parameters['n']}\\n")
    time.sleep(parameters["ms"] / 1000)
    return VERSION
"""
OPTIONS = (
    "--min-executors", "1", "--max-executors", "3", "--executor-idle-ms", "100",
    "--max-jobs-per-executor", "7", "--max-executor-mib", "4096", "--attempt-memory-mib", "4096",
)  # fmt: skip

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    directory = tmp_path / "tasks"
    directory.mkdir()
    write_tasks(directory)
    (directory / "noting.py").write_text(TASKS)
    return directory


class Run:
    """The workers, the jobs and the random choices of one run."""

    def __init__(
        self, seed: int, dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path
    ) -> None:
        self.chance = random.Random(seed)
        self.dispatcher = dispatcher
        self.start_worker = start_worker
        self.tasks = tasks
        self.starts = tasks / "starts"
        self.numbers = itertools.count()
        self.batches: list[Batch] = []
        self.workers = [self.new_worker(), self.new_worker()]
        self.version = 1

    def new_worker(self) -> WorkerProcess:
        return self.start_worker(*OPTIONS, loader="noting:load")

    def submit(self) -> None:
        requests = [
            JobRequest(
                "noting:note", "data", str(self.chance.randrange(6)),
                {"n": next(self.numbers), "file": str(self.starts),
                 "ms": self.chance.choice([0, 0, 0, 2, 40])},
            )
            for _ in range(self.chance.randrange(10, 60))
        ]  # fmt: skip
        name = f"batch-{len(self.batches)}"
        self.batches.append(self.dispatcher.submit_batch(requests, name=name))

    def change(self) -> None:
        """Make a random change to a random worker, while jobs run."""
        position = self.chance.randrange(len(self.workers))
        worker = self.workers[position]
        kind = self.chance.choice(["reload", "reload", "kill", "stop"])
        if kind == "reload":
            self.version += 1
            # The size of the code changes too, because bytecode is kept by time and size.
            code = TASKS.replace("VERSION = 1", f"VERSION = {self.version}{' ' * self.version}")
            (self.tasks / "noting.py").write_text(code)
            worker.process.send_signal(signal.SIGHUP)
        elif kind == "kill":
            worker.kill()
            self.workers[position] = self.new_worker()
        else:
            worker.process.terminate()
            self.workers[position] = self.new_worker()

    def check(self) -> None:
        """Check that each job is done once, and was started again only after a loss."""
        jobs: list[Job] = []
        for batch in self.batches:
            found = all_results(batch)
            assert_done_once(self.dispatcher.queue, batch, found)
            jobs += found
        starts = Counter(int(line) for line in self.starts.read_text().split())
        assert len(jobs) == len(starts) == next(self.numbers)
        for job in jobs:
            count = starts[job.parameters["n"]]
            assert 1 <= count <= job.attempts + job.losses, (count, json.loads(job.encode()))


@pytest.mark.parametrize("seed", SEEDS)
def test_changes_of_workers_lose_no_job_and_start_none_again(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, seed: int
) -> None:
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        pytest.skip("the tests run with nohup, and so do the workers")
    run = Run(seed, dispatcher, start_worker, tasks)
    for _ in range(STEPS):
        run.submit()
        batch, count = run.batches[-1], run.chance.randrange(5)
        wait_until(
            lambda batch=batch, count=count: (
                sum(  # type: ignore[misc]
                    number for state, number in batch.progress().items() if state != "PENDING"
                )
                >= count
            ),
            f"{count} jobs that were taken",
        )
        run.change()
    run.check()
    for worker in run.workers:
        assert worker.process.poll() is None
