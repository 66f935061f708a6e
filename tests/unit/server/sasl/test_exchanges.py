"""An authentication with SASL: only a proven password gives an identity."""

import contextlib
import random

import pytest

from zoolet.server.sasl.exchanges import (
    REALM,
    SERVICE,
    DigestExchange,
    NoReplyError,
    SaslError,
)
from zoolet.server.sasl.principals import NameRules
from zoolet.server.sasl.users import Users
from zoolet.server.zoo_cfg.sasl_users import UserSources
from zoolet.wire.digest_md5 import DigestClient

PASSWORDS = {"bob": "pw", "ann": "pw2", "x": ""}


def exchange_of(passwords: dict[str, str]) -> DigestExchange:
    return DigestExchange(Users(UserSources(passwords, None, None, "", "")), NameRules())


def response(exchange: DigestExchange, user: str, password: str) -> bytes:
    client = DigestClient(user, password, SERVICE, REALM, "c")
    return client.respond(exchange.step(b""))


def test_a_user_is_authenticated_once() -> None:
    exchange = exchange_of(PASSWORDS)
    client = DigestClient("bob", "pw", SERVICE, REALM, "c")
    token = client.respond(exchange.step(b"anything"))
    client.check(exchange.step(token))
    assert exchange.identity == "bob"
    with pytest.raises(SaslError, match="ended already"):
        exchange.step(token)
    assert exchange.identity == "bob"


def test_a_token_is_good_for_one_exchange() -> None:
    first, second = exchange_of(PASSWORDS), exchange_of(PASSWORDS)
    token = response(first, "bob", "pw")
    first.step(token)
    second.step(b"")
    with pytest.raises(SaslError, match="nonce"):
        second.step(token)
    assert second.identity is None


def test_an_empty_name_is_malformed() -> None:
    exchange = exchange_of(PASSWORDS)
    with pytest.raises(NoReplyError):
        exchange.step(response(exchange, "", ""))


@pytest.mark.parametrize("seed", range(20))
def test_only_the_right_password_gives_an_identity(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(50):
        exchange = exchange_of(PASSWORDS)
        user = chance.choice(["bob", "ann", "x", "eve", "BOB", "bob "])
        password = chance.choice(["pw", "pw2", "", "none"])
        token = bytearray(response(exchange, user, password))
        is_changed = chance.random() < 0.5
        if is_changed:
            token[chance.randrange(len(token))] ^= 1 << chance.randrange(8)
        with contextlib.suppress(SaslError, NoReplyError):
            exchange.step(bytes(token))
        is_right = PASSWORDS.get(user) == password
        if not is_right or (exchange.identity is None and not is_changed):
            assert exchange.identity is None
            assert not is_right
        elif exchange.identity is not None:
            assert exchange.identity == user
