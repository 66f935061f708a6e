"""Servers that several tests use, one test after the other: to start one for each test takes long.

Each test gets a server whose tree is empty. Only the zxid and the cversion of the root go on from
test to test. A server that cannot be made like a new one is ended: because it was stopped, its root
was changed, a client of the test is still connected, or it logged a traceback. The next test then
gets another one.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from zoolet.client import Client, ClientOptions, ZooKeeperError
from zoolet.testing.servers.process import ExternalServer

_OPTIONS = ClientOptions(connect_timeout_s=10, call_timeout_s=10)
_PARENTS = ("/", "/zookeeper/quota")
_OWN = ("zookeeper",)
_OWN_BELOW = ["config", "quota"]
_CONNECTIONS = re.compile(r"^zk_num_alive_connections\t(\d+)", re.MULTILINE)
_CLOSING_S = 5.0
"""How long connections that the clients of a test have closed may still be there."""
AnyServer = TypeVar("AnyServer", bound=ExternalServer)


class ReusedServers:
    """Keeps at most one server of each kind that no test uses. `close` ends them."""

    def __init__(self) -> None:
        self._idle: dict[str, ExternalServer] = {}

    @contextlib.contextmanager
    def lend(self, kind: str, new: Callable[[], AnyServer]) -> Iterator[AnyServer]:
        """Yield a running server of this kind; ``new`` makes one that is not started."""
        server: Any = self._idle.pop(kind, None) or new()
        server.start()
        pid = server.pid
        is_as_new = False
        try:
            connections = _connections(server)
            yield server
            is_running = server.is_running and server.pid == pid
            is_as_new = is_running and _is_cleared(server) and _has_no_clients(server, connections)
        finally:
            if is_as_new and kind not in self._idle:
                self._idle[kind] = server
            elif server.is_running:
                server.kill()

    def close(self) -> None:
        """End the servers."""
        while self._idle:
            self._idle.popitem()[1].kill()


def _is_cleared(server: ExternalServer) -> bool:
    """Delete all znodes and quotas; return whether the rest is as in a new server."""
    try:
        with Client(server.hosts, _OPTIONS) as client:
            for parent in _PARENTS:
                for name in client.children(parent).names:
                    if name != "zookeeper":
                        client.delete_recursive(f"{parent.rstrip('/')}/{name}")
            names, root = client.children("/")
            below = sorted(client.children("/zookeeper").names)
    except (ZooKeeperError, OSError):
        return False
    is_empty = names == _OWN and below == _OWN_BELOW and root.version == root.aversion == 0
    return is_empty and "Traceback" not in server.log


def _has_no_clients(server: ExternalServer, connections: int) -> bool:
    """Return whether there are no more connections than before the test."""
    end_s = time.monotonic() + _CLOSING_S
    while _connections(server) > connections:
        if time.monotonic() > end_s:
            return False
        time.sleep(0.01)
    return True


def _connections(server: ExternalServer) -> int:
    found = _CONNECTIONS.search(server.ask("mntr"))
    assert found is not None
    return int(found[1])
