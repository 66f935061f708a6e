"""Other clients with SASL: on zoolet they see the same as on Apache ZooKeeper.

Each case runs the same program with both servers, and compares all that it saw. The programs are
kazoo, Apache's shell, Java's client and Curator, and zoolet's own client.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support.apache import require_apache
from tests.support.java_gateway import java, require_gateway
from tests.support.kerberos import (
    KERBEROS_MODULE,
    PASSWORD,
    REALM,
    SERVER,
    Realm,
    clock,
    jaas_of_server,
    java_options,
    realm_in,
)
from tests.support.sasl import PROVIDER
from tests.support.sasl_client_programs import GUARDED
from tests.support.waiting import wait_until
from zoolet.client import ACL, AsyncClient, Client, ClientOptions, Credential
from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.model.acl import Id
from zoolet.testing import ApacheServer, ReservedPort, ServerProcess
from zoolet.testing.servers.apache import DEBIAN_JARS, QUICK_START
from zoolet.testing.servers.process import ExternalServer

OTHER = f"other/localhost@{REALM}"
DIGEST_MODULE = "org.apache.zookeeper.server.auth.DigestLoginModule"
USERS = f'Server {{ {DIGEST_MODULE} required user_bob="bob s3cret" user_ann="pw"; }};\n'
_UNWANTED = re.compile(
    r"\d{4}-|Connecting to|Welcome|JLine|\[zk:|WATCHER|WatchedEvent|\s+at |log4j|SLF4J|ip: "
)
"""Lines of the log, and the identity whose place in the answer to whoami is random."""

_VARIES = re.compile(r"localhost[:/.\w()]*:\d+|0x[0-9a-f]{9,}")


class Pair(NamedTuple):
    """A zoolet and an Apache ZooKeeper with the same settings.

    Attributes:
        user: bob's name in ACLs.
    """

    zoolet: ExternalServer
    apache: ExternalServer
    user: str

    def hosts(self) -> tuple[str, str]:
        return f"localhost:{self.zoolet.port}", f"localhost:{self.apache.port}"


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    yield from realm_in(tmp_path_factory.mktemp("realm"))


@contextlib.contextmanager
def pair_of(directory: Path, jars: Path, jaas: Path, options: tuple[str, ...], name: str) -> Any:
    """Start both servers with a JAAS file; they have a znode that only ann may read."""
    settings = {"java.security.auth.login.config": jaas, "zoolet.saslFailureDelayMs": 0}
    with (
        ServerProcess(directory / "zoolet", PROVIDER | settings) as zoolet,
        ApacheServer(directory / "apache", jars, PROVIDER, options) as apache,
    ):
        ann = Id("sasl", name.replace("bob", "ann"))
        for server in (zoolet, apache):
            with Client(server.hosts) as client:
                client.create(GUARDED, b"of ann", acl=(ACL(31, ann),))
        yield Pair(zoolet, apache, name)


@pytest.fixture(scope="module")
def kerberos_pair(
    realm: Realm, apache_jars: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("kerberos")
    keytab = realm.write_keytab(directory / "server.keytab", SERVER, OTHER)
    jaas = jaas_of_server(directory, keytab)
    options = java_options(realm, jaas)
    with pair_of(directory, apache_jars, jaas, options, f"bob@{REALM}") as pair:
        yield pair


@pytest.fixture(scope="module")
def digest_pair(apache_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("digest")
    jaas = directory / "jaas.conf"
    jaas.write_text(USERS)
    options = ("-Xmx512m", *QUICK_START, f"-Djava.security.auth.login.config={jaas}")
    with pair_of(directory, apache_jars, jaas, options, "bob") as pair:
        yield pair


def outcome_of(client: str, hosts: str, login: Any, user: str, **environment: str) -> Any:
    """Return what a program saw."""
    module = "tests.support.sasl_client_programs"
    done = subprocess.run(
        [sys.executable, "-m", module, client, hosts, json.dumps(login), user],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def good(user: str, *, shows_names: bool) -> dict[str, Any]:
    """Return what a program sees that is logged in as bob."""
    who = {"who": [["ip", "127.0.0.1"], ["sasl", user]]} if shows_names else {}
    return {
        "acl": [[31, "sasl", user]],
        "version": 0,
        "own": "x",
        "guarded": "NoAuthError",
        "delete": None,
    } | who


def require_pure_sasl() -> None:
    if importlib.util.find_spec("puresasl") is None:
        pytest.skip("needs the Python package pure-sasl: run make kerberos")


DIGEST_LOGINS = {
    "right": ("bob", "bob s3cret"),
    "wrong password": ("bob", "wrong"),
    "no password": ("bob", ""),
    "unknown user": ("nobody", "bob s3cret"),
    "capitals": ("BOB", "bob s3cret"),
}


def require_sound_apache(request: pytest.FixtureRequest, case: str) -> None:
    """Skip a case of ZOOKEEPER-4839: an unknown user with the password of the user before."""
    is_debians = request.config.getoption("--apache-jars") == DEBIAN_JARS
    if is_debians and case in {"unknown user", "capitals"}:
        pytest.skip("Apache ZooKeeper 3.8 has the fault ZOOKEEPER-4839: run make conformance")


@pytest.mark.parametrize("case", DIGEST_LOGINS)
@pytest.mark.parametrize("client", ["kazoo", "zoolet"])
def test_digest(request: pytest.FixtureRequest, digest_pair: Pair, client: str, case: str) -> None:
    require_sound_apache(request, case)
    user, password = DIGEST_LOGINS[case]
    login: object = ["sasl", f"{user}:{password}"]
    if client == "kazoo":
        require_pure_sasl()
        login = {"mechanism": "DIGEST-MD5", "username": user, "password": password}
    zoolet, apache = (outcome_of(client, hosts, login, "bob") for hosts in digest_pair.hosts())
    assert zoolet == apache
    if case == "right":
        assert zoolet == good("bob", shows_names=client == "zoolet")
    else:
        assert zoolet == {"error": "no session" if client == "kazoo" else "AuthFailedError"}


KERBEROS_CASES = (
    "right",
    "wrong password",
    "unknown user",
    "expired ticket",
    "other service",
    "unknown service",
    "clock skew",
)


def tickets(realm: Realm, directory: Path, case: str) -> Path:
    """Return the cache of a case; without tickets if the KDC gives none."""
    cache = directory / "cache"
    if case in {"wrong password", "unknown user"}:
        user, password = {"wrong password": ("bob", "wrong")}.get(case, ("nobody", PASSWORD))
        with pytest.raises(RuntimeError):
            realm.log_in(cache, user, password)
        return cache
    if case == "expired ticket":
        realm.stop()
        realm.start("-2h")
        try:
            login = ("kinit", "-l", "1h", "-c", str(cache), "bob")
            realm.run(*login, text=f"{PASSWORD}\n", **clock("-2h"))
        finally:
            realm.stop()
            realm.start()
        return cache
    realm.log_in(cache)
    realm.run("kvno", "-c", str(cache), SERVER)
    return cache


@pytest.mark.parametrize("case", KERBEROS_CASES)
@pytest.mark.parametrize("client", ["kazoo", "zoolet"])
def test_kerberos(
    realm: Realm, kerberos_pair: Pair, tmp_path: Path, client: str, case: str
) -> None:
    cache = tickets(realm, tmp_path, case)
    service = {"other service": "other", "unknown service": "unknown"}.get(case, "zookeeper")
    login: object = ["kerberos", f"service={service}"]
    if client == "kazoo":
        require_pure_sasl()
        login = {"mechanism": "GSSAPI", "service": service}
    environment = {
        "KRB5_CONFIG": str(realm.krb5_conf),
        "KRB5CCNAME": str(cache),
    } | clock("+20m" if case == "clock skew" else "")
    zoolet, apache = (
        outcome_of(client, hosts, login, kerberos_pair.user, **environment)
        for hosts in kerberos_pair.hosts()
    )
    assert zoolet == apache
    if case == "right":
        assert zoolet == good(kerberos_pair.user, shows_names=client == "zoolet")
    else:
        is_refused = case in {"other service", "clock skew"}
        error = "AuthFailedError" if is_refused else "NoServerError"
        assert zoolet == {"error": "no session" if client == "kazoo" else error}


SCRIPT = f"""whoami
create /of-java x sasl:USER:cdrwa
getAcl /of-java
get /of-java
set /of-java y
get {GUARDED}
delete /of-java
ls /
quit
"""


def client_jaas(directory: Path, module: str) -> Path:
    path = directory / "client.conf"
    path.write_text(f"Client {{ {module}; }};\n")
    return path


def shell_output(hosts: str, user: str, options: Mapping[str, str], **environment: str) -> str:
    """Return what Apache's shell prints, without its log and what differs from run to run."""
    jars = require_apache(DEBIAN_JARS)
    properties = [f"-D{name}={value}" for name, value in options.items()]
    done = subprocess.run(
        ["java", *QUICK_START, *properties, "-cp", f"{jars}/*",
         "org.apache.zookeeper.ZooKeeperMain", "-timeout", "5000", "-server", hosts],
        input=SCRIPT.replace("USER", user),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | environment,
        text=True,
        timeout=90,
        check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line and not _UNWANTED.match(line)]
    return _VARIES.sub("...", "\n".join(lines))


