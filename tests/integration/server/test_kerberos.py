"""Kerberos on zoolet's server: keytabs that change, both mechanisms at once, a failed start."""

import contextlib
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kerberos import REALM, SERVER, GssClient, Realm, log_in, realm_in
from tests.support.rawclient import RawClient
from tests.support.sasl import PROVIDER, ids_of, sasl, token_of
from tests.support.sasl import log_in as log_in_with_password
from tests.unit.console.test_extras import run_without
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.testing import ServerProcess
from zoolet.wire.jute import pack_ustring

BOB = f"bob@{REALM}"
OPEN_CONNECTIONS = 64


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    yield from realm_in(tmp_path_factory.mktemp("realm"))


def settings_of(keytab: Path, **more: str) -> dict[str, object]:
    return {
        **PROVIDER,
        "zoolet.kerberosKeytab": keytab,
        "zoolet.kerberosPrincipal": SERVER,
        "zoolet.saslFailureDelayMs": 0,
        "maxSessionTimeout": 40_000,
        "maxClientCnxns": 0,
        **more,
    }


def test_the_keytab_changes_under_open_connections(realm: Realm, tmp_path: Path) -> None:
    """No connection is lost, and all of them keep their identity."""
    keytab = realm.write_keytab(tmp_path / "server.keytab", SERVER)
    cache = realm.log_in(tmp_path / "cache")
    with (
        ServerProcess(tmp_path / "server", settings_of(keytab)) as server,
        contextlib.ExitStack() as opened,
    ):
        clients = [opened.enter_context(RawClient(server.port)) for _ in range(OPEN_CONNECTIONS)]
        for client in clients:
            client.connect(timeout_ms=40_000)
            assert log_in(client, GssClient(cache)).err == 0
        new = realm.write_keytab(tmp_path / "new.keytab", SERVER, renews_key=True)
        new.replace(keytab)
        for client in clients:
            assert ids_of(client) == [BOB]
        with RawClient(server.port) as later:
            later.connect()
            assert log_in(later, GssClient(realm.log_in(tmp_path / "new cache"))).err == 0
        with RawClient(server.port) as old:  # its ticket is for the old key
            old.connect()
            assert sasl(old, GssClient(cache).step()).err == ErrorCode.AUTH_FAILED
        keytab.unlink()
        with RawClient(server.port) as without:
            without.connect()
            token = GssClient(tmp_path / "new cache").step()
            assert sasl(without, token).err == ErrorCode.AUTH_FAILED
        for client in clients:
            body = client.request(OpCode.WHO_AM_I, b"").body
            assert pack_ustring("sasl") + pack_ustring(BOB) in body
    assert "failed to authenticate with SASL: the ticket is refused" in server.log


def test_no_client_gets_the_identity_of_the_one_before(realm: Realm, tmp_path: Path) -> None:
    """ZOOKEEPER-4839 with both mechanisms: every client without a proof is refused."""
    keytab = realm.write_keytab(tmp_path / "server.keytab", SERVER)
    cache = realm.log_in(tmp_path / "cache")
    settings = settings_of(keytab, **{"zoolet.saslPassword.ann": "pw"})
    with ServerProcess(tmp_path / "server", settings) as server:
        for number in range(6):
            with RawClient(server.port) as before:
                before.connect()
                if number % 2:
                    assert log_in(before, GssClient(cache)).err == 0
                else:
                    assert log_in_with_password(before, "ann", "pw").err == 0
            with RawClient(server.port) as after:
                after.connect()
                failed = {
                    0: lambda: log_in_with_password(after, "nobody", "pw"),
                    1: lambda: log_in_with_password(after, BOB, "pw"),
                    2: lambda: sasl(after, b"\x60" + bytes(50)),
                }[number // 2]()
                assert (failed.err, token_of(failed)) == (ErrorCode.AUTH_FAILED, None)


@pytest.mark.parametrize("seed", range(3))
def test_many_clients_at_once_get_their_own_identity(
    realm: Realm, tmp_path: Path, seed: int
) -> None:
    """The steps of many authentications, in a random order: each identity is the proven one."""
    chance = random.Random(seed)
    keytab = realm.write_keytab(tmp_path / "server.keytab", SERVER)
    caches = {user: realm.log_in(tmp_path / user, user) for user in ("bob", "ann")}
    settings = settings_of(keytab, allowSaslFailedClients="true")
    with (
        ServerProcess(tmp_path / "server", settings) as server,
        contextlib.ExitStack() as opened,
    ):
        raws = [opened.enter_context(RawClient(server.port)) for _ in range(20)]
        for raw in raws:
            raw.connect()
        users = [chance.choice(list(caches)) for _ in raws]
        clients = [GssClient(caches[user], is_mutual=False) for user in users]
        tokens = [client.step() for client in clients]
        expected: list[list[str]] = [[] for _ in raws]
        steps = [number for number in range(len(raws)) for _ in range(2)]
        chance.shuffle(steps)
        begun: set[int] = set()
        for number in steps:
            is_right = chance.random() < 0.8
            token = tokens[number] if is_right else b"x" * len(tokens[number])
            answer = token_of(sasl(raws[number], token))
            if number not in begun:
                begun.add(number)
                assert (answer is not None) is is_right
                if answer is None:
                    tokens[number] = b"nothing more is accepted"
                    continue
                clients[number].layers(answer)
                tokens[number] = clients[number].wrap(b"\1\0\0\0")
            elif is_right and token[:1] != b"n":
                expected[number] = [f"{users[number]}@{REALM}"]
        for number, raw in enumerate(raws):
            assert ids_of(raw) == expected[number]


def test_a_start_that_fails(realm: Realm, tmp_path: Path) -> None:
    other = realm.write_keytab(tmp_path / "other.keytab", f"other/localhost@{REALM}")
    server = ServerProcess(tmp_path / "server", settings_of(other))
    done = subprocess.run(
        [sys.executable, "-m", "zoolet", "server", "start-foreground", server.config_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"no key of {SERVER} in the keytab {other}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_without_the_package(tmp_path: Path) -> None:
    keytab = tmp_path / "server.keytab"
    keytab.write_bytes(b"\5\2")
    server = ServerProcess(tmp_path / "server", settings_of(keytab))
    program = "from zoolet.cli import main; main()"
    status, output = run_without(
        {"gssapi"}, program, "server", "start-foreground", str(server.config_path)
    )
    assert status == 1
    assert "the Python package gssapi is not installed" in output
    assert "pip install 'zoolet[kerberos]'" in output
    assert "Traceback" not in output


def test_a_client_without_the_package(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "server") as server:
        program = "from zoolet.cli import main; main()"
        words = ("shell", "-server", server.hosts, "--auth", "kerberos:", "ls", "/")
        status, output = run_without({"gssapi"}, program, *words)
    assert status == 1
    assert "Kerberos is not available: the Python package gssapi is not installed" in output
    assert "pip install 'zoolet[kerberos]'" in output
