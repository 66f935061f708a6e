"""Clients that log in with Kerberos, on zoolet and on Apache ZooKeeper."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.apache import require_apache
from tests.support.kerberos import (
    PASSWORD,
    REALM,
    SERVER,
    Realm,
    clock,
    jaas_of_server,
    java_options,
    realm_in,
)
from tests.support.mirrors import run_here
from tests.support.sasl import PROVIDER
from tests.support.waiting import wait_until
from zoolet.client import (
    ACL,
    AsyncClient,
    AuthFailedError,
    Client,
    ClientOptions,
    ConnectionLossError,
    Credential,
    DeadlineError,
    NoAuthError,
    NoServerError,
    SessionState,
)
from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.jobs import Dispatcher, JobQueue, QueueSettings
from zoolet.jobs.znodes.connection import connect
from zoolet.model.acl import Id
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.apache import DEBIAN_JARS
from zoolet.testing.servers.process import ExternalServer

BOB = f"bob@{REALM}"
BOB_ONLY = (ACL(31, Id("sasl", BOB)),)


class Started(NamedTuple):
    """A running server and its realm."""

    server: ExternalServer
    realm: Realm
    keytab: Path


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    yield from realm_in(tmp_path_factory.mktemp("realm"))


@pytest.fixture(scope="module", params=["zoolet", "apache"])
def started(
    request: pytest.FixtureRequest, realm: Realm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Started]:
    directory = tmp_path_factory.mktemp("server")
    keytab = realm.write_keytab(directory / "server.keytab", SERVER)
    jaas = jaas_of_server(directory, keytab)
    running: ExternalServer
    if request.param == "zoolet":
        settings = {"java.security.auth.login.config": jaas, "zoolet.saslFailureDelayMs": 0}
        running = ServerProcess(directory, PROVIDER | settings)
    else:
        options = java_options(realm, jaas)
        running = ApacheServer(directory, require_apache(DEBIAN_JARS), PROVIDER, options)
    with running:
        yield Started(running, realm, realm.write_keytab(directory / "bob.keytab", BOB))


@pytest.fixture
def cache(realm: Realm, tmp_path: Path) -> Path:
    return realm.log_in(tmp_path / "cache")


def options_of(text: str, connect_timeout_s: float = 10.0) -> ClientOptions:
    return ClientOptions(
        auth=(Credential("kerberos", text),),
        session_timeout_ms=8000,
        connect_timeout_s=connect_timeout_s,
    )


def hosts_of(started: Started) -> str:
    return f"localhost:{started.server.port}"


@pytest.mark.parametrize("source", ["cache", "keytab", "keytab of the first principal"])
def test_a_client_logs_in(started: Started, cache: Path, source: str) -> None:
    text = {
        "cache": f"cache={cache}",
        "keytab": f"keytab={started.keytab},principal={BOB}",
    }.get(source, f"keytab={started.keytab}")
    with Client(hosts_of(started), options_of(text)) as client:
        path = client.create(f"/sync-{source}", b"x", acl=BOB_ONLY).path
        assert client.get(path).data == b"x"
        assert ("sasl", BOB) in [(who.scheme, who.id) for who in client.who_am_i()]
        with Client(hosts_of(started)) as stranger, pytest.raises(NoAuthError):
            stranger.get(path)


def test_an_async_client_logs_in(started: Started, cache: Path) -> None:
    async def scenario() -> None:
        async with AsyncClient(hosts_of(started), options_of(f"cache={cache}")) as client:
            path = (await client.create("/async", b"x", acl=BOB_ONLY)).path
            assert (await client.get(path)).data == b"x"

    asyncio.run(scenario())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize(
    "more",
    [
        "",
        ",canonicalize=false",
        f",realm={REALM}",
        f",server={SERVER}",
        ",server=zookeeper/localhost",
        f",server=zookeeper/localhost,realm={REALM}",
    ],
)
def test_the_name_of_the_server(started: Started, cache: Path, host: str, more: str) -> None:
    """An address becomes the name that the DNS gives for it."""
    hosts = f"{host}:{started.server.port}"
    with Client(hosts, options_of(f"cache={cache}{more}")) as client:
        assert client.exists("/") is not None


def test_a_client_logs_in_again_after_each_reconnect(started: Started) -> None:
    login = options_of(f"keytab={started.keytab}")
    with Client(hosts_of(started), login) as client:
        path = client.create("/again", b"x", acl=BOB_ONLY).path
        states: list[SessionState] = []
        client.add_listener(states.append)
        for number in range(3):
            client._engine.drop_connection("a test")
            wanted = number + 1
            wait_until(lambda: states.count(SessionState.CONNECTED) >= wanted, "a connection")  # noqa: B023
            assert client.get(path).data == b"x"


def test_a_reconnect_needs_no_kdc(started: Started) -> None:
    with Client(hosts_of(started), options_of(f"keytab={started.keytab}")) as client:
        states: list[SessionState] = []
        client.add_listener(states.append)
        started.realm.stop()
        try:
            client._engine.drop_connection("a test")
            wait_until(lambda: states.count(SessionState.CONNECTED) >= 1, "a connection")
        finally:
            started.realm.start()


def test_the_cache_is_read_for_each_connection(started: Started, tmp_path: Path) -> None:
    """Whoever renews the tickets in a cache replaces it."""
    cache = started.realm.log_in(tmp_path / "cache")
    with Client(hosts_of(started), options_of(f"cache={cache}")) as client:
        states: list[SessionState] = []
        client.add_listener(states.append)
        started.realm.log_in(tmp_path / "new", "ann").replace(cache)
        client._engine.drop_connection("a test")
        wait_until(lambda: SessionState.CONNECTED in states, "a connection")
        names = [who.id for who in client.who_am_i() if who.scheme == "sasl"]
        assert names == [f"ann@{REALM}"]


def test_a_client_without_tickets_waits_for_them(started: Started, tmp_path: Path) -> None:
    """Calls fail at their time limit, and succeed after kinit; the session goes on."""
    cache = started.realm.log_in(tmp_path / "cache")
    with Client(hosts_of(started), options_of(f"cache={cache}")) as client:
        session_id = client.session_id
        cache.unlink()
        client._engine.drop_connection("a test")
        with pytest.raises((DeadlineError, ConnectionLossError)):
            client.exists("/", timeout_s=0.3)
        started.realm.log_in(cache)
        assert client.exists("/") is not None
        assert client.session_id == session_id


REASON_S = (6.0, 30.0)
"""Time limits for a connection that fails; the second one if the KDC's answer takes longer."""