@pytest.mark.parametrize("case", DIGEST_LOGINS)
def test_the_shell_of_apache_with_digest(
    request: pytest.FixtureRequest, digest_pair: Pair, tmp_path: Path, case: str
) -> None:
    require_sound_apache(request, case)
    user, password = DIGEST_LOGINS[case]
    module = f'{DIGEST_MODULE} required username="{user}" password="{password}"'
    options = {"java.security.auth.login.config": str(client_jaas(tmp_path, module))}
    zoolet, apache = (shell_output(hosts, "bob", options) for hosts in digest_pair.hosts())
    assert zoolet == apache
    assert ("sasl: bob" in zoolet) is (case == "right")
    assert "of ann" not in zoolet


@pytest.mark.parametrize("case", KERBEROS_CASES)
def test_the_shell_of_apache_with_kerberos(
    realm: Realm, kerberos_pair: Pair, tmp_path: Path, case: str
) -> None:
    cache = tickets(realm, tmp_path, case)
    module = (
        f'{KERBEROS_MODULE} required useTicketCache=true ticketCache="{cache}" doNotPrompt=true'
    )
    service = {"other service": "other", "unknown service": "unknown"}.get(case, "zookeeper")
    options = {
        "java.security.auth.login.config": str(client_jaas(tmp_path, module)),
        "java.security.krb5.conf": str(realm.krb5_conf),
        "zookeeper.sasl.client.username": service,
    }
    environment = clock("+20m" if case == "clock skew" else "")
    zoolet, apache = (
        shell_output(hosts, kerberos_pair.user, options, **environment)
        for hosts in kerberos_pair.hosts()
    )
    assert zoolet == apache
    assert (f"sasl: {kerberos_pair.user}" in zoolet) is (case == "right")
    assert "of ann" not in zoolet


