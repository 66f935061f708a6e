"""What the tests of the web page have in common: a server for each module, and a client of it."""

from collections.abc import Iterator

import pytest

from tests.support.web import clearing
from zoolet.client import Client
from zoolet.testing import EmbeddedServer


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def zk(server: EmbeddedServer) -> Iterator[Client]:
    with clearing(server) as client:
        yield client