NO_ANSWER = "the KDC has not replied"


def reasons_of(
    started: Started, text: str, exceptions: type[Exception], limit_s: float
) -> tuple[str, str]:
    """Return why each of the clients cannot log in."""

    async def scenario() -> str:
        client = AsyncClient(hosts_of(started), options_of(text, limit_s))
        with pytest.raises(exceptions) as caught:
            await client.start()
        return str(caught.value)

    def with_threads() -> str:
        with pytest.raises(exceptions) as caught:
            Client(hosts_of(started), options_of(text, limit_s)).start()
        return str(caught.value)

    with ThreadPoolExecutor(1) as pool:  # both wait until the time limit
        other = pool.submit(with_threads)
        return asyncio.run(scenario()), other.result()


def failure_of(started: Started, text: str, exceptions: type[Exception] = NoServerError) -> str:
    """Return why neither client can log in."""
    for limit_s in REASON_S:
        reason, other_reason = reasons_of(started, text, exceptions, limit_s)
        if NO_ANSWER not in reason + other_reason:
            break
    assert reason.partition(": ")[2][:60] == other_reason.partition(": ")[2][:60]
    return reason


def test_no_tickets(started: Started, tmp_path: Path) -> None:
    reason = failure_of(started, f"cache={tmp_path / 'none'}")
    assert "the ticket cache gives no ticket of Kerberos" in reason
    assert "get one with kinit, or give a keytab" in reason


