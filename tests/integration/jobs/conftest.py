"""What the tests of jobs have in common; a test module may have a ``tasks`` of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, WorkerProcess
from zoolet.client import Client, ClientOptions
from zoolet.jobs import Dispatcher, JobQueue


@pytest.fixture
def reuses_server() -> bool:
    """The server only stores what the tests of jobs look at."""
    return True


@pytest.fixture
def dispatcher(server: Any) -> Iterator[Dispatcher]:
    """A dispatcher on a new queue."""
    with Dispatcher(server.hosts, ROOT, create=True) as dispatcher:
        yield dispatcher


@pytest.fixture
def start_worker(
    server: Any, client: KazooClient, tasks: Path
) -> Iterator[Callable[..., WorkerProcess]]:
    """Start worker processes, which end with the test, and before the client of the test."""
    assert client.connected
    started: list[WorkerProcess] = []

    def start(*options: str, **arguments: Any) -> WorkerProcess:
        started.append(WorkerProcess(server.hosts, tasks, *options, **arguments))
        return started[-1]

    yield start
    for worker in started:
        worker.close()


@pytest.fixture(params=["zoolet", "kazoo"])
def linked_client(request: pytest.FixtureRequest, server: Any) -> Iterator[Any]:
    """A started client of each kind that a user may give to the job system."""
    if request.param == "kazoo":
        yield request.getfixturevalue("client")
        return
    with Client(server.hosts, ClientOptions(session_timeout_ms=4000)) as started:
        yield started


@pytest.fixture
def queue(linked_client: Any) -> JobQueue:
    """An empty queue, and on it a worker ``w`` whose session is the linked client's."""
    queue = JobQueue(linked_client, ROOT)
    queue.ensure_layout()
    assert queue.register("w")
    return queue


@pytest.fixture
def other_client(server: Any) -> Iterator[KazooClient]:
    """A client with a session of its own; a test may stop it."""
    client = KazooClient(hosts=server.hosts, timeout=4.0)
    client.start()
    yield client
    client.stop()
    client.close()
