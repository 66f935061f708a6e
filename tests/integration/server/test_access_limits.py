"""Limits of identities and of ACL entries, schemes without a provider, IPv6 clients."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, InvalidACLError, NoAuthError
from kazoo.security import make_acl

from tests.support.rawclient import END_OF_MULTI, RawClient
from tests.support.waiting import wait_until
from zoolet.model.acl import ACL, ANYONE, AclList, Id
from zoolet.model.codes import ErrorCode, OpCode, Xid
from zoolet.state_machine.access import digest_of
from zoolet.testing import ServerProcess
from zoolet.wire.jute import INT, Reader, pack_acl, pack_buffer, pack_ustring

LIMIT = 128
ANY_VERSION = INT.pack(-1)


@pytest.fixture
def raw(server: ServerProcess) -> Iterator[RawClient]:
    with RawClient(server.port) as connected:
        connected.connect()
        yield connected


def prove(client: RawClient, credentials: bytes, scheme: str = "digest") -> int:
    body = INT.pack(0) + pack_ustring(scheme) + pack_buffer(credentials)
    return client.request(OpCode.AUTH, body, xid=Xid.AUTH).err


def prove_many(client: RawClient, count: int) -> None:
    for number in range(count):
        assert prove(client, b"u%d:x" % number) == 0


def test_one_identity_too_many_ends_the_connection(server: ServerProcess, raw: RawClient) -> None:
    prove_many(raw, LIMIT)
    for _ in range(3):  # what is known already, and the address, count once
        assert prove(raw, b"u7:x") == 0
        assert prove(raw, b"", "ip") == 0
    assert prove(raw, b"one:more") == ErrorCode.AUTH_FAILED
    assert raw.is_closed_by_server()
    limit = "zoolet.maxIdentitiesPerConnection allows (128)"
    wait_until(lambda: limit in server.log, "the limit in the log")


def test_kazoo_is_told_that_it_has_too_many_identities(server: ServerProcess, client: Any) -> None:
    for number in range(LIMIT):
        assert client.add_auth("digest", f"u{number}:x")
    with pytest.raises(AuthFailedError):
        client.add_auth("digest", "one:more")
    with RawClient(server.port) as other:
        other.connect()
        assert other.create("/others").err == 0


def test_the_limit_of_identities_is_a_setting(tmp_path: Path) -> None:
    settings = {"zoolet.maxIdentitiesPerConnection": 2}
    with ServerProcess(tmp_path, settings) as server, RawClient(server.port) as raw:
        raw.connect()
        prove_many(raw, 2)
        assert prove(raw, b"one:more") == ErrorCode.AUTH_FAILED


def entries(count: int) -> AclList:
    return (*(ACL(1, Id("digest", f"e{number}:x")) for number in range(count - 1)), ACL(31, ANYONE))


AUTH: AclList = (ACL(31, Id("auth", "")),)
LONGEST, TOO_LONG = entries(1000), entries(1001)


def test_a_list_of_more_entries_than_the_limit_is_refused(raw: RawClient) -> None:
    assert raw.create("/a", acl=LONGEST).err == 0
    assert raw.create("/b", acl=TOO_LONG).err == ErrorCode.INVALID_ACL
    assert raw.create("/c", acl=(*LONGEST, *LONGEST)).err == 0  # repetitions are no entries
    for acl, err in ((TOO_LONG, ErrorCode.INVALID_ACL), (LONGEST, 0)):
        body = pack_ustring("/a") + pack_acl(acl) + ANY_VERSION
        assert raw.request(OpCode.SET_ACL, body).err == err
    parts = b"".join(
        INT.pack(OpCode.CREATE)
        + b"\0"
        + INT.pack(-1)
        + pack_ustring(path)
        + pack_buffer(b"")
        + pack_acl(acl)
        + INT.pack(0)
        for path, acl in (("/d", LONGEST), ("/e", TOO_LONG))
    )
    reader = Reader(raw.request(OpCode.MULTI, parts + END_OF_MULTI).body)
    codes = [
        (reader.read_int(), reader.read_bool(), reader.read_int(), reader.read_int())[2:]
        for _ in range(2)
    ]
    assert codes == [(0, 0), (ErrorCode.INVALID_ACL, ErrorCode.INVALID_ACL)]
    assert raw.request(OpCode.EXISTS, pack_ustring("/d") + b"\0").err == ErrorCode.NO_NODE


def test_the_limit_counts_what_auth_stands_for(tmp_path: Path) -> None:
    settings = {"zoolet.maxEntriesPerAcl": 5}
    with ServerProcess(tmp_path, settings) as server, RawClient(server.port) as raw:
        raw.connect()
        prove_many(raw, 5)
        assert raw.create("/a", acl=AUTH).err == 0
        assert raw.create("/b", acl=(*AUTH, ACL(1, ANYONE))).err == ErrorCode.INVALID_ACL
        assert prove(raw, b"one:more") == 0
        assert raw.create("/c", acl=AUTH).err == ErrorCode.INVALID_ACL


def test_longer_lists_in_existing_data_stay_readable_and_count(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, {"zoolet.maxEntriesPerAcl": 5000})
    mine = ACL(31, Id("digest", digest_of(b"me:x")))
    acl = (*(ACL(1, Id("digest", f"e{number}:x")) for number in range(4000)), mine)
    with server, RawClient(server.port) as raw:
        raw.connect()
        assert raw.create("/long", b"data", acl=acl).err == 0
    with ServerProcess(tmp_path) as server, RawClient(server.port) as raw:
        raw.connect()
        read = (OpCode.GET_DATA, pack_ustring("/long") + b"\0")
        assert raw.request(*read).err == ErrorCode.NO_AUTH
        assert prove(raw, b"me:x") == 0
        assert b"data" in raw.request(*read).body
        shown = raw.request(OpCode.GET_ACL, pack_ustring("/long")).body
        assert Reader(shown).read_acl() == acl
        body = pack_ustring("/long") + pack_acl(acl) + ANY_VERSION
        assert raw.request(OpCode.SET_ACL, body).err == ErrorCode.INVALID_ACL
        body = pack_ustring("/long") + pack_acl((mine,)) + ANY_VERSION
        assert raw.request(OpCode.SET_ACL, body).err == 0


X509: AclList = (ACL(31, Id("x509", "CN=ada")),)
PROVIDER = "org.apache.zookeeper.server.auth.X509AuthenticationProvider"


@pytest.mark.parametrize(
    ("settings", "acl", "is_known"),
    [
        ({}, X509, False),
        ({"authProvider.x509": PROVIDER}, X509, True),
        ({"authProvider.1": PROVIDER}, X509, True),
        ({"authProvider.1": PROVIDER.replace("X509", "Digest")}, X509, False),
        ({"DigestAuthenticationProvider.enabled": "false"}, (ACL(31, Id("digest", "a:b")),), False),
    ],
)
def test_a_list_names_schemes_that_have_a_provider(
    tmp_path: Path, settings: dict[str, object], acl: AclList, is_known: bool
) -> None:
    with ServerProcess(tmp_path, settings) as server, RawClient(server.port) as raw:
        raw.connect()
        assert raw.create("/a", acl=acl).err == (0 if is_known else ErrorCode.INVALID_ACL)
        assert raw.create("/b").err == 0
        body = pack_ustring("/b") + pack_acl(acl) + ANY_VERSION
        assert raw.request(OpCode.SET_ACL, body).err == (0 if is_known else ErrorCode.INVALID_ACL)


@pytest.fixture
def ipv6_server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path, {"clientPortAddress": "::"}) as running:
        yield running


def test_an_ipv6_client_is_known_by_its_address(ipv6_server: ServerProcess) -> None:
    client = KazooClient(hosts=f"[::1]:{ipv6_server.port}", timeout=4.0)
    client.start(timeout=10)
    try:
        for path, network, is_allowed in [
            ("/me", "::1", True),
            ("/all", "::/0", True),
            ("/near", "0:0:0:0:0:0:0:0/120", True),
            ("/others", "2001:db8::/32", False),
            ("/ipv4", "0.0.0.0/0", False),
        ]:
            acl = [make_acl("ip", network, read=True), make_acl("world", "anyone", admin=True)]
            client.create(path, b"data", acl=acl)
            if is_allowed:
                assert client.get(path)[0] == b"data"
            else:
                with pytest.raises(NoAuthError):
                    client.get(path)
        with pytest.raises(InvalidACLError):
            client.create("/wrong", acl=[make_acl("ip", "::1::", read=True)])
    finally:
        client.stop()
        client.close()
