"""One client port for clients with and without TLS (client.portUnification)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.limited import LimitedServer
from tests.support.rawclient import RawClient
from tests.support.secure import SecureClient, Stores, client_context, connected, word
from tests.support.shell import run_shell
from tests.support.waiting import wait_until
from zoolet.model.codes import OpCode
from zoolet.testing import ServerProcess
from zoolet.wire.jute import pack_ustring

LIMIT = 6
TIMEOUT_MS = 1000
READ_ROOT = pack_ustring("/") + b"\0"


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return Stores(tmp_path)


@pytest.fixture(params=[True, False])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, stores: Stores
) -> Iterator[LimitedServer]:
    settings: dict[str, object] = {
        "client.portUnification": "true",
        "maxClientCnxns": LIMIT,
        "nio.sessionlessCnxnTimeout": TIMEOUT_MS,
        **stores.settings,
    }
    with LimitedServer(tmp_path / "server", settings, has_uvloop=request.param) as running:
        yield running


def test_both_kinds_of_clients_and_words(server: LimitedServer, stores: Stores) -> None:
    context = client_context(stores.authority, stores.client)
    with (
        RawClient(server.port) as plain,
        SecureClient(server.port, stores.authority, stores.client) as secure,
    ):
        plain.connect()
        for client in (plain, secure):
            assert client.request(OpCode.GET_DATA, READ_ROOT).err == 0
        assert word(server.port, "ruok") == word(server.port, "ruok", context) == b"imok"
        # Both are ordinary connections: cons shows both and the one that asks.
        assert word(server.port, "cons").count(b"queued=") == 3
        assert b"secureClientPort=-1" in word(server.port, "conf")


def test_the_limit_counts_clients_that_have_sent_nothing(
    server: LimitedServer, stores: Stores
) -> None:
    with SecureClient(server.port, stores.authority, stores.client) as client:
        silent = [connected(server.port, None) for _ in range(LIMIT - 1)]
        opened = [each.__enter__() for each in silent]
        try:
            with connected(server.port, None) as refused:
                assert refused.recv(1) == b""
            assert client.request(OpCode.GET_DATA, READ_ROOT).err == 0
            for each in opened:
                assert each.recv(1) == b""
        finally:
            for each in opened:
                each.close()
        assert f"has sent nothing within {TIMEOUT_MS} ms" in server.log
        wait_until(lambda: word(server.port, "ruok") == b"imok", "room for another client")
        assert client.request(OpCode.GET_DATA, READ_ROOT).err == 0


def test_the_shell_connects_with_and_without_tls(server: LimitedServer, stores: Stores) -> None:
    secure = ("--tls-ca", str(stores.authority), "--tls-cert", str(stores.client))
    hosts = f"localhost:{server.port}"
    for options in ((), secure):
        ran = run_shell(hosts, "ls", "/", options=options)
        assert (ran.status, ran.err) == (0, "")


def test_the_status_and_the_end(tmp_path: Path, stores: Stores) -> None:
    settings = {"client.portUnification": "true", **stores.settings}
    server = ServerProcess(tmp_path / "server", settings)
    assert server.run_command("start").returncode == 0
    silent = connected(server.port, None)
    with silent:
        status = server.run_command("status")
        assert (status.returncode, "Mode: standalone" in status.stdout) == (0, True), status
        assert server.run_command("stop").returncode == 0
