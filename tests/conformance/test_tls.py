"""TLS with PKCS12 stores: the same ports, versions, suites and ids as with Apache ZooKeeper.

Clients are Python's ssl, kazoo, kazoo as Patroni configures it, and Apache's Java shell.
"""

import contextlib
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.retry import KazooRetry
from kazoo.security import make_acl

from tests.support.apache import require_apache
from tests.support.rawclient import connect_frame
from tests.support.secure import (
    PASSWORD,
    SecureClient,
    Stores,
    client_context,
    connected,
    word,
)
from tests.support.waiting import wait_until
from zoolet.model.codes import OpCode
from zoolet.testing import ApacheServer, ReservedPort, ServerProcess
from zoolet.testing.servers.apache import QUICK_START, release_of
from zoolet.testing.servers.process import ExternalServer
from zoolet.wire.jute import pack_ustring

APACHE = {
    "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
    "client.certReload": "true",
}
READ_ROOT = pack_ustring("/") + b"\0"
SUITES_13 = "TLS_AES_256_GCM_SHA384,TLS_AES_128_GCM_SHA256,TLS_CHACHA20_POLY1305_SHA256"
SETTINGS: dict[str, dict[str, str]] = {
    "suites": {
        "client.portUnification": "true",
        "ssl.enabledProtocols": "TLSv1.2,TLSv1.3",
        "ssl.ciphersuites": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,"
        f"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,{SUITES_13}",
    },
    "old": {"ssl.protocol": "TLSv1.2", "ssl.clientAuth": "want"},
}
NEGOTIATED = {
    "suites": {
        ("TLSv1.3", ""): "TLSv1.3",
        ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"): "TLSv1.2",
        ("TLSv1.2", "ECDHE-ECDSA-AES128-SHA"): "TLSv1.2",
        ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"): None,
        ("TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"): None,
    },
    "old": {
        ("TLSv1.3", ""): None,
        ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"): "TLSv1.2",
        ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"): "TLSv1.2",
    },
}
"""The version of the handshake with a client that offers one version and one suite, or None."""


class Secured(NamedTuple):
    """A running server; ``kind`` is the key of its settings."""

    server: ExternalServer
    stores: Stores
    port: int
    kind: str

    @property
    def context(self) -> ssl.SSLContext:
        return client_context(self.stores.authority, self.stores.client)


@pytest.fixture(
    scope="module",
    params=[(name, kind) for kind in SETTINGS for name in ("zoolet", "apache")],
    ids="-".join,
)
def secured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secured]:
    name, kind = request.param
    directory = tmp_path_factory.mktemp("server")
    stores = Stores(directory)
    port = ReservedPort()
    settings: dict[str, object] = {
        "secureClientPort": port.number,
        "secureClientPortAddress": "127.0.0.1",
        **stores.settings,
        **SETTINGS[kind],
    }
    running: ExternalServer
    if name == "zoolet":
        running = ServerProcess(directory / "server", settings)
    else:
        jars = require_apache(request.getfixturevalue("apache_jars"))
        running = ApacheServer(directory / "server", jars, {**settings, **APACHE})
    with running:
        yield Secured(running, stores, port.number, kind)
    port.release()


def ports_of(secured: Secured) -> list[int]:
    """Return the ports that serve clients with TLS."""
    is_unified = "client.portUnification" in SETTINGS[secured.kind]
    return [secured.port, secured.server.port] if is_unified else [secured.port]


def test_each_port_serves_tls(secured: Secured) -> None:
    for port in ports_of(secured):
        with SecureClient(port, secured.stores.authority, secured.stores.client) as client:
            assert client.request(OpCode.GET_DATA, READ_ROOT).err == 0
            client.send(OpCode.CLOSE_SESSION)
        assert word(port, "ruok", secured.context) == b"imok"


def test_the_client_port_serves_plain_clients(secured: Secured) -> None:
    assert word(secured.server.port, "ruok") == b"imok"
    client = KazooClient(hosts=secured.server.hosts)
    client.start(timeout=20)
    try:
        assert client.exists("/") is not None
    finally:
        client.stop()
        client.close()


