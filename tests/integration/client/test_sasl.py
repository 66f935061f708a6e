"""Clients that log in with SASL, on zoolet and on Apache ZooKeeper."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.apache import require_apache
from tests.support.sasl import PROVIDER
from tests.support.waiting import wait_until
from zoolet.client import (
    ACL,
    AsyncClient,
    AuthFailedError,
    Client,
    ClientOptions,
    Credential,
    NoAuthError,
    SessionState,
)
from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.jobs import AccessDeniedError, Dispatcher, JobQueue, QueueSettings
from zoolet.jobs.znodes.connection import connect
from zoolet.model.acl import Id
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.apache import DEBIAN_JARS, QUICK_START
from zoolet.testing.servers.process import ExternalServer

MODULE = "org.apache.zookeeper.server.auth.DigestLoginModule required"
JAAS = (
    f'Server {{ {MODULE} user_bob="bob:s3cret" user_ann="pw"; }};\n'
    f'Client {{ {MODULE} username="bob" password="bob:s3cret"; }};\n'
    f'Wrong {{ {MODULE} username="bob" password="wr0ng"; }};\n'
)
BOB = Credential("sasl", "bob:bob:s3cret")
BOB_ONLY = (ACL(31, Id("sasl", "bob")),)


@pytest.fixture(scope="module", params=["zoolet", "apache"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ExternalServer]:
    directory = tmp_path_factory.mktemp("server")
    jaas = directory / "jaas.conf"
    jaas.write_text(JAAS)
    key = "java.security.auth.login.config"
    running: ExternalServer
    if request.param == "zoolet":
        running = ServerProcess(directory, PROVIDER | {key: jaas, "zoolet.saslFailureDelayMs": 0})
    else:
        options = ("-Xmx512m", *QUICK_START, f"-D{key}={jaas}")
        running = ApacheServer(directory, require_apache(DEBIAN_JARS), PROVIDER, options)
    with running:
        yield running


def options_of(*auth: Credential) -> ClientOptions:
    return ClientOptions(auth=auth, session_timeout_ms=8000)


def test_a_client_logs_in(server: ExternalServer) -> None:
    with Client(server.hosts, options_of(BOB)) as client:
        path = client.create("/sync", b"x", acl=BOB_ONLY).path
        assert client.get(path).data == b"x"
        assert ("sasl", "bob") in [(who.scheme, who.id) for who in client.who_am_i()]
        with Client(server.hosts) as stranger, pytest.raises(NoAuthError):
            stranger.get(path)


def test_an_async_client_logs_in(server: ExternalServer) -> None:
    async def scenario() -> None:
        async with AsyncClient(server.hosts, options_of(BOB)) as client:
            path = (await client.create("/async", b"x", acl=BOB_ONLY)).path
            assert (await client.get(path)).data == b"x"

    asyncio.run(scenario())


def test_a_client_logs_in_again_after_each_reconnect(server: ExternalServer) -> None:
    with Client(server.hosts, options_of(Credential("digest", "a:b"), BOB)) as client:
        path = client.create("/again", b"x", acl=BOB_ONLY).path
        states: list[SessionState] = []
        client.add_listener(states.append)
        for number in range(3):
            client._engine.drop_connection("a test")
            wanted = number + 1
            wait_until(lambda: states.count(SessionState.CONNECTED) >= wanted, "a connection")  # noqa: B023
            assert client.get(path).data == b"x"


@pytest.mark.parametrize("login", ["bob:wr0ng", "nobody:x", "bob:"])
def test_a_refused_login(server: ExternalServer, login: str) -> None:
    client = Client(server.hosts, options_of(Credential("sasl", login)))
    with pytest.raises(AuthFailedError, match="the user name or the password is wrong") as caught:
        client.start()
    assert "wr0ng" not in str(caught.value)
    assert client.state in {SessionState.AUTH_FAILED, SessionState.CLOSED}


def test_a_refused_login_of_an_async_client(server: ExternalServer) -> None:
    async def scenario() -> None:
        client = AsyncClient(server.hosts, options_of(Credential("sasl", "bob:wr0ng")))
        with pytest.raises(AuthFailedError, match="the user name or the password is wrong"):
            await client.start()

    asyncio.run(scenario())


def test_a_server_without_users(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path / "server") as without,
        pytest.raises(AuthFailedError, match="the server has no users of SASL"),
    ):
        Client(without.hosts, options_of(BOB)).start()


def test_what_is_no_login_with_sasl(server: ExternalServer) -> None:
    with pytest.raises(ValueError, match="only one user of SASL"):
        Client(server.hosts, options_of(BOB, BOB))
    with pytest.raises(ValueError, match="NAME:PASSWORD"):
        Client(server.hosts, options_of(Credential("sasl", "bob")))
    with Client(server.hosts) as client, pytest.raises(ValueError, match=r"ClientOptions\.auth"):
        client.add_auth("sasl", "bob:pw")


def run_shell(
    server: ExternalServer, *words: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zoolet", "shell", "-server", server.hosts, *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def test_the_shell_logs_in(server: ExternalServer, tmp_path: Path) -> None:
    environment = dict(os.environ) | {"HOME": str(tmp_path)}
    jaas = tmp_path / "jaas.conf"
    jaas.write_text(JAAS)
    flag = f"-Djava.security.auth.login.config={jaas}"
    by_file = run_shell(server, "whoami", environment=environment | {"CLIENT_JVMFLAGS": flag})
    assert "sasl: bob" in by_file.stdout, by_file.stderr
    by_option = run_shell(
        server, "whoami", environment=environment | {"ZOOLET_AUTH": "sasl:ann:pw"}
    )
    assert "sasl: ann" in by_option.stdout, by_option.stderr
    wrong = f"{flag} -Dzookeeper.sasl.clientconfig=Wrong"
    refused = run_shell(server, "whoami", environment=environment | {"CLIENT_JVMFLAGS": wrong})
    assert refused.returncode != 0
    assert "refuses the login with sasl" in refused.stderr
    assert "wr0ng" not in refused.stderr


def test_a_queue_is_for_the_user_who_creates_it(server: ExternalServer) -> None:
    settings = ConnectionSettings(server.hosts, auth=(BOB,))
    link = connect(settings)
    try:
        JobQueue(link, "/jobs-of-bob").ensure_layout(QueueSettings(acl="auth::cdrwa"))
    finally:
        link.close(5.0)
    with Dispatcher(settings, "/jobs-of-bob") as dispatcher:
        assert dispatcher.queue.settings.acl == "sasl:bob:cdrwa"
        dispatcher.submit("json:dumps")
    with pytest.raises(AccessDeniedError):
        Dispatcher(server.hosts, "/jobs-of-bob").submit("json:dumps")