def test_a_wrong_password_and_an_unknown_user(started: Started, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Password incorrect"):
        started.realm.log_in(tmp_path / "cache", password="wrong")
    with pytest.raises(RuntimeError, match="not found in Kerberos database"):
        started.realm.log_in(tmp_path / "cache", "nobody")
    assert "gives no ticket" in failure_of(started, f"cache={tmp_path / 'cache'}")
    text = f"keytab={started.keytab},principal=nobody@{REALM}"
    assert f"gives no ticket of Kerberos for nobody@{REALM}" in failure_of(started, text)


def test_an_old_key(started: Started, tmp_path: Path) -> None:
    started.realm.add("eve")
    keytab = started.realm.write_keytab(tmp_path / "eve.keytab", "eve")
    started.realm.run("kadmin.local", "-q", "cpw -randkey eve")
    reason = failure_of(started, f"keytab={keytab}")
    assert f"the keytab {keytab} gives no ticket" in reason
    started.realm.run("kadmin.local", "-q", "delprinc -force eve")
    assert f"the keytab {keytab} gives no ticket" in failure_of(started, f"keytab={keytab}")


def test_an_expired_ticket(started: Started, tmp_path: Path) -> None:
    realm, cache = started.realm, tmp_path / "cache"
    realm.stop()
    realm.start("-2h")
    try:
        login = ("kinit", "-l", "1h", "-c", str(cache), "bob")
        realm.run(*login, text=f"{PASSWORD}\n", **clock("-2h"))
    finally:
        realm.stop()
        realm.start()
    assert "expired" in failure_of(started, f"cache={cache}")


def test_a_service_that_the_kdc_does_not_know(started: Started, cache: Path) -> None:
    reason = failure_of(started, f"cache={cache},service=unknown")
    assert "no ticket of Kerberos for unknown" in reason
    assert "not found in Kerberos database" in reason


def test_a_ticket_for_another_service(started: Started, cache: Path) -> None:
    text = f"cache={cache},server=other/localhost@{REALM}"
    reason = failure_of(started, text, AuthFailedError)
    assert "the server does not accept the ticket" in reason


def test_a_kdc_that_does_not_listen(started: Started, cache: Path) -> None:
    started.realm.stop()
    try:
        reason = failure_of(started, f"cache={cache}")
    finally:
        started.realm.start()
    assert "Cannot contact any KDC" in reason


_SCENARIO = """
import sys
from zoolet.client import Client, ClientOptions, Credential
login = Credential("kerberos", f"cache={sys.argv[2]}")
Client(sys.argv[1], ClientOptions(auth=(login,))).start()
"""


def test_a_clock_that_is_wrong(started: Started, cache: Path) -> None:
    started.realm.run("kvno", "-c", str(cache), SERVER)
    environment = os.environ | started.realm.environment | clock("+20m")
    done = subprocess.run(
        [sys.executable, "-c", _SCENARIO, hosts_of(started), str(cache)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "AuthFailedError" in done.stderr
    assert "the server does not accept the ticket" in done.stderr


def test_a_server_without_kerberos(tmp_path: Path, cache: Path) -> None:
    users = {"zoolet.saslPassword.bob": "pw"}
    for settings, message in (
        ({}, "the server has no Kerberos"),
        (users, "the answer of the server is not valid"),
    ):
        with ServerProcess(tmp_path / str(len(settings)), PROVIDER | settings) as server:
            client = Client(f"localhost:{server.port}", options_of(f"cache={cache}"))
            with pytest.raises(AuthFailedError, match=message):
                client.start()


def test_a_server_with_both_mechanisms(tmp_path: Path, realm: Realm, cache: Path) -> None:
    keytab = realm.write_keytab(tmp_path / "server.keytab", SERVER)
    settings = PROVIDER | {
        "zoolet.kerberosKeytab": str(keytab),
        "zoolet.kerberosPrincipal": SERVER,
        "zoolet.saslPassword.ann": "pw",
    }
    with ServerProcess(tmp_path / "server", settings) as server:
        for login, name in (
            (Credential("kerberos", f"cache={cache}"), BOB),
            (Credential("sasl", "ann:pw"), "ann"),
        ):
            with Client(f"localhost:{server.port}", ClientOptions(auth=(login,))) as client:
                assert ("sasl", name) in [(who.scheme, who.id) for who in client.who_am_i()]


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_tickets_are_renewed_before_they_expire(
    tmp_path: Path, realm: Realm, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """After a renewal, a reconnect needs no KDC. The tickets are valid for some seconds."""
    keytab = realm.write_keytab(tmp_path / "server.keytab", SERVER)
    user = f"short-{kind}"
    realm.run("kadmin.local", "-q", f"addprinc -randkey -maxlife 4s {user}")
    login = options_of(f"keytab={realm.write_keytab(tmp_path / 'keytab', user)}")
    settings = {"zoolet.kerberosKeytab": keytab, "zoolet.kerberosPrincipal": SERVER}
    caplog.set_level(logging.INFO)

    def has_renewed() -> bool:
        return "renewed the tickets of Kerberos" in caplog.text

    async def scenario(hosts: str) -> None:
        async with AsyncClient(hosts, login) as client:
            await asyncio.to_thread(wait_until, has_renewed, "a renewal")
            realm.stop()
            client._engine.drop_connection("a test")
            assert await client.exists("/") is not None

    with ServerProcess(tmp_path / "server", PROVIDER | settings) as server:
        hosts = f"localhost:{server.port}"
        try:
            if kind == "asyncio":
                asyncio.run(scenario(hosts))
                return
            with Client(hosts, login) as client:
                wait_until(has_renewed, "a renewal")
                realm.stop()
                client._engine.drop_connection("a test")
                assert client.exists("/") is not None
        finally:
            realm.stop()
            realm.start()


def test_the_event_loop_does_not_wait_for_the_kdc(started: Started, cache: Path) -> None:
    """A KDC that accepts connections and never replies."""
    realm = started.realm
    realm.stop()
    try:
        with realm.silent_kdc():

            async def scenario() -> int:
                client = AsyncClient(hosts_of(started), options_of(f"cache={cache}", 1.0))
                start = asyncio.create_task(client.start())
                turns = 0
                while not start.done():
                    await asyncio.sleep(0.01)
                    turns += 1
                with pytest.raises(NoServerError, match="no ticket of Kerberos"):
                    await start
                return turns

            assert asyncio.run(scenario()) > 10
            with pytest.raises(NoServerError, match="no ticket of Kerberos"):
                Client(hosts_of(started), options_of(f"cache={cache}", 1.0)).start()
    finally:
        realm.start()


def run_shell(
    started: Started, *words: str, hosts: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zoolet", "shell", "-timeout", "5000", "-server"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("KRB5")}
    return subprocess.run(
        [*command, hosts or hosts_of(started), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean | environment,
    )


def test_the_shell_logs_in(started: Started, tmp_path: Path, cache: Path) -> None:
    home = {"HOME": str(tmp_path)}
    krb5 = {"KRB5_CONFIG": str(started.realm.krb5_conf)} | home
    by_option = run_shell(started, "--auth", "kerberos:", "whoami", KRB5CCNAME=str(cache), **krb5)
    assert f"sasl: {BOB}" in by_option.stdout, by_option.stderr
    jaas = tmp_path / "jaas.conf"
    module = "com.sun.security.auth.module.Krb5LoginModule required"
    jaas.write_text(
        f'Client {{ {module} useKeyTab=true keyTab="{started.keytab}" principal="{BOB}"; }};\n'
        f'Cache {{ {module} useTicketCache=true ticketCache="{cache}"; }};\n'
    )
    for section in ("Client", "Cache"):
        flags = (
            f"-Djava.security.auth.login.config={jaas} -Dzookeeper.sasl.clientconfig={section}"
            f" -Djava.security.krb5.conf={started.realm.krb5_conf}"
        )
        by_file = run_shell(started, "whoami", CLIENT_JVMFLAGS=flags, **home)
        assert f"sasl: {BOB}" in by_file.stdout, by_file.stderr


def test_the_shell_says_why_it_has_no_ticket(started: Started, tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "KRB5_CONFIG": str(started.realm.krb5_conf)}
    login = f"kerberos:cache={tmp_path / 'none'}"
    done = run_shell(started, "--auth", login, "whoami", **environment)
    assert done.returncode == 1
    assert "get one with kinit" in done.stderr
    wrong = run_shell(started, "--auth", "kerberos:bob:pw", "whoami", **environment)
    assert wrong.returncode == 2
    assert "a login with Kerberos has the form" in wrong.stderr
    refused = f"kerberos:keytab={started.keytab},server=other/localhost@{REALM}"
    done = run_shell(started, "--auth", refused, "whoami", **environment)
    assert "refuses the login with kerberos" in done.stderr


def test_a_queue_is_for_the_user_who_creates_it(started: Started) -> None:
    login = Credential("kerberos", f"keytab={started.keytab}")
    settings = ConnectionSettings(hosts_of(started), auth=(login,))
    link = connect(settings)
    try:
        JobQueue(link, "/jobs-of-bob").ensure_layout(QueueSettings(acl="auth::cdrwa"))
    finally:
        link.close(5.0)
    with Dispatcher(settings, "/jobs-of-bob") as dispatcher:
        assert dispatcher.queue.settings.acl == f"sasl:{BOB}:cdrwa"
        dispatcher.submit("json:dumps")


def test_a_mirror_logs_in_on_both_sides(started: Started, tmp_path: Path) -> None:
    login = f"keytab={started.keytab}"
    with Client(hosts_of(started), options_of(login)) as client:
        path = client.create(f"/source-{os.getpid()}", b"x", acl=BOB_ONLY).path
        target = path.replace("source", "target")
        client.create(f"{path}/a", b"y", acl=BOB_ONLY)
        sides = (f"{hosts_of(started)}{path}", f"{hosts_of(started)}{target}")
        state = tmp_path / "state.sqlite"
        both = ("--from-auth", f"kerberos:{login}", "--to-auth", f"kerberos:{login}")
        status, text = run_here(*sides, state, "--once", *both)
        assert status == 0, text
        assert client.get(f"{target}/a").data == b"y"
        assert client.get_acl(f"{target}/a").acl == BOB_ONLY
        assert run_here(*sides, tmp_path / "other.sqlite", "--once")[0] == 1
