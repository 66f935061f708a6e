"""DIGEST-MD5: both sides of it, with the examples of RFC 2831 and the tokens of Java."""

import contextlib
import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.wire.digest_md5 import DigestClient, DigestError, DigestServer
from zoolet.wire.quorum_auth import QUORUM_REALM, QUORUM_SERVICE

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def server_of(passwords: dict[str, str], realm: str = "here", nonce: str = "n1") -> DigestServer:
    return DigestServer(realm, "zookeeper", "host", nonce, passwords.get)


def client_of(username: str, password: str, cnonce: str = "c1") -> DigestClient:
    return DigestClient(username, password, "zookeeper", "host", cnonce)


@pytest.mark.parametrize(
    ("service", "nonce", "cnonce", "response", "answer"),
    [
        (
            "imap",
            "OA6MG9tEQGm2hh",
            "OA6MHXh6VqTrRk",
            "d388dad90d4bbd760a152321f2143af7",
            "ea40f60335c427b5527b84dbabcdfffd",
        ),
        (
            "acap",
            "OA9BSXrbuRhWay",
            "OA9BSuZWMSpW8m",
            "6084c6db3fede7352c551284490fd0fc",
            "2f0b3d7c3c2e486600ef710726aa2eae",
        ),
    ],
)
def test_the_examples_of_the_rfc(
    service: str, nonce: str, cnonce: str, response: str, answer: str
) -> None:
    host = "elwood.innosoft.com"
    challenge = (
        f'realm="{host}",nonce="{nonce}",qop="auth",algorithm=md5-sess,charset=utf-8'.encode()
    )
    client = DigestClient("chris", "secret", service, host, cnonce)
    token = client.respond(challenge)
    assert f"response={response}".encode() in token
    client.check(f"rspauth={answer}".encode())
    server = DigestServer(host, service, host, nonce, {"chris": "secret"}.get)
    assert server.accept(token) == ("chris", f"rspauth={answer}".encode())


def test_a_challenge_and_an_answer_of_java_are_accepted() -> None:
    """Taken from Apache ZooKeeper 3.8 on Java 17, which leaves out the quality of protection."""
    challenge = (
        b'realm="zk-quorum-sasl-md5",nonce="/wM7WKRZC3IoKaRpFUfLXa5CWTYL2mvwesGrlj1n",'
        b"charset=utf-8,algorithm=md5-sess"
    )
    password, cnonce = 'my"pass,w=ord', "E6tqLy9hLBbww7vTngMZug"
    client = DigestClient("test", password, QUORUM_SERVICE, QUORUM_REALM, cnonce)
    assert b"response=0eca257ae20d2ba747bd415d7c9db190" in client.respond(challenge)
    client.check(b"rspauth=9439dea5504be302f0c1e9d7e786cd6e")


def test_a_response_of_java_is_accepted() -> None:
    """Taken from Apache ZooKeeper 3.8 on Java 17, which sends the user name also as authzid."""
    passwords = {"test": "mypw"}
    nonce = "0daeece95d341428"
    server = DigestServer(QUORUM_REALM, QUORUM_SERVICE, QUORUM_REALM, nonce, passwords.get)
    response = (
        b'charset=utf-8,username="test",realm="zk-quorum-sasl-md5",nonce="0daeece95d341428",'
        b'nc=00000001,cnonce="HZfdXS/VzOG9sm6Vzgd6AOP8YlBz5tRTbvMxuRcw",'
        b'digest-uri="zookeeper-quorum/zk-quorum-sasl-md5",maxbuf=65536,'
        b'response=6a9b831cb712a68a024a4b482bf47aae,qop=auth,authzid="test"'
    )
    assert server.accept(response) == ("test", b"rspauth=ee4e5a0abe98008f85d88d4a114e0c2f")


def test_a_response_with_an_authzid_is_accepted() -> None:
    """Java's clients of ZooKeeper send it; it is a part of the proof (RFC 2831, 2.1.2.1)."""

    def md5(text: bytes) -> bytes:
        return hashlib.md5(text, usedforsecurity=False).hexdigest().encode()

    secret = hashlib.md5(b"ada:here:pw", usedforsecurity=False).digest()
    session = md5(secret + b":n1:c1:ada")
    request = md5(b"AUTHENTICATE:zookeeper/host")
    proof = md5(session + b":n1:00000001:c1:auth:" + request)
    token = (
        b'charset=utf-8,username="ada",realm="here",nonce="n1",nc=00000001,cnonce="c1",'
        b'digest-uri="zookeeper/host",maxbuf=65536,response=' + proof + b',qop=auth,authzid="ada"'
    )
    server = server_of({"ada": "pw"})
    assert server.accept(token)[0] == "ada"
    with pytest.raises(DigestError, match="password is wrong"):
        server.accept(token.replace(b',authzid="ada"', b""))


@given(TEXTS, TEXTS, TEXTS)
def test_any_name_and_password_are_proven(username: str, password: str, realm: str) -> None:
    server = server_of({username: password}, realm)
    client = client_of(username, password)
    accepted, answer = server.accept(client.respond(server.challenge()))
    assert accepted == username
    client.check(answer)
    wrong = client_of(username, password + "x")
    with pytest.raises(DigestError, match="password is wrong"):
        server.accept(wrong.respond(server.challenge()))


