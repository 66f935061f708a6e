"""SASL with Kerberos: the same replies, identities and permissions as with Apache ZooKeeper."""

import base64
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.kerberos import (
    PASSWORD,
    REALM,
    SERVER,
    GssClient,
    Realm,
    clock,
    jaas_of_server,
    java_options,
    log_in,
    offer_of,
    realm_in,
    without_expiry,
)
from tests.support.rawclient import RawClient, RawReply
from tests.support.sasl import PROVIDER, ids_of, sasl, token_of
from zoolet.model.acl import ACL, Id
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.process import ExternalServer
from zoolet.wire.jute import pack_ustring

OTHER = f"other/localhost@{REALM}"
BOB = f"bob@{REALM}"
RULES = f"RULE:[2:$1;$2](.*;admin)s/;admin$/-admin/ RULE:[1:$1@$0](ann@{REALM})s/@.*// DEFAULT"
SETTINGS: dict[str, dict[str, str]] = {
    "plain": PROVIDER | {"superUser": f"root@{REALM}", "letAnySaslUserDoX": "anybody"},
    "keeps": PROVIDER | {"allowSaslFailedClients": "true"},
    "requires": PROVIDER | {"sessionRequireClientSASLAuth": "true"},
    "names": PROVIDER
    | {
        "kerberos.removeHostFromPrincipal": "true",
        "kerberos.removeRealmFromPrincipal": "true",
        "security.auth_to_local": RULES,
        "superUser": "root",
    },
}
FAILED = {
    "plain": ErrorCode.AUTH_FAILED,
    "keeps": ErrorCode.OK,
    "requires": ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH,
    "names": ErrorCode.AUTH_FAILED,
}


class Started(NamedTuple):
    """A running server; ``kind`` is the key of its settings."""

    server: ExternalServer
    kind: str
    realm: Realm
    directory: Path

    def fails(self, reply: RawReply) -> bool:
        """Whether the reply says that the authentication has failed."""
        return (reply.err, token_of(reply)) == (FAILED[self.kind], None)


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    yield from realm_in(tmp_path_factory.mktemp("realm"))


@pytest.fixture(
    scope="module",
    params=[(name, kind) for kind in SETTINGS for name in ("zoolet", "apache")],
    ids="-".join,
)
def started(
    request: pytest.FixtureRequest, realm: Realm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Started]:
    name, kind = request.param
    directory = tmp_path_factory.mktemp("server")
    keytab = realm.write_keytab(directory / "server.keytab", SERVER, OTHER)
    jaas = jaas_of_server(directory, keytab)
    running: ExternalServer
    if name == "zoolet":
        own: dict[str, object] = {
            "java.security.auth.login.config": jaas,
            "java.security.krb5.conf": realm.krb5_conf,
            "zoolet.saslFailureDelayMs": 0,
        }
        running = ServerProcess(directory / "zoolet", SETTINGS[kind] | own)
    else:
        jars = request.getfixturevalue("apache_jars")
        options = java_options(realm, jaas)
        running = ApacheServer(directory / "apache", jars, SETTINGS[kind], options)
    with running:
        yield Started(running, kind, realm, directory)


@pytest.fixture
def connect(started: Started) -> Iterator[Callable[[], RawClient]]:
    with contextlib.ExitStack() as opened:

        def open_client() -> RawClient:
            client = opened.enter_context(RawClient(started.server.port))
            client.connect()
            return client

        yield open_client


@pytest.fixture
def cache(started: Started, tmp_path: Path) -> Path:
    """The tickets of bob."""
    return started.realm.log_in(tmp_path / "cache")


@pytest.mark.parametrize("is_mutual", [True, False], ids=["mutual", "not-mutual"])
def test_a_ticket_authenticates(
    connect: Callable[[], RawClient], cache: Path, *, is_mutual: bool, started: Started
) -> None:
    raw, client = connect(), GssClient(cache, is_mutual=is_mutual)
    assert offer_of(raw, client) == b"\1\1\0\0"
    reply = sasl(raw, client.wrap(b"\1\0\0\0"))
    assert (reply.err, token_of(reply), reply.zxid) == (0, None, 0)
    assert ids_of(raw) == ["bob" if started.kind == "names" else BOB]
    raw.send(OpCode.CLOSE_SESSION)


NAMES = {
    "bob": ("bob@EXAMPLE.ORG", "bob"),
    "ann": ("ann@EXAMPLE.ORG", "ann"),
    "bob/admin": ("bob/admin@EXAMPLE.ORG", "bob-admin"),
    "super": ("super@EXAMPLE.ORG", "super"),
    "root": ("root@EXAMPLE.ORG", "root"),
}


