"""A replacement for kazoo's test harness that uses an embedded server.

A test suite imports KazooTestCase or KazooTestHarness from zoolet.testing instead of kazoo.testing.
This module has the interface of kazoo's harness (``kazoo.testing.harness``). It needs no Java, and
it does not wait as kazoo's harness does: it closes connections and ends sessions at the server. An
"ensemble" is one server with three addresses; a test may stop each address. This module must not
import kazoo.testing, because kazoo.testing needs additional libraries.
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
    # The same as in kazoo's own harness: test suites log in as this super user.
    "DigestAuthenticationProvider.superDigest": digest_of(b"super:test"),
}
_LOST_S = 10.0
_CONNECTED_S = 15.0
_NO_TLS = "zoolet's test servers have no TLS address"


class Member:
    """One address of the server, with the interface of kazoo's ManagedZooKeeper.

    Attributes:
        address: the address to which a client connects, ``HOST:PORT``.
        client_port: the TCP port of the address.
    """

    def __init__(self, cluster: "Cluster", address: Address) -> None:
        self.address = address.hosts
        self.client_port = address.port
        self._cluster = cluster
        self._address = address

    @property
    def running(self) -> bool:
        """Whether clients can connect to this address."""
        return self._cluster.server.is_running and self._address.is_up

    @property
    def secure_address(self) -> str:
        """Skip the test: the server has no TLS address."""
        raise unittest.SkipTest(_NO_TLS)

    def run(self) -> None:
        """Start the server, and accept clients at this address."""
        self._cluster.server.start()
        self._address.start()

    def stop(self) -> None:
        """Refuse new clients at this address, and disconnect its connected clients."""
        self._address.stop()

    destroy = stop


class Cluster(list[Member]):
    """A server with several addresses, with the interface of kazoo's ZookeeperCluster.

    Attributes:
        server: the embedded server, with its faults.
    """

    def __init__(self) -> None:
        super().__init__()
        self.server = EmbeddedServer(settings=_SETTINGS)

    def start(self) -> None:
        """Start the server with all addresses."""
        self.server.heal()
        self.server.open_addresses(CLUSTER_SIZE)
        self[:] = [Member(self, address) for address in self.server.addresses]

    def stop(self) -> None:
        """Stop the server and keep its data."""
        self.server.stop()

    def reset(self) -> None:
        """Stop the server and delete its data."""
        self.server.wipe()
        self.server.stop()

    terminate = reset

    def get_logs(self) -> list[str]:
        """Return the injected faults and the last requests, for the report of a failed test."""
        return [self.server.report()]

    def get_ssl_client_configuration(self) -> dict[str, bytes]:
        """Skip the test: the server has no TLS configuration."""
        raise unittest.SkipTest(_NO_TLS)


@cache
def get_global_cluster() -> Cluster:
    """Return the cluster of this process. The first call creates and starts the cluster."""
    cluster = Cluster()
    cluster.start()
    return cluster


class KazooTestHarness(unittest.TestCase):
    """A base class for tests that call ``setup_zookeeper`` and ``teardown_zookeeper`` themselves.

    Attributes:
        client: a started client, with a chroot that only this test uses.
        hosts: the addresses and the chroot for other clients of this test.
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
        """The server with its addresses."""
        return get_global_cluster()

    def log(self, level: int, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log a line."""
        log.log(level, msg, *args, **kwargs)

    @property
    def servers(self) -> str:
        """All addresses, in the format that a client accepts."""
        return ",".join(member.address for member in self.cluster)

    @property
    def secure_servers(self) -> str:
        """All addresses with TLS; skips the test, because there are none."""
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
        """Close the client's connection; return when the client has a new connection."""
        self._break_connection(self.cluster.server.faults.cut, KazooState.SUSPENDED, event_factory)

    def expire_session(self, event_factory: Callable[[], Any]) -> None:
        """End the client's session; return when the client has a new session."""
        self._break_connection(self.cluster.server.faults.expire, KazooState.LOST, event_factory)

    def setup_zookeeper(self, **client_options: Any) -> None:
        """Start the server, if it does not run, and a client with a chroot for this test."""
        if not all(member.running for member in self.cluster):
            self.cluster.start()
        # A subclass may have a tearDown that does not call teardown_zookeeper.
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
        """End all faults, and stop the test's clients."""
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
        """Break the client's connection or session; wait until the client is connected again."""
        broken, well = event_factory(), event_factory()

        def listen(state: str) -> bool:
            if state == broken_state:
                broken.set()
            elif broken.is_set() and state == KazooState.CONNECTED:
                well.set()
            return bool(well.is_set())  # kazoo removes a listener that returns True

        self.client.add_listener(listen)
        break_it(self.client)
        for event, timeout_s, what in (
            (broken, _LOST_S, f"did not become {broken_state}"),
            (well, _CONNECTED_S, "did not reconnect"),
        ):
            event.wait(timeout_s)
            if not event.is_set():
                raise TimeoutError(f"the client {what} within {timeout_s:g} s")
        self.client.retry(self.client.get_async, "/")


class KazooTestCase(KazooTestHarness):
    """A test case whose ``self.client`` is a started client."""

    def setUp(self) -> None:
        """Start the client."""
        self.setup_zookeeper()

    def tearDown(self) -> None:
        """Stop the client."""
        self.teardown_zookeeper()

    @classmethod
    def tearDownClass(cls) -> None:
        """Stop the server and delete its data."""
        get_global_cluster().terminate()
