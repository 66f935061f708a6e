"""A pytest plugin that lets kazoo's own tests run against one server instead of a Java ensemble.

kazoo's harness starts its servers itself; here it gets one that is zoolet, or Apache ZooKeeper
where ``KAZOO_SUITE_JARS`` names the folder of its jars: kazoo's harness, too, is set up by the
environment. With ``KAZOO_SUITE_OBSERVER`` (``zoolet`` or ``apache``) it is an observer of an
ensemble from these jars.
"""

import atexit
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from kazoo.testing import harness

from tests.support.ensemble import (
    ApacheEnsemble,
    line_of_observer,
    new_apache_observer,
    new_observer,
)
from zoolet.state_machine.access import digest_of
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.base import ManagedServer

SETTINGS = {
    "tickTime": 500,
    "reconfigEnabled": "true",
    "DigestAuthenticationProvider.superDigest": digest_of(b"super:test"),
}


HEAP_MIB = 192
OBSERVER_ID = 101


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


def _server(home: Path, jars: Path | None, observer: str | None) -> ManagedServer:
    """Return the server under test, not started."""
    if jars is None:
        return ServerProcess(home, SETTINGS)
    if observer is None:
        return ApacheServer(home, jars, SETTINGS)
    place = home / "observer"
    line = line_of_observer(place, OBSERVER_ID) if observer == "apache" else {}
    ensemble = ApacheEnsemble(home / "members", jars, HEAP_MIB, {**SETTINGS, **line})
    ensemble.__enter__()
    atexit.register(ensemble.__exit__, None, None, None)
    new = new_apache_observer if observer == "apache" else new_observer
    return new(place, ensemble, OBSERVER_ID, SETTINGS)


_jars = os.environ.get("KAZOO_SUITE_JARS")
harness.get_global_cluster = _cluster_of(
    _server(
        Path(tempfile.mkdtemp(prefix="kazoo-suite-")),
        Path(_jars) if _jars else None,
        os.environ.get("KAZOO_SUITE_OBSERVER"),
    )
)