def test_an_unknown_user_and_a_wrong_password_get_the_same_error() -> None:
    server = server_of({"ada": "pw"})
    errors = []
    for name, password in (("ada", "no"), ("bob", "pw"), ("bob", "")):
        with pytest.raises(DigestError) as caught:
            server.accept(client_of(name, password).respond(server.challenge()))
        errors.append(str(caught.value))
    assert len(set(errors)) == 1


def test_a_response_cannot_be_used_for_another_challenge() -> None:
    token = client_of("ada", "pw").respond(server_of({}, nonce="n1").challenge())
    assert server_of({"ada": "pw"}, nonce="n1").accept(token)[0] == "ada"
    with pytest.raises(DigestError, match="nonce"):
        server_of({"ada": "pw"}, nonce="n2").accept(token)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"nc=00000001", b"nc=00000002", "only once"),
        (b'realm="here"', b'realm="there"', "realm"),
        (b"zookeeper/host", b"other/host", "another service"),
        (b"qop=auth", b"qop=auth-int", "quality"),
        (b"qop=auth", b'qop=auth,authzid="root"', "another user"),
        (b"qop=auth", b'qop=auth,nonce="n1"', "twice"),
        (b'cnonce="c1",', b"", "'cnonce' is missing"),
        (b'username="ada"', b'username="ad\xff"', "UTF-8"),
        (b'username="ada"', b'username="ada', "comma|no end|no value"),
        (b"nc=00000001", b"nc=0000 0001", "comma"),
        (b"nc=00000001", b"nc", "no value|quotes|comma"),
    ],
)
def test_a_wrong_response_is_refused(old: bytes, new: bytes, reason: str) -> None:
    server = server_of({"ada": "pw"})
    token = client_of("ada", "pw").respond(server.challenge())
    assert old in token
    with pytest.raises(DigestError, match=reason):
        server.accept(token.replace(old, new))


@pytest.mark.parametrize(
    ("challenge", "reason"),
    [
        (b'realm="r",algorithm=md5-sess', "'nonce' is missing"),
        (b'nonce="n",algorithm=md5', "md5-sess"),
        (b'nonce="n",algorithm=md5-sess,qop="auth-conf"', "auth"),
        (b"x" * 2049, "2049 bytes"),
    ],
)
def test_a_wrong_challenge_is_refused(challenge: bytes, reason: str) -> None:
    with pytest.raises(DigestError, match=reason):
        client_of("ada", "pw").respond(challenge)


def test_quotes_and_backslashes_are_escaped() -> None:
    name = 'a"b\\c,d=e'
    server = server_of({name: "p"}, realm='r"\\')
    token = client_of(name, "p").respond(server.challenge())
    assert rb'username="a\"b\\c,d=e"' in token
    assert server.accept(token)[0] == name


def test_without_utf_8_the_texts_are_iso_8859_1() -> None:
    challenge = b'realm="here",nonce="n1",algorithm=md5-sess'
    token = client_of("f\u00fcr", "p").respond(challenge)
    assert b'username="f\xfcr"' in token
    assert server_of({"f\u00fcr": "p"}).accept(token)[0] == "f\u00fcr"
    with pytest.raises(DigestError, match="8859"):
        client_of("\u4e2d", "p").respond(challenge)


def test_a_server_that_does_not_know_the_password_is_not_believed() -> None:
    server = server_of({"ada": "pw"})
    client = client_of("ada", "pw")
    with pytest.raises(DigestError, match="not proven"):
        client.check(b"rspauth=" + b"0" * 32)
    client.respond(server.challenge())
    for answer in (b"rspauth=" + b"0" * 32, b"rspauth="):
        with pytest.raises(DigestError, match="not proven"):
            client.check(answer)
    with pytest.raises(DigestError, match="missing"):
        client.check(b"")


@pytest.mark.parametrize("seed", range(300))
def test_changed_tokens_are_refused_or_mean_the_same(seed: int) -> None:
    """A changed token raises DigestError and nothing else, or proves the same user."""
    chance = random.Random(seed)
    server = server_of({"ada": "pw"})
    token = bytearray(client_of("ada", "pw").respond(server.challenge()))
    for _ in range(chance.randrange(1, 4)):
        position = chance.randrange(len(token))
        match chance.randrange(3):
            case 0:
                token[position] = chance.choice(b'",=\\ az0\xff')
            case 1:
                del token[position]
            case _:
                token.insert(position, chance.choice(b'",=\\ az0\xff'))
    with contextlib.suppress(DigestError):
        assert server.accept(bytes(token))[0] == "ada"
    with contextlib.suppress(DigestError):
        client_of("ada", "pw").respond(bytes(token))


@given(st.binary(max_size=60))
def test_any_bytes_raise_only_digest_errors(token: bytes) -> None:
    with contextlib.suppress(DigestError):
        client_of("ada", "pw").respond(token)
    with contextlib.suppress(DigestError):
        server_of({"ada": "pw"}).accept(token)