@pytest.mark.parametrize("user", NAMES)
def test_names(
    started: Started, connect: Callable[[], RawClient], tmp_path: Path, user: str
) -> None:
    raw = connect()
    cache = started.realm.log_in(tmp_path / "cache", user)
    assert log_in(raw, GssClient(cache)).err == 0
    is_short = started.kind == "names"
    assert ids_of(raw) == [NAMES[user][is_short]]
    body = raw.request(OpCode.WHO_AM_I, b"").body
    assert pack_ustring("sasl") + pack_ustring(NAMES[user][is_short]) in body
    assert b"anybody" not in body


def test_the_name_of_a_service(
    started: Started, connect: Callable[[], RawClient], tmp_path: Path
) -> None:
    name = f"bob/localhost@{REALM}"
    keytab = started.realm.write_keytab(tmp_path / "client.keytab", name)
    cache = started.realm.log_in_with(tmp_path / "cache", keytab, name)
    raw = connect()
    assert log_in(raw, GssClient(cache)).err == 0
    assert ids_of(raw) == ["bob" if started.kind == "names" else name]


@pytest.mark.parametrize("name", ["", BOB, "ann", "super", "x" * 2000])
def test_the_name_that_the_client_asks_for_has_no_meaning(
    started: Started, connect: Callable[[], RawClient], cache: Path, name: str
) -> None:
    raw = connect()
    reply = log_in(raw, GssClient(cache), name)
    assert (reply.err, token_of(reply)) == (0, None)
    assert ids_of(raw) == ["bob" if started.kind == "names" else BOB]


@pytest.mark.parametrize(
    ("choice", "is_accepted"),
    [(b"\1\0\0\0", True), (b"\3\0\0\0", True), (b"\2\0\0\0", False), (b"\4\0\0\0", False)],
)
def test_security_layers(
    started: Started,
    connect: Callable[[], RawClient],
    cache: Path,
    choice: bytes,
    *,
    is_accepted: bool,
) -> None:
    raw = connect()
    reply = log_in(raw, GssClient(cache), choice=choice)
    assert (reply.err if is_accepted else started.fails(reply)) == (0 if is_accepted else True)


@pytest.mark.parametrize("choice", [b"", b"\1", b"\1\0\0"])
def test_a_short_choice_closes_the_connection(
    connect: Callable[[], RawClient], cache: Path, choice: bytes
) -> None:
    raw, client = connect(), GssClient(cache)
    offer_of(raw, client)
    raw.send(OpCode.SASL, len(token := client.wrap(choice)).to_bytes(4) + token)
    assert raw.is_closed_by_server()


TOKENS = {
    "empty": b"",
    "x": b"x",
    "tag": b"\x60",
    "digest": b'username="bob"',
    "long": b"a" * 5000,
    "longer": b"\x60" * 70_000,
}


@pytest.mark.parametrize("name", TOKENS)
def test_no_ticket(started: Started, connect: Callable[[], RawClient], name: str) -> None:
    raw = connect()
    reply = sasl(raw, TOKENS[name])
    assert started.fails(reply)
    if started.kind == "keeps":
        assert ids_of(raw) == []
    else:
        assert raw.is_closed_by_server()


def test_a_null_token_closes_the_connection(connect: Callable[[], RawClient]) -> None:
    raw = connect()
    raw.send(OpCode.SASL, b"\xff\xff\xff\xff")
    assert raw.is_closed_by_server()


