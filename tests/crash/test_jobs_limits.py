"""Limits under workers that are killed and frozen from a seed; the tasks count themselves.

``make jobs-limits`` makes it longer. A worker that is frozen for longer than its session timeout
loses its jobs while its executor runs on. So while one worker is frozen, one task more than the
limit may run: each worker has one executor, and at most one worker is frozen at a time. A worker
that was frozen is given the time to notice its lost session before the next one is frozen.
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, WorkerProcess, assert_in_one_place, write_tasks
from tests.support.waiting import wait_until
from zoolet.jobs import Batch, Dispatcher, Job, JobRequest, JobState, Limit
from zoolet.testing import ServerProcess

WORKERS = 8
CONCURRENT = 3
PER_SECOND = 20
WINDOW_MS = 10_000
FROZEN_S = 2.0
"""Twice the session timeout of the workers."""
LONGEST_S = 0.4
"""The longest task, far shorter than the time between two freezes."""


class Stage:
    """A queue with workers that are killed and frozen."""

    def __init__(self, server: ServerProcess, directory: Path, chance: random.Random) -> None:
        self._server = server
        self._directory = directory
        self._chance = chance
        self._workers = [self._start() for _ in range(WORKERS)]

    def _start(self) -> WorkerProcess:
        return WorkerProcess(self._server.hosts, self._directory, loader=None)

    def kill(self) -> None:
        """Kill a worker, and start another one."""
        number = self._chance.randrange(WORKERS)
        self._workers[number].kill()
        self._workers[number].close()
        self._workers[number] = self._start()

    def freeze(self, client: KazooClient) -> None:
        """Freeze a worker until it has lost its session, and let it go on and register again."""
        process = self._chance.choice(self._workers).process
        before = set(client.get_children(f"{ROOT}/workers"))
        process.send_signal(signal.SIGSTOP)
        until = time.monotonic() + FROZEN_S
        wait_until(
            lambda: (
                time.monotonic() > until
                or before - set(client.get_children(f"{ROOT}/workers")) != set()
            ),
            "the end of a session",
        )
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: len(client.get_children(f"{ROOT}/workers")) >= WORKERS, "all workers")

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.process.send_signal(signal.SIGCONT)
            worker.close()


@pytest.fixture
def stage(
    server: ServerProcess, dispatcher: Dispatcher, tmp_path: Path, chance: random.Random
) -> Iterator[Stage]:
    assert dispatcher
    write_tasks(tmp_path)
    started = Stage(server, tmp_path, chance)
    yield started
    started.close()


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.config.getoption("--limits-seed"))


@pytest.fixture
def dispatcher(server: ServerProcess) -> Iterator[Dispatcher]:
    with Dispatcher(server.hosts, ROOT, create=True) as dispatcher:
        dispatcher.queue.limits.add(Limit("few", concurrent=CONCURRENT, key="few"))
        dispatcher.queue.limits.add(Limit("rate", per_second=PER_SECOND, key="rate"))
        yield dispatcher


def requests(chance: random.Random, directory: Path, count: int) -> list[JobRequest]:
    """Return jobs under both limits, which count how many of them run."""
    for key in ("few", "rate"):
        (directory / key).mkdir(exist_ok=True)
    return [
        JobRequest(
            "pipe_tasks:counted",
            parameters={
                "counted_in": str(directory / key),
                "s": chance.uniform(0, LONGEST_S) if key == "few" else 0,
                "n": number,
            },
            limit_key=key,
            max_attempts=20,
        )
        for number in range(count)
        for key in ("few", "rate")
    ]


def results(dispatcher: Dispatcher, batches: list[Batch]) -> list[Job]:
    """Return all jobs when they have ended."""
    jobs = [job for batch in batches for job in batch.results(timeout_s=120)]
    assert_in_one_place(dispatcher.queue, [name for batch in batches for name in batch.names])
    assert {job.state for job in jobs} == {JobState.SUCCESSFUL}, [
        job.errors for job in jobs if job.errors
    ]
    return jobs


@pytest.mark.timeout(36_000)
def test_no_limit_is_exceeded_by_workers_that_are_killed_and_frozen(
    dispatcher: Dispatcher,
    stage: Stage,
    client: KazooClient,
    chance: random.Random,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    until = time.monotonic() + request.config.getoption("--limits-s")
    batches: list[Batch] = []
    faults = Counter[str]()
    while True:
        batches.append(dispatcher.submit_batch(requests(chance, tmp_path, 30)))
        fault = chance.choice(("kill", "kill", "freeze"))
        faults[fault] += 1
        if fault == "kill":
            stage.kill()
        else:
            stage.freeze(client)
        if time.monotonic() > until and len(faults) == 2:
            break
    jobs = results(dispatcher, batches)
    counts = Counter(job.result["running"] for job in jobs if job.limit_key == "few")
    starts = sorted(job.taken_ms or 0 for job in jobs if job.limit_key == "rate")
    most = max(sum(at <= one < at + WINDOW_MS for one in starts) for at in starts)
    allowed = 1.05 * PER_SECOND * WINDOW_MS / 1000
    print(
        f"{len(jobs)} jobs, {dict(faults)}: tasks at a time {dict(sorted(counts.items()))} (limit"
        f" {CONCURRENT}); most starts in {WINDOW_MS // 1000} s: {most} (limit {allowed:.0f})"
    )
    assert max(counts) <= CONCURRENT + 1
    assert most <= allowed
    for limit, running, waiting in dispatcher.queue.limits.all():
        assert (running, waiting) == (0, 0), limit.name
