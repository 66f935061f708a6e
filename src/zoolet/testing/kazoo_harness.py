"""kazoo's test harness on a server in this process, so that a suite moves by changing an import.

It imports KazooTestCase, or KazooTestHarness, from zoolet.testing instead of kazoo.testing. Owns
what kazoo's harness promises to a test (``kazoo.testing.harness``), without Java, and without
kazoo's waits: connections are cut and sessions ended at the server. An "ensemble" is one server on
three addresses, each of which a test may stop. Must not import kazoo.testing, which wants libraries
of its own.
"""

import logging
import unittest
import uuid
from collections.abc import Callable
from functools import cache
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.protocol.states import KazooState

from zoolet.state_machine.access import digest_of
from zoolet.testing.servers.embedded import Address, EmbeddedServer

log = logging.getLogger(__name__)

CLUSTER_SIZE = 3

_SETTINGS = {
    "tickTime": 2000,
    "reconfigEnabled": "true",
    # As in kazoo's own harness: its suites sign in as this super user.
    "DigestAuthenticationProvider.superDigest": digest_of(b"super:test"),
}
_LOST_S = 10.0
_CONNECTED_S = 15.0
_NO_TLS = "zoolet's test servers have no TLS address"


class Member:
    """One of the addresses, under the names that kazoo's ManagedZooKeeper has.

    Attributes:
        address: what a client connects to.
        client_port: its TCP port.
    """

    def __init__(self, cluster: "Cluster", address: Address) -> None:
        self.address = address.hosts
        self.client_port = address.port
        self._cluster = cluster
        self._address = address

    @property
    def running(self) -> bool:
        """Whether clients are let in."""
        return self._cluster.server.is_running and self._address.is_up

    @property
    def secure_address(self) -> str:
        """There is none."""
        raise unittest.SkipTest(_NO_TLS)

    def run(self) -> None:
        """Let clients in."""
        self._cluster.server.start()
        self._address.start()

    def stop(self) -> None:
        """Turn clients away, and cut off those that are connected here."""
        self._address.stop()

    destroy = stop


class Cluster(list[Member]):
    """A server on several addresses, under the names that kazoo's ZookeeperCluster has.

    Attributes:
        server: what serves on them; its faults are at hand.
    """

    def __init__(self) -> None:
        super().__init__()
        self.server = EmbeddedServer(settings=_SETTINGS)

    def start(self) -> None:
        """Serve on all addresses."""
        self.server.heal()
        self.server.open_addresses(CLUSTER_SIZE)
        self[:] = [Member(self, address) for address in self.server.addresses]

    def stop(self) -> None:
        """Stop the server; its data stay."""
        self.server.stop()

    def reset(self) -> None:
        """Stop the server and forget its data."""
        self.server.wipe()
        self.server.stop()

    terminate = reset

    def get_logs(self) -> list[str]:
        """Return what was injected and asked, for the report of a failed test."""
        return [self.server.report()]

    def get_ssl_client_configuration(self) -> dict[str, bytes]:
        """There is none."""
        raise unittest.SkipTest(_NO_TLS)


@cache
def get_global_cluster() -> Cluster:
    """Return the one of this process, which is made when it is first asked for."""
    cluster = Cluster()
    cluster.start()
    return cluster


class KazooTestHarness(unittest.TestCase):
    """For tests that call ``setup_zookeeper`` and ``teardown_zookeeper`` themselves.

    Attributes:
        client: a started client, in a chroot of the test's own.
        hosts: what another client in that chroot connects to.
    """

    DEFAULT_CLIENT_TIMEOUT = 15

    client: Any
    hosts: str

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.client = None
        self._clients: list[Any] = []

    @property
    def cluster(self) -> Cluster:
        """The server, by its addresses."""
        return get_global_cluster()

    def log(self, level: int, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log a line."""
        log.log(level, msg, *args, **kwargs)

    @property
    def servers(self) -> str:
        """All addresses, as a client takes them."""
        return ",".join(member.address for member in self.cluster)

    @property
    def secure_servers(self) -> str:
        """All addresses with TLS."""
        return ",".join(member.secure_address for member in self.cluster)

    def _get_nonchroot_client(self) -> Any:
        return self._kept(KazooClient(self.servers))

    def _get_client(self, **client_options: Any) -> Any:
        return self._kept(
            KazooClient(self.hosts, **{"timeout": self.DEFAULT_CLIENT_TIMEOUT, **client_options})
        )

    def _kept(self, client: Any) -> Any:
        self._clients.append(client)
        return client

    def lose_connection(self, event_factory: Callable[[], Any]) -> None:
        """Cut the client's connection; return when it has a new one."""
        self._break_connection(self.cluster.server.faults.cut, KazooState.SUSPENDED, event_factory)

    def expire_session(self, event_factory: Callable[[], Any]) -> None:
        """End the client's session; return when it has a new one."""
        self._break_connection(self.cluster.server.faults.expire, KazooState.LOST, event_factory)

    def setup_zookeeper(self, **client_options: Any) -> None:
        """Start the server, if it does not run, and a client in a chroot of its own."""
        if not all(member.running for member in self.cluster):
            self.cluster.start()
        # A test may have a tearDown of its own that forgets this one.
        self.addCleanup(self.teardown_zookeeper)
        chroot = f"/kazootests{uuid.uuid4().hex}"
        making = self._get_nonchroot_client()
        making.start()
        making.create(chroot)
        making.stop()
        addresses = self.secure_servers if client_options.get("use_ssl") else self.servers
        self.hosts = addresses + chroot
        self.client = self._get_client(**client_options)
        self.client.start()

    def teardown_zookeeper(self) -> None:
        """End what went wrong, and stop the test's clients."""
        if self._clients:
            self.cluster.start()
        while self._clients:
            client = self._clients.pop()
            try:
                client.stop()
            except KazooException:
                log.exception("stopping %s failed", client)
            finally:
                client.close()
        self.client = None

    def _break_connection(
        self, break_it: Callable[[Any], None], broken_state: str, event_factory: Callable[[], Any]
    ) -> None:
        """Break the client's connection or session, and wait until it is well again."""
        broken, well = event_factory(), event_factory()

        def listen(state: str) -> bool:
            if state == broken_state:
                broken.set()
            elif broken.is_set() and state == KazooState.CONNECTED:
                well.set()
            return bool(well.is_set())  # kazoo takes a listener out that says so

        self.client.add_listener(listen)
        break_it(self.client)
        for event, timeout_s, what in (
            (broken, _LOST_S, f"did not become {broken_state}"),
            (well, _CONNECTED_S, "did not come back"),
        ):
            event.wait(timeout_s)
            if not event.is_set():
                raise TimeoutError(f"the client {what} within {timeout_s:g} s")
        self.client.retry(self.client.get_async, "/")


class KazooTestCase(KazooTestHarness):
    """A test case with a client of its own in ``self.client``."""

    def setUp(self) -> None:
        """Have a client."""
        self.setup_zookeeper()

    def tearDown(self) -> None:
        """Have none."""
        self.teardown_zookeeper()

    @classmethod
    def tearDownClass(cls) -> None:
        """Leave nothing behind."""
        get_global_cluster().terminate()
