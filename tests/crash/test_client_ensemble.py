"""Both clients on three Apache ZooKeepers whose leader is killed again and again.

Each worker has a znode of its own. The model: each version of the znode was made by a set that
succeeded, or by one whose outcome the client did not learn. A watch that was set before a set is
called before the reply to the set. A protected create makes one znode.
"""

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.ensemble import ApacheEnsemble
from tests.support.outcomes import Running
from tests.support.waiting import WAIT_S, wait_until
from zoolet.client import (
    AsyncClient,
    BadVersionError,
    Client,
    ClientOptions,
    ConnectionLossError,
    CreateMode,
    DeadlineError,
    Event,
    Resynced,
    SessionExpiredError,
)

TASKS = 6
THREADS = 4
HEAP_MIB = 128
CALL_S = 15.0
OPTIONS = ClientOptions(session_timeout_ms=10_000, connect_timeout_s=WAIT_S, call_timeout_s=CALL_S)
LOST = (ConnectionLossError, DeadlineError, SessionExpiredError)
PERSISTENT = CreateMode.PERSISTENT_SEQUENTIAL


@dataclass
class Worker:
    """What a worker knows of its znode.

    Attributes:
        applied: the number of its sets that succeeded.
        unknown: the number of its sets whose outcome it does not know.
        version: the version of the znode after the last set that succeeded.
        created: the paths of its protected znodes.
        late_s: by how much its calls ended after their time limit, at most.
    """

    path: str
    chance: random.Random
    applied: int = 0
    unknown: int = 0
    version: int = 0
    created: list[str] = field(default_factory=list)
    late_s: float = 0.0
    begun_s: float = 0.0
    limit_s: float = CALL_S

    def begin(self) -> float:
        """Note the begin of a call; return its time limit."""
        self.limit_s = self.chance.choice([CALL_S, CALL_S, 3.0, 0.5, 0.01])
        self.begun_s = time.monotonic()
        return self.limit_s

    def end(self) -> None:
        self.late_s = max(self.late_s, time.monotonic() - self.begun_s - self.limit_s)

    def note_set(self, version: int) -> None:
        """Note that a set has succeeded."""
        self.applied += 1
        assert self.version < version <= self.applied + self.unknown
        self.version = version

    def note_lost(self, error: Exception) -> None:
        """Note a set whose outcome is not known."""
        is_unsent = "was not sent" in str(error) or isinstance(error, SessionExpiredError)
        self.unknown += not is_unsent

    def check(self, version: int) -> None:
        most = self.applied + self.unknown
        assert self.version <= version <= most, (
            f"{self.path} has version {version}, not {self.version} to {most}"
        )


async def work_in_task(client: AsyncClient, worker: Worker, stops: threading.Event) -> None:
    """Set the znode again and again, with a watch; create protected znodes."""
    while not stops.is_set():
        with contextlib.suppress(*LOST):
            notices: list[Event | Resynced] = []
            _, shown = await client.get(worker.path, watch=notices.append)
            worker.check(shown.version)
            limit_s = worker.begin()
            try:
                stat = await client.set(worker.path, b"%d" % worker.applied, timeout_s=limit_s)
            except LOST as error:
                worker.end()
                worker.note_lost(error)
                await client.sync(worker.path)
                again = (await client.get(worker.path)).stat
                assert notices or again.mzxid == shown.mzxid, "a lost notice"
            else:
                worker.end()
                worker.note_set(stat.version)
                assert notices, "no notice before the reply to the set"
            if worker.chance.random() < 0.05:
                path = await client.create_protected(f"{worker.path}/p-", mode=PERSISTENT)
                worker.created.append(path)


def work_in_thread(client: Client, worker: Worker, stops: threading.Event) -> None:
    """Do the same with a client for threads."""
    while not stops.is_set():
        with contextlib.suppress(*LOST):
            notices: list[Event | Resynced] = []
            _, shown = client.get(worker.path, watch=notices.append)
            worker.check(shown.version)
            limit_s = worker.begin()
            try:
                stat = client.set(worker.path, b"%d" % worker.applied, timeout_s=limit_s)
            except LOST as error:
                worker.end()
                worker.note_lost(error)
                client.sync(worker.path)
                again = client.get(worker.path).stat
                assert notices or again.mzxid == shown.mzxid, "a lost notice"
            else:
                worker.end()
                worker.note_set(stat.version)
                assert notices, "no notice before the reply to the set"
            if worker.chance.random() < 0.05:
                path = client.create_protected(f"{worker.path}/p-", mode=PERSISTENT)
                worker.created.append(path)


