"""SASL on zoolet's server: delays of failures, users that change, settings of zoo.cfg."""

import contextlib
import hashlib
import random
import time
from pathlib import Path

import pytest

from tests.support.rawclient import RawClient
from tests.support.sasl import PROVIDER, REALM, ids_of, log_in, sasl, token_of
from tests.support.waiting import wait_until
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.testing import ServerProcess
from zoolet.wire.jute import pack_ustring

OPEN_CONNECTIONS = 64
DELAY_MS = 300


def test_a_failure_is_told_after_the_delay(tmp_path: Path) -> None:
    settings = PROVIDER | {
        "zoolet.saslPassword.bob": "pw",
        "zoolet.saslFailureDelayMs": DELAY_MS,
    }
    with ServerProcess(tmp_path / "server", settings) as server, RawClient(server.port) as client:
        client.connect()
        began = time.monotonic()
        reply = log_in(client, "bob", "wrong")
        assert time.monotonic() - began >= DELAY_MS / 1000
        assert (reply.err, token_of(reply)) == (ErrorCode.AUTH_FAILED, None)
        assert client.is_closed_by_server()
        assert "failed to authenticate with SASL: the user name or the password" in server.log
        assert "wrong" not in server.log.replace("is wrong", "")


def test_a_client_that_leaves_before_its_reply(tmp_path: Path) -> None:
    settings = PROVIDER | {"zoolet.saslPassword.bob": "pw"}
    with ServerProcess(tmp_path / "server", settings) as server:
        with RawClient(server.port) as client:
            client.connect()
            sasl(client, b"")
            client.send(OpCode.SASL, b"\0\0\0\1x")
        with RawClient(server.port) as client:
            client.connect()
            assert log_in(client, "bob", "pw").err == 0


def test_requests_behind_a_failure_are_not_processed(tmp_path: Path) -> None:
    settings = PROVIDER | {"zoolet.saslPassword.bob": "pw", "allowSaslFailedClients": "true"}
    with ServerProcess(tmp_path / "server", settings) as server, RawClient(server.port) as client:
        client.connect()
        sasl(client, b"")
        failed = client.send(OpCode.SASL, b"\0\0\0\1x")
        behind = client.send(OpCode.GET_DATA, pack_ustring("/") + b"\0")
        assert [client.read_reply().xid for _ in range(2)] == [failed, behind]


@pytest.mark.parametrize("form", ["users", "jaas"])
def test_users_change_under_open_connections(tmp_path: Path, form: str) -> None:
    """No connection is lost; who has authenticated keeps the identity until the reconnect."""
    file = tmp_path / "users"
    key = {"users": "zoolet.saslUsersFile", "jaas": "java.security.auth.login.config"}[form]

    def write(passwords: dict[str, str]) -> None:
        module = "org.apache.zookeeper.server.auth.DigestLoginModule required"
        options = " ".join(f'user_{name}="{password}"' for name, password in passwords.items())
        text = f"Server {{ {module} {options}; }};\n"
        if form == "users":
            text = "".join(f"{name}:{password}\n" for name, password in passwords.items())
        new = tmp_path / "new"
        new.write_text(text)
        new.replace(file)

    write({"bob": "old"})
    settings: dict[str, object] = PROVIDER | {key: file, "zoolet.saslFailureDelayMs": 0}
    settings["maxSessionTimeout"] = 40_000
    with (
        ServerProcess(tmp_path / "server", settings) as server,
        contextlib.ExitStack() as opened,
    ):
        clients = [opened.enter_context(RawClient(server.port)) for _ in range(OPEN_CONNECTIONS)]
        for client in clients:
            client.connect(timeout_ms=40_000)
            assert log_in(client, "bob", "old").err == 0
        write({"bob": "new", "ann": "pw"})
        wait_until(lambda: "read the 2 users of SASL again" in server.log, "the new users")
        for client in clients:
            assert ids_of(client) == ["bob"]
        for user, password, code in [
            ("bob", "old", ErrorCode.AUTH_FAILED),
            ("bob", "new", ErrorCode.OK),
            ("ann", "pw", ErrorCode.OK),
        ]:
            with RawClient(server.port) as later:
                later.connect()
                assert log_in(later, user, password).err == code
        file.write_text("bob without a password" if form == "users" else "Server {")
        wait_until(lambda: "the users of SASL stay as they are" in server.log, "the warning")
        with RawClient(server.port) as later:
            later.connect()
            assert log_in(later, "ann", "pw").err == 0


def test_a_file_may_have_hashes(tmp_path: Path) -> None:
    digest = hashlib.md5(f"ann:{REALM}:pw".encode()).hexdigest()
    (tmp_path / "users").write_text(f"ann:{{MD5}}{digest}\n")
    settings = PROVIDER | {"zoolet.saslUsersFile": tmp_path / "users"}
    with ServerProcess(tmp_path / "server", settings) as server, RawClient(server.port) as client:
        client.connect()
        assert log_in(client, "ann", "pw").err == 0
        assert ids_of(client) == ["ann"]


@pytest.mark.parametrize("seed", range(3))
def test_many_clients_at_once_get_their_own_identity(tmp_path: Path, seed: int) -> None:
    """Exchanges of many connections, in a random order: each identity is the proven one."""
    chance = random.Random(seed)
    passwords = {f"user{number}": f"pw{number}" for number in range(5)}
    settings = PROVIDER | {f"zoolet.saslPassword.{name}": pw for name, pw in passwords.items()}
    settings |= {"allowSaslFailedClients": "true", "zoolet.saslFailureDelayMs": "0"}
    with (
        ServerProcess(tmp_path / "server", settings) as server,
        contextlib.ExitStack() as opened,
    ):
        clients = [opened.enter_context(RawClient(server.port)) for _ in range(20)]
        for client in clients:
            client.connect()
        expected: dict[int, list[str]] = {number: [] for number in range(len(clients))}
        order = list(range(len(clients))) * 2
        chance.shuffle(order)
        begun: set[int] = set()
        for number in order:
            if number in begun:
                continue
            begun.add(number)
            name = chance.choice([*passwords, "nobody"])
            is_right = name in passwords and chance.random() < 0.7
            reply = log_in(clients[number], name, passwords[name] if is_right else "none")
            assert (token_of(reply) is not None) is is_right
            expected[number] = [name] if is_right else []
        for number, client in enumerate(clients):
            assert ids_of(client) == expected[number]
