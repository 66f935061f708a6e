"""What the tests of the web page have in common: a server for each module, and a client of it."""

from collections.abc import Iterator

import pytest

from zoolet.client import Client
from zoolet.testing import EmbeddedServer


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def zk(server: EmbeddedServer) -> Iterator[Client]:
    with Client(server.hosts) as client:
        yield client
        for name in client.children("/").names:
            if name != "zookeeper":
                client.delete_recursive(f"/{name}")
