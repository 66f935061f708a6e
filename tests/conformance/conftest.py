"""What the tests of the shell on both servers have in common."""

from collections.abc import Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.shell import GUARDED
from zoolet.client.kazoo import create
from zoolet.testing.servers.process import ExternalServer


@pytest.fixture
def kazoo(any_server: ExternalServer) -> Iterator[Any]:
    """A client on the server, under which the subtree /s stands."""
    client = KazooClient(hosts=any_server.hosts)
    client.start(timeout=20)
    client.create("/s", b"root")
    client.create("/s/a", b'{"k": 1}')
    client.create("/s/a/deep", b"line one\nLine two")
    client.create("/s/b", b"\xff\x00", acl=GUARDED)
    create(client, "/s/null", None)
    yield client
    client.stop()
    client.close()