# --- Java's client and Curator, with TLS


class Secure(NamedTuple):
    """A server with a secure port.

    Attributes:
        hosts: the address of the secure port.
        options: the options of a Java program, for TLS and Kerberos.
        user: bob's name in ACLs.
        login: the login of zoolet's clients.
        ca: the certificate of the CA.
    """

    hosts: str
    options: tuple[str, ...]
    user: str
    login: Credential
    ca: Path


@pytest.fixture(params=["digest", "kerberos"])
def mechanism(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["zoolet", "apache"])
def secure(
    request: pytest.FixtureRequest, mechanism: str, tmp_path: Path, apache_jars: Path
) -> Iterator[Secure]:
    authority = trustme.CA()
    ca, store = tmp_path / "ca.pem", tmp_path / "store.pem"
    authority.cert_pem.write_to_path(ca)
    write_store(store, authority.issue_cert("localhost", "127.0.0.1"))
    options: tuple[str, ...] = ("-Xmx512m", *QUICK_START)
    if mechanism == "kerberos":
        realm = request.getfixturevalue("realm")
        keytab = realm.write_keytab(tmp_path / "server.keytab", SERVER)
        user = f"bob@{REALM}"
        own = realm.write_keytab(tmp_path / "bob.keytab", user)
        module = f'{KERBEROS_MODULE} required useKeyTab=true keyTab="{own}" principal="{user}"'
        jaas = jaas_of_server(tmp_path, keytab, f"Client {{ {module}; }};\n")
        options = java_options(realm, jaas)
        login = Credential("kerberos", f"keytab={own}")
    else:
        login = Credential("sasl", "bob:bob s3cret")
        user, jaas = "bob", tmp_path / "jaas.conf"
        client = f'{DIGEST_MODULE} required username="bob" password="bob s3cret"'
        jaas.write_text(f"{USERS}Client {{ {client}; }};\n")
        # In FIPS mode, its default, the client of Java does not use DIGEST-MD5.
        options += (f"-Djava.security.auth.login.config={jaas}", "-Dzookeeper.fips-mode=false")
    port = ReservedPort()
    settings: dict[str, object] = PROVIDER | {
        "secureClientPort": port.number,
        "secureClientPortAddress": "127.0.0.1",
        "ssl.keyStore.location": store,
        "ssl.trustStore.location": ca,
        "ssl.clientAuth": "none",
        "sessionRequireClientSASLAuth": "true",
    }
    running: ExternalServer
    if request.param == "zoolet":
        own_settings = {"java.security.auth.login.config": jaas}
        running = ServerProcess(tmp_path / "server", settings | own_settings)
    else:
        settings["serverCnxnFactory"] = "org.apache.zookeeper.server.NettyServerCnxnFactory"
        running = ApacheServer(tmp_path / "server", apache_jars, settings, options)
    tls = (
        "-Dzookeeper.client.secure=true",
        "-Dzookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty",
        f"-Dzookeeper.ssl.trustStore.location={ca}",
    )
    with running:
        yield Secure(f"localhost:{port.number}", (*options, *tls), user, login, ca)
    port.release()


