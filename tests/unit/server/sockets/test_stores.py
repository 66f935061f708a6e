"""Stores in PKCS12, read into TLS contexts that do a handshake; and stores that cannot be read."""

import contextlib
import os
import random
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support.loops import count_descriptors
from tests.support.stores import certificates_in, key_store, trust_store
from zoolet.server.common.errors import ServerError
from zoolet.server.sockets.stores import load_key, load_trusted
from zoolet.server.zoo_cfg.config import StoreConfig, StoreFormat

PASSWORD = "pässwörd €"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def config_of(path: Path, password: str = PASSWORD, prefix: str = "ssl.keyStore") -> StoreConfig:
    return StoreConfig(prefix, path, StoreFormat.PKCS12, password, None)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> list[bytes]:
    """Do a handshake in memory; return the chain that the client gets, in DER."""
    pipes = [ssl.MemoryBIO() for _ in range(2)]
    ends = (
        client.wrap_bio(pipes[0], pipes[1], server_hostname="localhost"),
        server.wrap_bio(pipes[1], pipes[0], server_side=True),
    )
    unfinished = list(ends)
    for _ in range(10):
        for end in tuple(unfinished):
            try:
                end.do_handshake()
                unfinished.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert not unfinished
    # Python 3.13 has this as a public method.
    chain: Any = ends[0]._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
    return [each.public_bytes(2) for each in chain]  # 2 is DER


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


@pytest.mark.parametrize("password", [PASSWORD, "", "x" * 200])
@pytest.mark.parametrize("key_type", [trustme.KeyType.ECDSA, trustme.KeyType.RSA])
def test_a_key_and_trusted_authorities(
    tmp_path: Path, authority: trustme.CA, password: str, key_type: trustme.KeyType
) -> None:
    issued = authority.issue_cert("localhost", key_type=key_type)
    keys, trusted = tmp_path / "keys.p12", tmp_path / "trusted.p12"
    keys.write_bytes(key_store(issued, password))
    trusted.write_bytes(trust_store(password, trustme.CA(), authority))
    client, server = contexts()
    load_key(server, config_of(keys, password))
    load_trusted(client, config_of(trusted, password, "ssl.trustStore"), "the members'")
    assert handshake(client, server)
    assert client.cert_store_stats()["x509_ca"] == 2