@pytest.mark.parametrize("change", ["first", "middle", "last", "cut"])
def test_a_changed_ticket(
    started: Started, connect: Callable[[], RawClient], cache: Path, change: str
) -> None:
    token = bytearray(GssClient(cache).step())
    if change == "cut":
        del token[-1]
    else:
        token[{"first": 20, "middle": len(token) // 2, "last": -1}[change]] ^= 1
    assert started.fails(sasl(connect(), bytes(token)))


def test_bytes_behind_a_ticket(
    started: Started, connect: Callable[[], RawClient], cache: Path
) -> None:
    """zoolet refuses them; Java does not look at them."""
    reply = sasl(connect(), GssClient(cache).step() + b"x")
    assert started.fails(reply) is isinstance(started.server, ServerProcess)


@pytest.mark.parametrize("stage", ["empty", "choice"])
@pytest.mark.parametrize("token", [b"x", b"\x60" * 60], ids=["short", "long"])
def test_a_wrong_later_token(
    started: Started, connect: Callable[[], RawClient], cache: Path, stage: str, token: bytes
) -> None:
    raw, client = connect(), GssClient(cache)
    if stage == "empty":
        assert token_of(sasl(raw, client.step())) is not None
    else:
        offer_of(raw, client)
    assert started.fails(sasl(raw, token))


def test_a_token_after_the_authentication_is_refused(
    started: Started, connect: Callable[[], RawClient], cache: Path
) -> None:
    raw = connect()
    assert log_in(raw, GssClient(cache)).err == 0
    assert started.fails(sasl(raw, GssClient(cache).step()))
    if started.kind == "keeps":
        assert ids_of(raw) == [BOB]


def test_a_used_ticket_is_a_replay(
    started: Started, connect: Callable[[], RawClient], cache: Path
) -> None:
    token = GssClient(cache).step()
    assert token_of(sasl(connect(), token)) is not None
    assert started.fails(sasl(connect(), token))


def test_a_ticket_for_another_service(
    started: Started, connect: Callable[[], RawClient], cache: Path
) -> None:
    """The keytab has the keys of that service, too."""
    assert started.fails(sasl(connect(), GssClient(cache, OTHER).step()))


def test_a_ticket_for_a_user(
    started: Started, connect: Callable[[], RawClient], cache: Path
) -> None:
    """The keytab has no keys of that principal."""
    token = GssClient(cache, f"bob/localhost@{REALM}").step()
    assert started.fails(sasl(connect(), token))


def test_an_expired_ticket(
    started: Started, connect: Callable[[], RawClient], tmp_path: Path
) -> None:
    realm, cache = started.realm, tmp_path / "old"
    realm.stop()
    realm.start("-2h")
    try:
        wrong = clock("-2h")
        login = ("kinit", "-l", "1h", "-c", str(cache), "bob")
        realm.run(*login, text=f"{PASSWORD}\n", **wrong)
        realm.run("kvno", "-c", str(cache), SERVER, **wrong)
    finally:
        realm.stop()
        realm.start()
    without_expiry(cache)
    assert started.fails(sasl(connect(), GssClient(cache).step()))


_TOKEN_PROGRAM = """
import base64, sys
from pathlib import Path
from tests.support.kerberos import GssClient
print(base64.b64encode(GssClient(Path(sys.argv[1])).step()).decode())
"""


@pytest.mark.parametrize(
    ("offset", "is_accepted"), [("+0s", True), ("+2m", True), ("-10m", False), ("+20m", False)]
)
def test_a_clock_that_is_wrong(
    started: Started,
    connect: Callable[[], RawClient],
    cache: Path,
    offset: str,
    *,
    is_accepted: bool,
) -> None:
    """Clocks may differ by 5 minutes, the default of clockskew in krb5.conf."""
    realm = started.realm
    if offset.startswith("-"):  # for the client, the ticket must be valid already
        realm.stop()
        realm.start(offset)
        try:
            login = ("kinit", "-c", str(cache), "bob")
            realm.run(*login, text=f"{PASSWORD}\n", **clock(offset))
            realm.run("kvno", "-c", str(cache), SERVER, **clock(offset))
        finally:
            realm.stop()
            realm.start()
    else:
        realm.run("kvno", "-c", str(cache), SERVER)
    program = [sys.executable, "-c", _TOKEN_PROGRAM, str(cache)]
    text = realm.run(*program, PYTHONPATH=".:src", **clock(offset))
    reply = sasl(connect(), base64.b64decode(text))
    if is_accepted:
        assert (token_of(reply) or b"").startswith(b"\x60")
    else:
        assert started.fails(reply)


def test_permissions(
    started: Started, connect: Callable[[], RawClient], cache: Path, tmp_path: Path
) -> None:
    """Who may read a znode that only bob may read, and one that everybody may read."""
    is_short, is_plain = started.kind == "names", started.kind == "plain"
    bob = connect()
    assert log_in(bob, GssClient(cache)).err == 0
    paths = ("/for-bob", "/for-anybody", "/of-nobody")
    for path, who in zip(
        paths,
        (Id("sasl", "bob" if is_short else BOB), Id("sasl", "anybody"), Id("digest", "x:y")),
        strict=True,
    ):
        created = bob.create(path, acl=(ACL(31, who),))
        assert created.err in {ErrorCode.OK, ErrorCode.NODE_EXISTS}
    for user, names in NAMES.items():
        client = connect()
        tickets = started.realm.log_in(tmp_path / "tickets", user)
        assert log_in(client, GssClient(tickets)).err == 0
        found = [client.request(OpCode.GET_DATA, pack_ustring(path) + b"\0").err for path in paths]
        has_all = user == "root" and (is_plain or is_short)
        # The name "super", which every ACL of the scheme sasl allows, has no realm.
        is_super = names[is_short] == "super"
        allowed = [user == "bob" or is_super or has_all, is_plain or is_super or has_all, has_all]
        assert found == [ErrorCode.OK if may else ErrorCode.NO_AUTH for may in allowed], user


def test_a_replaced_keytab_is_used(
    started: Started, connect: Callable[[], RawClient], tmp_path: Path
) -> None:
    """The principal gets new keys, so tickets have another key version."""
    keytab = started.directory / "server.keytab"
    for renews_key in (True, False):
        new = started.directory / "new.keytab"
        started.realm.write_keytab(new, SERVER, renews_key=renews_key)
        new.replace(keytab)
        raw = connect()
        cache = started.realm.log_in(tmp_path / f"cache-{renews_key}")
        reply = log_in(raw, GssClient(cache))
        assert (reply.err, token_of(reply)) == (0, None)