def test_the_secure_port_serves_no_plain_clients(secured: Secured) -> None:
    received = b""
    with connected(secured.port, None) as client, contextlib.suppress(ConnectionResetError):
        client.sendall(connect_frame())
        while part := client.recv(100):
            received += part
    assert len(received) < len(connect_frame())  # at most a TLS alert


def test_clients_that_send_nothing_do_not_block(secured: Secured) -> None:
    with contextlib.ExitStack() as opened:
        for port in (secured.port, secured.server.port):
            for _ in range(20):
                opened.enter_context(connected(port, None))
        test_each_port_serves_tls(secured)
        test_the_client_port_serves_plain_clients(secured)


def test_versions_and_suites(secured: Secured) -> None:
    wanted = NEGOTIATED[secured.kind]
    assert {case: negotiated(secured, *case) for case in wanted} == wanted


def negotiated(secured: Secured, version: str, suite: str) -> str | None:
    """Return the version of a handshake with this suite; None if the server refuses it."""
    context = secured.context
    only = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}[version]
    context.minimum_version = context.maximum_version = only
    if suite:
        context.set_ciphers(f"{suite}:@SECLEVEL=0")
    try:
        with connected(secured.port, context) as connection:
            connection.sendall(b"ruok")
            assert connection.recv(100) == b"imok"
            return str(connection.version())  # type: ignore[attr-defined]
    except (ssl.SSLError, ConnectionError):
        return None


def test_a_client_without_a_certificate(secured: Secured) -> None:
    context = client_context(secured.stores.authority, None)
    is_refused = False
    try:
        assert word(secured.port, "ruok", context) in {b"imok", b""}
        is_refused = word(secured.port, "ruok", context) == b""
    except (ssl.SSLError, ConnectionError):
        is_refused = True
    assert is_refused is (SETTINGS[secured.kind].get("ssl.clientAuth", "need") == "need")


# --- Patroni's client, with kazoo


class PatronisHandler(SequentialThreadingHandler):  # type: ignore[misc]
    """Patroni tries each address for a short time only."""

    def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["timeout"] = max(1.0, kwargs.get("timeout", 50.0) / 10.0)
        return super().create_connection(*args, **kwargs)


def patronis_client(config: dict[str, Any]) -> Any:
    """Return the client that Patroni makes: the calls of ``patroni/dcs/zookeeper.py``."""
    names = {
        "use_ssl": "use_ssl",
        "verify": "verify_certs",
        "cacert": "ca",
        "cert": "certfile",
        "key": "keyfile",
    }
    options = {names[key]: value for key, value in config.items() if key in names}
    if "set_acls" in config:
        options["default_acl"] = [
            make_acl(
                scheme="x509",
                credential=principal,
                **{name: name.upper() in permissions for name in ("read", "write", "all")},
            )
            for principal, permissions in config["set_acls"].items()
        ]
    retry = {"max_delay": 1, "max_tries": -1}
    return KazooClient(
        ",".join(config["hosts"]),
        handler=PatronisHandler(),
        timeout=config["ttl"],
        connection_retry=KazooRetry(**retry),
        command_retry=KazooRetry(**retry, deadline=config["retry_timeout"]),
        auth_data=list(config.get("auth_data", {}).items()),
        **options,
    )


@pytest.mark.parametrize("verify", [True, False])
def test_kazoo_as_patroni_configures_it(secured: Secured, *, verify: bool) -> None:
    own = str(secured.stores.client)
    subject = subject_of(secured)
    client = patronis_client(
        {
            "hosts": [f"localhost:{port}" for port in ports_of(secured)],
            "use_ssl": True,
            "verify": verify,
            "cacert": str(secured.stores.authority),
            "cert": own,
            "key": own,
            "ttl": 10,
            "retry_timeout": 10,
            "set_acls": {subject: ["ALL"], "CN=monitor": ["READ"]},
        }
    )
    plain = KazooClient(hosts=secured.server.hosts)
    client.start(20)
    plain.start(20)
    path = f"/service-{verify}/cluster"
    try:
        client.create(f"{path}/leader", b"node1", makepath=True, ephemeral=True)
        client.set(f"{path}/leader", b"node2")
        assert client.get(f"{path}/leader")[0] == b"node2"
        entries = {(entry.id.id, entry.perms) for entry in client.get_acls(path)[0]}
        assert entries == {(subject, 31), ("CN=monitor", 1)}
        with pytest.raises(NoAuthError):
            plain.get(f"{path}/leader")
        client.delete(f"/service-{verify}", recursive=True)
    finally:
        for each in (client, plain):
            each.stop()
            each.close()