@pytest.mark.parametrize("seed", range(5))
def test_the_chain_is_in_order_and_has_nothing_else(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    root = trustme.CA()
    authority = root
    for _ in range(chance.randrange(4)):
        authority = authority.create_child_ca()
    issued = authority.issue_cert("localhost")
    own, *chain = certificates_in(*issued.cert_chain_pems)
    others = [*chain, *certificates_in(trustme.CA().cert_pem, root.cert_pem)]
    chance.shuffle(others)
    path = tmp_path / "keys.p12"
    path.write_bytes(key_store(issued, PASSWORD, others))
    client, server = contexts()
    root.configure_trust(client)
    load_key(server, config_of(path))
    wanted = [own, *chain, *certificates_in(root.cert_pem)]
    if authority is root:
        wanted = [own, *certificates_in(root.cert_pem)]
    assert handshake(client, server) == [each.public_bytes(Encoding.DER) for each in wanted]


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs files in memory (Linux)")
def test_no_file_is_written(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.p12"
    path.write_bytes(key_store(authority.issue_cert("localhost"), PASSWORD))
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", None)
    before = count_descriptors()
    load_key(contexts()[1], config_of(path))
    assert count_descriptors() == before


def test_a_file_is_encrypted_and_removed_without_files_in_memory(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.p12"
    path.write_bytes(key_store(authority.issue_cert("localhost"), PASSWORD))
    monkeypatch.delattr(os, "memfd_create", raising=False)
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    seen: list[tuple[int, bytes]] = []

    class Watching(ssl.SSLContext):
        def load_cert_chain(self, certfile: Any, *args: Any, **kwargs: Any) -> None:
            seen.append((Path(certfile).stat().st_mode & 0o777, Path(certfile).read_bytes()))
            super().load_cert_chain(certfile, *args, **kwargs)

    load_key(Watching(ssl.PROTOCOL_TLS_SERVER), config_of(path))
    ((mode, content),) = seen
    assert mode == 0o600
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in content
    assert b"BEGIN PRIVATE KEY" not in content
    assert list(directory.iterdir()) == []


def test_stores_that_cannot_be_used(tmp_path: Path, authority: trustme.CA) -> None:
    keys, trusted = tmp_path / "keys.p12", tmp_path / "trusted.p12"
    keys.write_bytes(key_store(authority.issue_cert("localhost"), PASSWORD))
    trusted.write_bytes(trust_store(PASSWORD, authority))
    jks, jceks, garbage = tmp_path / "a.jks", tmp_path / "b.jks", tmp_path / "c.p12"
    jks.write_bytes(b"\xfe\xed\xfe\xed\0\0\0\2")
    jceks.write_bytes(b"\xce\xce\xce\xce\0\0\0\2")
    garbage.write_bytes(b"garbage")
    client, server = contexts()
    convert = (
        f"Convert it to PKCS12, and name the new file: keytool -importkeystore -srckeystore {jks}"
        f" -srcstoretype JKS -destkeystore {tmp_path / 'a.p12'} -deststoretype PKCS12"
    )
    for store, said in (
        (config_of(keys, "wrong"), f"ssl.keyStore.location: {keys} cannot be used"),
        (config_of(keys, ""), "It must be a PKCS12 file, and ssl.keyStore.password its password"),
        (config_of(garbage), f"{garbage} cannot be used"),
        (config_of(tmp_path / "none.p12"), "No such file"),
        (config_of(trusted), "has no private key with a certificate"),
        (config_of(jks), convert),
        (config_of(jceks), "has the format JCEKS"),
    ):
        with pytest.raises(ServerError) as refused:
            load_key(server, store)
        assert said in str(refused.value)
    for store, said in (
        (config_of(keys), "has a private key. A trust store has only the certificates of CAs"),
        (config_of(garbage), "cannot be used"),
        (config_of(jks), convert),
    ):
        with pytest.raises(ServerError) as refused:
            load_trusted(client, store, "clients'")
        assert said in str(refused.value)


@pytest.mark.parametrize("password", ["wrong", "", "x" * 1025, "\0"])
def test_a_wrong_password_of_a_pem_file(
    tmp_path: Path, authority: trustme.CA, password: str
) -> None:
    """For example, an operator has named the file of the key as the file of its password."""
    key: Any = load_pem_private_key(authority.issue_cert("localhost").private_key_pem.bytes(), None)
    path = tmp_path / "keys.pem"
    encryption = BestAvailableEncryption(b"right")
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    store = StoreConfig("ssl.keyStore", path, StoreFormat.PEM, password, None)
    with pytest.raises(ServerError, match=r"ssl\.keyStore\.password must be this password"):
        load_key(contexts()[1], store)


def test_the_error_for_a_file_with_a_password_shows_no_byte_of_it(tmp_path: Path) -> None:
    password = tmp_path / "password"
    store = StoreConfig("ssl.keyStore", tmp_path / "keys.pem", StoreFormat.PEM, "", password)
    for content, reason in ((b"\xe9t\xe9", "it is not UTF-8"), (None, "No such file or directory")):
        password.write_bytes(content or b"")
        if content is None:
            password.unlink()
        with pytest.raises(ServerError) as refused:
            load_key(contexts()[1], store)
        said = (
            f"ssl.keyStore.passwordPath: {password} cannot be read: {reason}. Correct the file or"
            " its path."
        )
        assert (str(refused.value), refused.value.__cause__) == (said, None)


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_store_gives_one_error(tmp_path: Path, authority: trustme.CA, seed: int) -> None:
    chance = random.Random(seed)
    whole = key_store(authority.issue_cert("localhost"), PASSWORD)
    path = tmp_path / "keys.p12"
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])])
        for load in (_load_key, _load_trusted):
            with contextlib.suppress(ServerError):
                load(path)


def _load_key(path: Path) -> None:
    load_key(contexts()[1], config_of(path))


def _load_trusted(path: Path) -> None:
    load_trusted(contexts()[0], config_of(path), "clients'")


def test_without_the_package_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.p12"
    path.write_bytes(b"\x30\x82")
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ServerError) as refused:
        load_key(contexts()[1], config_of(path))
    assert "pip install 'zoolet[pkcs12]'" in str(refused.value)
    assert f"openssl pkcs12 -in {path} -out store.pem -noenc" in str(refused.value)
