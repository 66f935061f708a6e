"""An observer of an Apache ensemble whose members use TLS and SASL with each other."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support.ensemble import ApacheEnsemble, new_observer
from tests.support.stores import key_store, trust_store
from tests.support.waiting import wait_until

LOGIN = "org.apache.zookeeper.server.auth.DigestLoginModule required"


class Files(NamedTuple):
    """The files of the members: JAAS, and PEM files of the authority and of the members.

    ``keys`` and ``trusted`` are stores in PKCS12, for an observer.
    """

    jaas: Path
    authority: Path
    member: Path
    keys: Path
    trusted: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    directory = tmp_path_factory.mktemp("files")
    names = ("jaas.conf", "authority.pem", "member.pem", "keys.p12", "trusted.p12")
    found = Files(*(directory / name for name in names))
    found.jaas.write_text(
        f'QuorumServer {{ {LOGIN} user_zoo="keeper\\"s"; }};\n'
        f'QuorumLearner {{ {LOGIN} username="zoo" password="keeper\\"s"; }};\n'
    )
    authority = trustme.CA()
    authority.cert_pem.write_to_path(found.authority)
    member = authority.issue_cert("localhost", "127.0.0.1")
    # Java reads only keys in PKCS 8.
    key = load_pem_private_key(member.private_key_pem.bytes(), None)
    encoded = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    found.member.write_bytes(encoded + b"".join(cert.bytes() for cert in member.cert_chain_pems))
    found.keys.write_bytes(key_store(member, STORE_PASSWORD))
    found.trusted.write_bytes(trust_store(STORE_PASSWORD, authority))
    return found


def settings_of(files: Files) -> dict[str, object]:
    return {
        "sslQuorum": "true",
        "ssl.quorum.keyStore.location": files.member,
        "ssl.quorum.trustStore.location": files.authority,
        "quorum.auth.enableSasl": "true",
        "quorum.auth.learnerRequireSasl": "true",
    }


STORE_PASSWORD = "store secret"
OF_OBSERVER = {"zoolet.quorumUsername": "zoo", "zoolet.quorumPassword": 'keeper"s'}


@pytest.fixture(scope="module")
def ensemble(
    tmp_path_factory: pytest.TempPathFactory, apache_jars: Path, files: Files
) -> Iterator[ApacheEnsemble]:
    settings = {
        **settings_of(files),
        "quorum.auth.serverRequireSasl": "true",
        "quorum.cnxn.threads.size": 20,
    }
    options = (f"-Djava.security.auth.login.config={files.jaas}",)
    directory = tmp_path_factory.mktemp("ensemble")
    with ApacheEnsemble(directory, apache_jars, 128, settings, options) as running:
        yield running


@pytest.mark.parametrize("is_pkcs12", [False, True])
def test_an_observer_joins_with_its_certificate_and_its_login(
    tmp_path: Path, ensemble: ApacheEnsemble, files: Files, *, is_pkcs12: bool
) -> None:
    settings = {**settings_of(files), **OF_OBSERVER}
    if is_pkcs12:
        for kind, path in (("key", files.keys), ("trust", files.trusted)):
            settings[f"ssl.quorum.{kind}Store.location"] = path
            settings[f"ssl.quorum.{kind}Store.password"] = STORE_PASSWORD
    with new_observer(tmp_path, ensemble, 101 + is_pkcs12, settings) as observer:
        assert "Leader: 127.0.0.1:" in observer.ask("srvr")
        client = observer.client()
        client.start(timeout=10)
        client.create(f"/secured-{is_pkcs12}")
        client.stop()
        client.close()
        shown = observer.log + observer.ask("conf")
        assert 'keeper"s' not in shown
        assert STORE_PASSWORD not in shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"zoolet.quorumPassword": "wrong"}, "the login as 'zoo' failed: "),
        ({"ssl.quorum.trustStore.location": None}, "certificate verify failed"),
        ({"sslQuorum": "false"}, "the member closed the connection"),
    ],
)
def test_an_observer_that_cannot_prove_itself_stays_outside(
    tmp_path: Path,
    ensemble: ApacheEnsemble,
    files: Files,
    changes: dict[str, object],
    said: str,
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    changed = {key: other if value is None else value for key, value in changes.items()}
    settings = {**settings_of(files), **OF_OBSERVER, **changed}
    observer = new_observer(tmp_path / "observer", ensemble, 103, settings)
    try:
        with observer:
            wait_until(lambda: said in observer.log, said)
            assert "Leader: none" in observer.ask("srvr")
    finally:
        assert "Traceback" not in observer.log