def subject_of(secured: Secured) -> str:
    """Return the id of x509 that an ACL with the scheme auth gets."""
    own = str(secured.stores.client)
    client = KazooClient(
        f"localhost:{secured.port}",
        use_ssl=True,
        ca=str(secured.stores.authority),
        certfile=own,
        keyfile=own,
    )
    client.start(20)
    try:
        path = client.create("/who-", acl=[make_acl("auth", "", all=True)], sequence=True)
        ((scheme, name),) = [tuple(entry.id) for entry in client.get_acls(path)[0]]
        client.delete(path)
    finally:
        client.stop()
        client.close()
    assert scheme == "x509"
    return str(name)


def test_the_subject_is_the_id(secured: Secured) -> None:
    found = subject_of(secured).split(",")
    assert found[0] == "CN=client"
    assert found[-1].startswith("O=trustme")


# --- The shell of Java


def test_javas_shell_uses_tls(secured: Secured, request: pytest.FixtureRequest) -> None:
    jars: Path = require_apache(request.getfixturevalue("apache_jars"))
    for port in ports_of(secured):
        printed = run_shell(secured, jars, port, "create /java secret auth::cdrwa\ngetAcl /java\n")
        assert "'x509,'CN=client" in printed
        assert "secret" in run_shell(secured, jars, port, "get /java\ndelete /java\n")


def run_shell(secured: Secured, jars: Path, port: int, script: str) -> str:
    """Return what Apache's zkCli prints."""
    directory = secured.stores.directory
    version = SETTINGS[secured.kind].get("ssl.protocol", "TLSv1.3")
    options = {
        "zookeeper.clientCnxnSocket": "org.apache.zookeeper.ClientCnxnSocketNetty",
        "zookeeper.client.secure": "true",
        "zookeeper.ssl.keyStore.location": directory / "client.p12",
        "zookeeper.ssl.keyStore.password": PASSWORD,
        "zookeeper.ssl.trustStore.location": directory / "trusted.p12",
        "zookeeper.ssl.trustStore.password": PASSWORD,
        "zookeeper.ssl.protocol": version,
    }
    found = subprocess.run(
        [
            "java",
            "-Xmx128m",
            *QUICK_START,
            *(f"-D{name}={value}" for name, value in options.items()),
            "-cp",
            f"{jars}/*",
            "org.apache.zookeeper.ZooKeeperMain",
            # Otherwise a command fails that comes before localhost's first address has refused.
            "-waitforconnection",
            "-timeout",
            "30000",
            "-server",
            f"localhost:{port}",
        ],
        input=script,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return found.stdout


def test_a_store_is_read_again(secured: Secured, request: pytest.FixtureRequest) -> None:
    """Last: it replaces the server's certificate."""
    if isinstance(secured.server, ApacheServer):
        jars = request.getfixturevalue("apache_jars")
        if release_of(jars) < (3, 8, 1):
            pytest.skip("Apache ZooKeeper before 3.8.1 does not read stores again")
    before = secured.stores.authority.read_bytes()
    new = secured.stores.directory / "new"
    new.mkdir()
    others = Stores(new)
    for name in ("server.p12", "trusted.p12"):
        (new / name).replace(secured.stores.directory / name)

    def serves() -> bool:
        try:
            with SecureClient(secured.port, others.authority, others.client):
                return True
        except (OSError, EOFError):
            return False

    wait_until(serves, "the new stores")
    assert before != others.authority.read_bytes()
