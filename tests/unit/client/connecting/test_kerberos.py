"""The tickets of a client, and its authentications with servers that send anything."""

import logging
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.kerberos import REALM, SERVER, Realm, realm_in
from tests.support.waiting import wait_until
from zoolet.client.connecting.kerberos import (
    KerberosExchange,
    KerberosLogin,
    TicketError,
    canonical,
    kerberos_login,
)
from zoolet.client.protocol.logins import SaslRefusedError
from zoolet.server.sasl.kerberos import Acceptor
from zoolet.server.sasl.kerberos import KerberosExchange as ServerExchange
from zoolet.server.sasl.principals import NameRules
from zoolet.server.zoo_cfg.config import KerberosConfig

BOB = f"bob@{REALM}"
LIMIT_S = 30.0


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    yield from realm_in(tmp_path_factory.mktemp("realm"))


@pytest.fixture(scope="module")
def acceptor(realm: Realm) -> Acceptor:
    keytab = realm.write_keytab(realm.directory / "server.keytab", SERVER)
    return Acceptor(KerberosConfig(keytab, SERVER, "", "zoo.cfg"))


@pytest.fixture(scope="module")
def keytab(realm: Realm) -> Path:
    return realm.write_keytab(realm.directory / "bob.keytab", BOB)


def prepared(login: KerberosLogin) -> KerberosExchange:
    return login.prepare("localhost", "127.0.0.1").result(LIMIT_S)


def run(client: KerberosExchange, acceptor: Acceptor, changes: Any = None) -> ServerExchange:
    """Exchange all tokens; ``changes`` returns what the client gets for a token of the server."""
    server = ServerExchange(acceptor, NameRules(default_realm=REALM))
    token: bytes | None = client.begin()
    while token is not None:
        answer = server.step(token)
        token = client.answer(answer if changes is None else changes(answer))
    return server


def test_client_and_server(acceptor: Acceptor, keytab: Path) -> None:
    login = kerberos_login(f"keytab={keytab}")
    login.use(prepared(login))
    assert run(login.begin(), acceptor).identity == BOB
    with pytest.raises(SaslRefusedError, match="no ticket of Kerberos for this connection"):
        login.begin()  # each authentication is for one connection


def test_many_clients_get_tickets_at_the_same_time(acceptor: Acceptor, keytab: Path) -> None:
    """They share a cache in memory."""
    logins = [kerberos_login(f"keytab={keytab}") for _ in range(16)]
    found = [login.prepare("localhost", "127.0.0.1") for login in logins]
    assert {run(future.result(LIMIT_S), acceptor).identity for future in found} == {BOB}


def test_threads_end_with_their_work(keytab: Path) -> None:
    login = kerberos_login(f"keytab={keytab}")
    for future in [login.prepare("localhost", "127.0.0.1") for _ in range(5)]:
        future.result(LIMIT_S)
    login.look()  # nothing is due
    wait_until(
        lambda: all(thread.name != "zoolet-kerberos" for thread in threading.enumerate()),
        "the end of the threads",
    )


@pytest.mark.parametrize("seed", range(20))
def test_a_server_that_sends_anything(acceptor: Acceptor, keytab: Path, seed: int) -> None:
    """The client raises one documented error, or the server has authenticated it."""
    chance = random.Random(seed)
    login = kerberos_login(f"keytab={keytab}")
    for _ in range(10):
        is_right = True

        def change(token: bytes | None) -> bytes | None:
            nonlocal is_right
            if chance.random() < 0.6:
                return token
            kind = chance.randrange(4)
            changed: bytes | None = chance.randbytes(chance.randrange(200))
            if kind == 0:
                changed = None
            elif token and kind == 1:
                changed = token[: chance.randrange(len(token))]
            elif token and kind == 2:
                new = bytearray(token)
                new[chance.randrange(len(new))] ^= chance.randint(1, 255)
                changed = bytes(new)
            is_right = is_right and changed == token
            return changed

        try:
            server = run(prepared(login), acceptor, change)
        except SaslRefusedError:
            assert not is_right
        else:
            assert server.identity == BOB


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (b"\2\0\0\0", "wants encryption by Kerberos: use TLS instead"),
        (b"\0\0\0\0", "wants encryption by Kerberos: use TLS instead"),
        (b"\1", "wants encryption by Kerberos: use TLS instead"),
    ],
)
def test_a_server_without_the_layer_none(
    acceptor: Acceptor, keytab: Path, layers: bytes, message: str
) -> None:
    client = prepared(kerberos_login(f"keytab={keytab}"))
    accepted = acceptor.accept(client.begin(), None)
    assert client.answer(accepted.token) == b""
    with pytest.raises(SaslRefusedError, match=message):
        client.answer(acceptor.wrap(accepted.context, layers))


def test_a_token_after_the_end(acceptor: Acceptor, keytab: Path) -> None:
    client = prepared(kerberos_login(f"keytab={keytab}"))
    run(client, acceptor)
    with pytest.raises(SaslRefusedError, match="after the end"):
        client.answer(b"x")


def test_no_ticket(keytab: Path, tmp_path: Path) -> None:
    for text, message in (
        (f"keytab={tmp_path / 'none'}", "klist -k"),
        (f"keytab={keytab},principal=ann", "for ann"),
        (f"cache={tmp_path / 'none'}", "get one with kinit, or give a keytab"),
        (f"keytab={keytab},service=unknown", "no ticket of Kerberos for unknown"),
    ):
        with pytest.raises(TicketError, match=message):
            prepared(kerberos_login(text))


def test_a_renewal_without_a_kdc_is_tried_again(
    realm: Realm, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    realm.run("kadmin.local", "-q", "addprinc -randkey -maxlife 4s short")
    login = kerberos_login(f"keytab={realm.write_keytab(tmp_path / 'keytab', 'short')}")
    caplog.set_level(logging.INFO)
    prepared(login)

    def logged(text: str) -> bool:
        login.look()
        return text in caplog.text

    realm.stop()
    try:
        wait_until(lambda: logged("the tickets of Kerberos are not renewed"), "a warning")
    finally:
        realm.start()
    login._renew_at_s = 0.0  # not the pause after a failure: the test need not wait for it
    wait_until(lambda: logged("renewed the tickets of Kerberos"), "a renewal")
    prepared(login)


def test_a_name_of_the_dns_counts_if_it_leads_back() -> None:
    assert canonical("name.invalid", "127.0.0.1") == socket.getnameinfo(("127.0.0.1", 0), 0)[0]
    assert canonical("given", "192.0.2.1") == "given"
    assert canonical("given", "no address") == "given"
