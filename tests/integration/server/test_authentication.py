"""Who may do what where an operator has set it: super, skipACL, enforced schemes, quotas' log."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.security import make_digest_acl

from tests.support.rawclient import RawClient
from tests.support.waiting import wait_until
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.state_machine.access import digest_of
from zoolet.testing import ServerProcess
from zoolet.wire.jute import INT, pack_buffer, pack_ustring


def connected(server: ServerProcess) -> Iterator[Any]:
    client = KazooClient(hosts=server.hosts)
    client.start()
    yield client
    client.stop()
    client.close()


@pytest.fixture
def private(server: ServerProcess, client: Any) -> ServerProcess:
    """A server with a znode for ann alone."""
    client.create("/private", b"x", acl=[make_digest_acl("ann", "secret", all=True)])
    return server


def restart_with(server: ServerProcess, line: str) -> None:
    server.stop()
    server.config_path.write_text(server.config_path.read_text() + line + "\n")
    server.start()


def test_the_super_user_may_do_everything(private: ServerProcess) -> None:
    digest = digest_of(b"super:admin")
    restart_with(private, f"DigestAuthenticationProvider.superDigest={digest}")
    for client in connected(private):
        with pytest.raises(NoAuthError):
            client.get("/private")
        client.add_auth("digest", "super:admin")
        assert client.get("/private")[0] == b"x"
        client.delete("/private")


def test_skip_acl_lets_everyone_do_everything(private: ServerProcess) -> None:
    restart_with(private, "skipACL=yes")
    for client in connected(private):
        assert client.get("/private")[0] == b"x"
        client.set("/private", b"y")


def test_another_hash_makes_other_identities(private: ServerProcess) -> None:
    restart_with(private, "DigestAuthenticationProvider.digestAlg=SHA-256")
    for client in connected(private):
        client.add_auth("digest", "ann:secret")
        with pytest.raises(NoAuthError):
            client.get("/private")


def test_a_scheme_may_be_required(tmp_path: Path) -> None:
    settings = {"enforce.auth.enabled": "true", "enforce.auth.schemes": "digest"}
    with ServerProcess(tmp_path / "server", settings) as server:
        body = pack_ustring("/") + b"\0"
        with RawClient(server.port) as refused:
            refused.connect()
            reply = refused.request(OpCode.GET_DATA, body)
            assert reply.err == ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH
            assert refused.is_closed_by_server()
        with RawClient(server.port) as proven:
            proven.connect()
            credentials = INT.pack(0) + pack_ustring("digest") + pack_buffer(b"ann:secret")
            assert proven.request(OpCode.AUTH, credentials).err == 0
            assert proven.request(OpCode.GET_DATA, body).err == 0


def test_connections_are_counted_in_all(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "server", {"maxCnxns": 2}) as server:
        with contextlib.ExitStack() as opened:

            def connects() -> bool:
                client = opened.enter_context(RawClient(server.port))
                with contextlib.suppress(EOFError, OSError):
                    client.connect()
                    return True
                return False  # the connection that asked whether the server is up still counts

            for _ in range(2):
                wait_until(connects, "a connection")
            with RawClient(server.port) as third:
                assert third.is_closed_by_server()
        wait_until(lambda: "maxCnxns" in server.log, "the warning")


def test_a_soft_quota_is_logged(server: ServerProcess, client: Any) -> None:
    client.create("/a")
    client.create("/zookeeper/quota/a")
    client.create("/zookeeper/quota/a/zookeeper_limits", b"count=1,bytes=-1")
    client.create("/zookeeper/quota/a/zookeeper_stats", b"count=0,bytes=0")
    client.create("/a/b")
    exceeded = "the quota of /a is exceeded: count 2, limit 1"
    wait_until(lambda: exceeded in server.log, "the warning")
    assert client.get("/zookeeper/quota/a/zookeeper_stats")[0] == b"count=2,bytes=0"