class Programs:
    """The workers of both clients, until they are stopped."""

    def __init__(self, hosts: str, seed: int) -> None:
        self._hosts = hosts
        self._stops = threading.Event()
        self._clients: list[AsyncClient | Client] = []
        self.workers = [
            Worker(f"/{number}", random.Random(seed + number)) for number in range(TASKS + THREADS)
        ]

    def make_znodes(self) -> None:
        with Client(self._hosts, OPTIONS) as client:
            for worker in self.workers:
                client.ensure_path(worker.path)

    def progress(self) -> list[int]:
        return [worker.applied for worker in self.workers]

    def describe(self) -> str:
        """Return the states of the clients and of their workers."""
        clients = [
            f"{client.state} at {client.address}, {client._engine.failures}, open calls"
            f" {[(call.op_code, call.path) for call in client._engine.session.open_calls()]}"
            for client in self._clients
        ]
        return f"{clients}, sets {self.progress()}"

    def stop(self) -> None:
        self._stops.set()

    def run_tasks(self) -> None:
        async def main() -> None:
            async with AsyncClient(self._hosts, OPTIONS) as client, asyncio.TaskGroup() as group:
                self._clients.append(client)
                for worker in self.workers[:TASKS]:
                    group.create_task(work_in_task(client, worker, self._stops))

        asyncio.run(main())

    def run_threads(self) -> None:
        with Client(self._hosts, OPTIONS) as client:
            self._clients.append(client)
            threads = [Running(self._work, client, worker) for worker in self.workers[TASKS:]]
            self._stops.wait()
            for thread in threads:
                thread.end()

    def _work(self, client: Client, worker: Worker) -> None:
        try:
            work_in_thread(client, worker, self._stops)
        except BaseException:
            self._stops.set()  # the other threads end too, and the test sees this error
            raise


def check_end(hosts: str, workers: list[Worker]) -> None:
    """Check that no acknowledged write is lost, and none is applied twice."""
    with Client(hosts, OPTIONS) as client:
        client.sync("/")
        for worker in workers:
            worker.check(client.get(worker.path).stat.version)
            names = client.children(worker.path).names
            found = {f"{worker.path}/{name}" for name in names}
            assert set(worker.created) <= found, "an acknowledged create is lost"
            ids = [name[:39] for name in names]
            assert len(set(ids)) == len(ids), "a protected znode was created twice"
            with pytest.raises(BadVersionError):
                client.set(worker.path, b"", version=worker.applied + worker.unknown + 1)


def wait_for_progress(programs: Programs, running: list[Running]) -> None:
    """Wait until each worker has made a change again."""
    before = programs.progress()

    def has_progress() -> bool:
        assert all(one.goes_on for one in running), [one.error for one in running]
        return all(now > then for now, then in zip(programs.progress(), before, strict=True))

    try:
        wait_until(has_progress, "a change of each worker")
    except AssertionError as error:
        raise AssertionError(f"{programs.describe()}; before: {before}") from error


def test_the_leader_is_killed_again_and_again(
    tmp_path: Path,
    apache_jars: Path,
    hosts_in: Callable[[ApacheEnsemble], str],
    request: pytest.FixtureRequest,
) -> None:
    kills: int = request.config.getoption("--client-leader-kills")
    seed = request.config.getoption("--client-seed") or random.randrange(1, 1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    with ApacheEnsemble(tmp_path / "ensemble", apache_jars, HEAP_MIB) as ensemble:
        hosts = hosts_in(ensemble)
        programs = Programs(hosts, seed)
        programs.make_znodes()
        running = [Running(programs.run_tasks), Running(programs.run_threads)]
        try:
            for _ in range(kills):
                wait_for_progress(programs, running)
                threading.Event().wait(chance.uniform(0.0, 0.5))
                leader = ensemble.leader()
                leader.kill()
                ensemble.leader()
                leader.start()
            wait_for_progress(programs, running)
        finally:
            programs.stop()
            ended: list[Any] = [one.wait() for one in running]
        assert ended == [None, None], ended
        check_end(hosts, programs.workers)
    late_s = max(worker.late_s for worker in programs.workers)
    unknown = sum(worker.unknown for worker in programs.workers)
    print(f"{sum(programs.progress())} sets, {unknown} unknown, calls at most {late_s:.3f} s late")
    assert unknown > 0, "no call was interrupted"
    assert late_s < WAIT_S, "a call ended long after its time limit"
