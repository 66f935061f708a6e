"""What all tests share: a real server process, and a kazoo client on it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from zoolet.testing import ServerProcess


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A running server with an empty data directory."""
    with ServerProcess(tmp_path / "server") as running:
        yield running


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Any]:
    """A started kazoo client on ``server``."""
    started = KazooClient(hosts=server.hosts, timeout=4.0)
    started.start(timeout=10)
    yield started
    started.stop()
    started.close()