def write_store(path: Path, certificate: trustme.LeafCert) -> None:
    """Write a certificate and its key in PKCS #8, as Apache ZooKeeper reads them."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    )


def test_zoolets_clients_with_tls(secure: Secure) -> None:
    options = ClientOptions(auth=(secure.login,), tls=TlsFiles(secure.ca), connect_timeout_s=20)

    async def scenario() -> None:
        async with AsyncClient(secure.hosts, options) as client:
            assert (await client.get("/own")).data == b"x"

    with Client(secure.hosts, options) as client:
        client.create("/own", b"x", acl=(ACL(31, Id("sasl", secure.user)),))
        asyncio.run(scenario())
        client._engine.drop_connection("a test")
        assert ("sasl", secure.user) in [(who.scheme, who.id) for who in client.who_am_i()]


def test_the_client_of_java_with_tls(secure: Secure, apache_jars: Path) -> None:
    require_gateway(apache_jars)
    with java(apache_jars, secure.options) as classes:
        zookeeper = classes.org.apache.zookeeper
        client = zookeeper.ZooKeeper(secure.hosts, 8000, None)
        states = zookeeper.ZooKeeper.States
        wait_until(lambda: client.getState().equals(states.CONNECTED), "the session")
        acl = zookeeper.ZooDefs.Ids.CREATOR_ALL_ACL
        mode = zookeeper.CreateMode.PERSISTENT
        assert client.create("/own", b"x", acl, mode) == "/own"
        stat = zookeeper.data.Stat()
        entry = client.getACL("/own", stat).get(0)
        found = (entry.getPerms(), entry.getId().getScheme(), entry.getId().getId())
        assert found == (31, "sasl", secure.user)
        assert bytes(client.getData("/own", None, stat)) == b"x"
        assert {info.getAuthScheme() for info in client.whoAmI()} == {"ip", "sasl"}
        client.close()


def test_curator_with_tls(secure: Secure, apache_jars: Path) -> None:
    """Curator's ACLs, counter and lock, all as the user of SASL."""
    require_gateway(apache_jars)
    with java(apache_jars, secure.options) as classes:
        curator = classes.org.apache.curator
        retry = curator.retry.RetryOneTime(1000)
        client = curator.framework.CuratorFrameworkFactory.newClient(secure.hosts, retry)
        client.start()
        assert client.blockUntilConnected(20, classes.java.util.concurrent.TimeUnit.SECONDS)
        acl = classes.org.apache.zookeeper.ZooDefs.Ids.CREATOR_ALL_ACL
        path = client.create().creatingParentsIfNeeded().withACL(acl).forPath("/a/own", b"x")
        assert path == "/a/own"
        entry = client.getACL().forPath("/a/own").get(0)
        assert (entry.getId().getScheme(), entry.getId().getId()) == ("sasl", secure.user)
        recipes = curator.framework.recipes
        counter = recipes.atomic.DistributedAtomicLong(client, "/counter", retry)
        assert counter.increment().succeeded()
        assert counter.get().postValue() == 1
        lock = recipes.locks.InterProcessMutex(client, "/lock")
        lock.acquire()
        assert lock.isOwnedByCurrentThread()
        lock.release()
        client.close()
