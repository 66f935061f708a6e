"""A pytest plugin that lets kazoo's own tests run against one server instead of a Java ensemble.

kazoo's harness starts its servers itself; here it gets one that is zoolet, or Apache ZooKeeper
where ``KAZOO_SUITE_JARS`` names the folder of its jars: kazoo's harness, too, is set up by the
environment.
"""

import atexit
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from kazoo.testing import harness

from zoolet.state_machine.access import digest_of
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.base import ManagedServer

SETTINGS = {
    "tickTime": 500,
    "reconfigEnabled": "true",
    "DigestAuthenticationProvider.superDigest": digest_of(b"super:test"),
}


class Member:
    """One server, as kazoo's tests start and stop it."""

    def __init__(self, server: ManagedServer) -> None:
        self._server = server
        self.address = self.secure_address = server.hosts
        self.running = False

    def run(self) -> None:
        if not self.running:
            self._server.start()
            self.running = True

    def stop(self) -> None:
        if self.running:
            self._server.stop()
            self.running = False

    destroy = stop


class Cluster(list[Member]):
    """An ensemble of one."""

    def start(self) -> None:
        for member in self:
            member.run()

    def stop(self) -> None:
        for member in self:
            member.stop()

    terminate = stop

    def get_logs(self) -> list[str]:
        return []


def _cluster_of(server: ManagedServer) -> Callable[[], Cluster]:
    cluster = Cluster([Member(server)])
    cluster.start()
    atexit.register(cluster.stop)
    return lambda: cluster


_home = Path(tempfile.mkdtemp(prefix="kazoo-suite-"))
_jars = os.environ.get("KAZOO_SUITE_JARS")
harness.get_global_cluster = _cluster_of(
    ApacheServer(_home, Path(_jars), SETTINGS) if _jars else ServerProcess(_home, SETTINGS)
)
