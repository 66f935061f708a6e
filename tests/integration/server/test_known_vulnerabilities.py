"""Attacks on Apache ZooKeeper that are known by a number (CVE), tried on zoolet.

docs/threat-model.md has the list of all numbers. Those that a test of another file tries are not
here.
"""

import asyncio
import json
import logging
import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import trustme

from tests.support.rawclient import RawClient
from tests.support.shell import run_shell
from tests.support.waiting import wait_until
from zoolet.client import Client, ClientOptions, Credential
from zoolet.model.acl import ACL, Id
from zoolet.model.codes import ErrorCode, OpCode, Permission, Xid
from zoolet.model.ensemble import QuorumAddress
from zoolet.server.leader_link.connecting import connect, quorum_context
from zoolet.server.leader_link.errors import LinkError
from zoolet.server.zoo_cfg.config import QuorumTls, StoreConfig, StoreFormat
from zoolet.state_machine.access import digest_of
from zoolet.testing import ReservedPort, ServerProcess
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

OWNER = b"owner:secret"
PRIVATE = (ACL(Permission.ALL, Id("digest", digest_of(OWNER))),)


def authenticate(client: RawClient, scheme: str, auth: bytes) -> None:
    client.send(OpCode.AUTH, INT.pack(0) + pack_ustring(scheme) + pack_buffer(auth), xid=Xid.AUTH)


def test_cve_2026_84501_a_client_cannot_write_a_line_into_the_log(tmp_path: Path) -> None:
    """Each text that a client chooses and that the log shows stays within one line."""
    forged = "x\n2026-01-01 00:00:00,000 INFO    zoolet.server: forged\r\x1b[2J\u2028forged"
    with ServerProcess(tmp_path, {"DigestAuthenticationProvider.enabled": "true"}) as server:
        for scheme, auth in ((forged, b"a:b"), ("ensemble", forged.encode())):
            with RawClient(server.port) as client:
                client.connect()
                authenticate(client, scheme, auth)
                assert client.read_reply().err == ErrorCode.AUTH_FAILED
                assert client.is_closed_by_server()
        with RawClient(server.port) as client:
            client.connect()
            client.send(OpCode.GET_DATA, pack_ustring(f"/{forged}") + b"\0")
            client.read_reply()
        wait_until(lambda: "failed to authenticate" in server.log, "the line about the login")
        lines = server.log.splitlines()
        assert not [line for line in lines if line.startswith(("2026-01-01 00", "forged", "\x1b"))]


def test_cve_2026_79993_a_client_cannot_use_the_op_code_of_the_server_for_containers(
    tmp_path: Path,
) -> None:
    """The server alone deletes a container: a client is refused, and the znode stays."""
    with ServerProcess(tmp_path, {}) as server, RawClient(server.port) as owner:
        owner.connect()
        authenticate(owner, "digest", OWNER)
        assert owner.read_reply().err == 0
        assert owner.create("/container", flags=4, acl=PRIVATE).err == 0
        assert owner.create("/plain", acl=PRIVATE).err == 0
        for path in ("/container", "/plain"):
            with RawClient(server.port) as stranger:
                stranger.connect()
                refused = stranger.request(OpCode.DELETE_CONTAINER, pack_ustring(path))
                assert refused.err == ErrorCode.UNIMPLEMENTED
            assert owner.request(OpCode.EXISTS, pack_ustring(path) + b"\0").err == 0


def test_cve_2018_8012_and_2023_44981_no_server_can_join_without_a_login(tmp_path: Path) -> None:
    """A server with the keys of a member listens for clients only, so no other server can join."""
    quorum, election = ReservedPort(), ReservedPort()
    settings = {"server.1": f"127.0.0.1:{quorum.number}:{election.number}"}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "myid").write_text("1")
    with ServerProcess(tmp_path, settings):
        for port in (quorum, election):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port.number), timeout=10)
    quorum.release()
    election.release()


def serve_as(host: str, directory: Path) -> tuple[ssl.SSLContext, QuorumTls]:
    """Return the TLS context of a member whose certificate is for a host, and an observer's TLS."""
    authority = trustme.CA()
    files = {name: directory / f"{name}.pem" for name in ("trusted", "observer", "leader")}
    authority.cert_pem.write_to_path(files["trusted"])
    for name, of in (("observer", "127.0.0.1"), ("leader", host)):
        authority.issue_cert(of).private_key_and_cert_chain_pem.write_to_path(files[name])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["leader"])
    own, trusted = (
        StoreConfig("ssl.quorum", files[name], StoreFormat.PEM, "", None)
        for name in ("observer", "trusted")
    )
    tls = QuorumTls(own, trusted, True, ("TLSv1.3",), ())
    return context, tls


@pytest.mark.parametrize(("host", "is_accepted"), [("127.0.0.1", True), ("localhost", False)])
def test_cve_2026_59969_and_24281_a_member_must_have_a_certificate_for_its_host(
    tmp_path: Path, host: str, is_accepted: bool
) -> None:
    """A name that the address 127.0.0.1 has in DNS is not enough for the address."""
    context, tls = serve_as(host, tmp_path)

    async def try_it() -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
        async with server:
            port = server.sockets[0].getsockname()[1]
            channel, _ = await connect(
                QuorumAddress("127.0.0.1", port, 1), quorum_context(tls), None, lambda: 0, 1000
            )
            channel.abort("the test has ended")

    if is_accepted:
        asyncio.run(try_it())
        return
    with pytest.raises(LinkError, match="certificate"):
        asyncio.run(try_it())


def test_cve_2026_24308_the_log_of_a_client_has_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with ServerProcess(tmp_path, {}) as server:
        options = ClientOptions(auth=(Credential("digest", "bob:my-secret"),))
        with Client(server.hosts, options) as client:
            client.create("/a", b"data")
    assert "my-secret" not in caplog.text + repr(options)


def test_cve_2024_51504_the_admin_endpoint_does_not_believe_an_address_in_a_header(
    tmp_path: Path,
) -> None:
    """With the scheme ip, the address of the connection counts, whatever a proxy's header says."""
    admin = ReservedPort()
    settings = {
        "admin.enableServer": "true",
        "admin.serverAddress": "127.0.0.1",
        "admin.serverPort": admin.number,
    }
    with ServerProcess(tmp_path, settings) as server, RawClient(server.port) as client:
        client.connect()
        acl = (ACL(Permission.ALL, Id("ip", "10.1.2.3")),)

        body = pack_ustring("/") + pack_acl(acl) + INT.pack(-1)
        assert client.request(OpCode.SET_ACL, body).err == 0
        request = urllib.request.Request(
            f"http://127.0.0.1:{admin.number}/commands/snapshot",
            headers={
                "Authorization": "ip",
                "X-Forwarded-For": "10.1.2.3",
                "X-Real-IP": "10.1.2.3",
                "Forwarded": "for=10.1.2.3",
            },
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == 403
        assert json.loads(refused.value.read())["error"] == "Not authorized"
    admin.release()


@pytest.mark.parametrize("length", [1_000, 100_000])
def test_cve_2016_5017_a_long_command_is_no_danger_for_the_shell(
    tmp_path: Path, length: int
) -> None:
    with ServerProcess(tmp_path, {}) as server:
        ran = run_shell(server.hosts, "x" * length)
        assert ran.status != 0
        assert ran.err.startswith("Command not found")
        assert run_shell(server.hosts, lines=f"{'x' * length}\nls /\n").out.strip()
