"""Three Apache members for the tests of jobs whose leader is killed; all tests share the members.

Each test has its own queue (`root`). A test that is over leaves three running members.
"""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ensemble import ApacheEnsemble
from tests.support.jobs import WorkerProcess, write_tasks
from tests.support.waiting import wait_until
from zoolet.jobs import Dispatcher

_HEAP_MIB = 128


@pytest.fixture(scope="package")
def ensemble(
    tmp_path_factory: pytest.TempPathFactory, apache_jars: Path
) -> Iterator[ApacheEnsemble]:
    """Three running Apache members; a worker's session lasts at least 1 s."""
    directory = tmp_path_factory.mktemp("ensemble")
    with ApacheEnsemble(directory, apache_jars, _HEAP_MIB) as running:
        running.leader()
        yield running


@pytest.fixture
def hosts(ensemble: ApacheEnsemble) -> str:
    """Where clients connect: all members."""
    return ensemble.hosts


@pytest.fixture
def root() -> str:
    """The path of the test's own queue."""
    return f"/jobs/{uuid.uuid4().hex}"


@pytest.fixture
def kill_leader(ensemble: ApacheEnsemble) -> Iterator[Callable[[], None]]:
    """Kill the leader, wait until another member leads, and start the killed member again."""

    def kill() -> None:
        killed = ensemble.leader()
        killed.kill()
        ensemble.leader()
        killed.start()

    yield kill
    for member in ensemble.members:
        member.start()
    wait_until(lambda: all(member.mode is not None for member in ensemble.members), "all members")


@pytest.fixture
def dispatcher(hosts: str, root: str) -> Iterator[Dispatcher]:
    """A dispatcher on the test's new queue."""
    with Dispatcher(hosts, root, create=True) as dispatcher:
        yield dispatcher


@pytest.fixture
def start_worker(
    hosts: str, root: str, dispatcher: Dispatcher, tmp_path: Path
) -> Iterator[Callable[..., WorkerProcess]]:
    """Start workers of the test's queue (module ``pipe_tasks``), which end with the test."""
    assert dispatcher.queue.settings is not None
    write_tasks(tmp_path)
    started: list[WorkerProcess] = []

    def start(*options: str, **arguments: Any) -> WorkerProcess:
        wide = ("--session-timeout-ms", "10000", *options)
        started.append(WorkerProcess(hosts, tmp_path, *wide, root=root, **arguments))
        return started[-1]

    yield start
    for worker in started:
        worker.close()
