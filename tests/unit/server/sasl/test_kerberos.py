"""GSSAPI on the server: tokens in any order, settings that cannot be used."""

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kerberos import PASSWORD, SERVER, GssClient, Realm, realm_in
from tests.support.waiting import wait_until
from zoolet.model.acl import Id
from zoolet.server.common.errors import ServerError
from zoolet.server.sasl.exchanges import DigestExchange, NoReplyError, SaslError
from zoolet.server.sasl.kerberos import Acceptor, KerberosExchange
from zoolet.server.sasl.logins import SaslLogins
from zoolet.server.sasl.principals import NameRules
from zoolet.server.zoo_cfg.config import KerberosConfig
from zoolet.server.zoo_cfg.reading import parse_config

PROVIDER = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n"


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    yield from realm_in(tmp_path_factory.mktemp("realm"))


@pytest.fixture(scope="module")
def keytab(realm: Realm) -> Path:
    return realm.write_keytab(realm.directory / "server.keytab", SERVER)


@pytest.fixture(scope="module")
def cache(realm: Realm) -> Path:
    return realm.log_in(realm.directory / "cache")


def config_of(keytab: Path, principal: str = SERVER) -> KerberosConfig:
    return KerberosConfig(keytab, principal, "", "zoo.cfg")


def logins_of(keytab: Path, more: str = "") -> SaslLogins:
    text = (
        f"dataDir=/data\nclientPort=2181\n{PROVIDER}zoolet.kerberosKeytab={keytab}\n"
        f"zoolet.kerberosPrincipal={SERVER}\n{more}"
    )
    config = parse_config(text, Path("zoo.cfg")).sasl
    assert config is not None
    return SaslLogins(config)


def test_a_server_without_users_has_only_kerberos(keytab: Path) -> None:
    exchange = logins_of(keytab).begin(b"")
    with pytest.raises(SaslError, match="the server has only Kerberos"):
        exchange.step(b"")


def test_the_first_token_shows_the_mechanism(keytab: Path, cache: Path) -> None:
    logins = logins_of(keytab, "zoolet.saslPassword.bob=pw\nletAnySaslUserDoX=x\n")
    assert logins.further == {Id("sasl", "x")}
    assert isinstance(logins.begin(b""), DigestExchange)
    assert isinstance(logins.begin(GssClient(cache).step()), KerberosExchange)


def test_the_default_rule_knows_the_default_realm(keytab: Path, cache: Path) -> None:
    logins = logins_of(keytab, "kerberos.removeRealmFromPrincipal=true\n")
    client, exchange = GssClient(cache, is_mutual=False), logins.begin(b"\x60")
    offer = exchange.step(client.step())
    assert offer is not None
    client.layers(offer)
    assert exchange.step(client.wrap(b"\1\0\0\0")) is None
    assert exchange.identity == "bob"


def test_a_keytab_without_the_principal(keytab: Path) -> None:
    with pytest.raises(ServerError, match=r"no key of zookeeper/elsewhere@.*klist -k.*ktadd"):
        Acceptor(config_of(keytab, "zookeeper/elsewhere@EXAMPLE.ORG"))


def test_another_krb5_conf(realm: Realm, keytab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5_CONFIG", "/nowhere")
    acceptor = Acceptor(config_of(keytab)._replace(krb5_conf=str(realm.krb5_conf)))
    assert acceptor.default_realm == "EXAMPLE.ORG"
    assert os.environ["KRB5_CONFIG"] == str(realm.krb5_conf)


def test_a_ticket_that_expires_during_the_exchange(
    realm: Realm, keytab: Path, tmp_path: Path
) -> None:
    """The server accepts the rest or refuses it; no other error comes."""
    login = ("bob", PASSWORD, "-l", "2s")
    client = GssClient(realm.log_in(tmp_path / "short", *login))
    exchange = logins_of(keytab).begin(b"\x60")
    answer = exchange.step(client.step())
    assert answer is not None
    client.step(answer)
    end_s = time.time() + 3
    wait_until(lambda: time.time() > end_s, "the end of the ticket")
    with contextlib.suppress(SaslError):
        assert (exchange.step(b"") or b"")[:2] == b"\x05\x04"
        exchange.step(b"no choice")
    assert exchange.identity is None


@pytest.mark.parametrize("seed", range(20))
def test_random_tokens_raise_one_documented_error(keytab: Path, cache: Path, seed: int) -> None:
    """An unchanged exchange gives the identity of the ticket; no exchange gives another one.

    Tokens have parts that nothing protects, like the number of a ticket's key, or the rotation of
    a message (RFC 4121, section 4.2.5). If only such a part is changed, the token may be accepted.
    """
    chance = random.Random(seed)
    acceptor = Acceptor(config_of(keytab))
    for _ in range(20):
        client = GssClient(cache, is_mutual=chance.random() < 0.5)
        exchange = KerberosExchange(acceptor, NameRules(default_realm="EXAMPLE.ORG"))
        is_right = True
        token = client.step()
        try:
            for step in range(4):
                sent = changed(chance, token) if chance.random() < 0.2 else token
                is_right = is_right and sent == token
                answer = exchange.step(sent)
                if answer is None:
                    break
                if answer[:1] == b"\x60":
                    client.step(answer)
                    token = b""
                else:
                    client.layers(answer)
                    token = client.wrap(b"\1\0\0\0")
                assert step < 3
        except (SaslError, NoReplyError):
            assert not is_right
        assert exchange.identity in {"bob@EXAMPLE.ORG", "bob@EXAMPLE.ORG" if is_right else None}


def changed(chance: random.Random, token: bytes) -> bytes:
    """Return another token."""
    if not token or chance.random() < 0.2:
        return token + chance.randbytes(chance.randint(1, 40))
    new = bytearray(token)
    if chance.random() < 0.3:
        return bytes(new[: chance.randrange(len(new))])
    new[chance.randrange(len(new))] ^= chance.randint(1, 255)
    return bytes(new)
