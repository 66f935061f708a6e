"""What the tests of the web page have in common: a server for each module, and a client of it."""

from collections.abc import Iterator

import pytest

from tests.support.web import restoring
from zoolet.client import Client
from zoolet.testing import EmbeddedServer


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Delete what a test leaves at the server of its module, also what only the page has written.

    It begins before the page and the clients of a test, so it ends after them.
    """
    if "server" not in request.fixturenames:
        yield
        return
    with restoring(request.getfixturevalue("server")):
        yield


@pytest.fixture
def zk(server: EmbeddedServer) -> Iterator[Client]:
    with Client(server.hosts) as client:
        yield client
