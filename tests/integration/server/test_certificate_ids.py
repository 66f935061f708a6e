"""Alternative names of certificates as ids: in ACLs, of the super user, and in the log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.security import make_acl

from tests.support.secure import Stores
from zoolet.client.kazoo import who_am_i
from zoolet.testing import ServerProcess

KEY = "X509AuthenticationProvider"
RULE = {
    f"{KEY}.clientCertIdType": "SAN",
    f"{KEY}.clientCertIdSanMatchType": "2",
    f"{KEY}.clientCertIdSanMatchRegex": "[.]example[.]org$",
    f"{KEY}.clientCertIdSanExtractRegex": "^([^.]*)[.]",
    f"{KEY}.clientCertIdSanExtractMatcherGroupIndex": "1",
    f"{KEY}.superUser": "root",
}


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return Stores(tmp_path)


@pytest.fixture
def server(tmp_path: Path, stores: Stores) -> Iterator[ServerProcess]:
    with ServerProcess(
        tmp_path / "server", {"client.portUnification": "true", **stores.settings, **RULE}
    ) as running:
        yield running


def connect(server: ServerProcess, stores: Stores, own: Path) -> Any:
    client = KazooClient(
        f"localhost:{server.port}",
        use_ssl=True,
        ca=str(stores.authority),
        certfile=str(own),
        keyfile=str(own),
    )
    client.start(20)
    return client


def ids_of(client: Any) -> set[tuple[str, str]]:
    return {(scheme, name) for scheme, name in who_am_i(client) if scheme != "ip"}


def test_acls_name_alternative_names(server: ServerProcess, stores: Stores) -> None:
    own = [stores.issue(name, f"{name}.example.org", "host") for name in ("ada", "bob", "root")]
    ada, bob, root = (connect(server, stores, path) for path in own)
    plain = KazooClient(server.hosts)
    plain.start(20)
    try:
        assert ids_of(ada) == {("x509", "ada")}
        assert ids_of(root) == {("x509", "root"), ("super", "")}
        ada.create("/mine", b"x", acl=[make_acl("auth", "", all=True)])
        ada.create("/given", b"y", acl=[make_acl("x509", "bob", read=True)])
        assert [tuple(entry.id) for entry in ada.get_acls("/mine")[0]] == [("x509", "ada")]
        assert (ada.get("/mine")[0], bob.get("/given")[0], root.get("/mine")[0]) == (
            b"x",
            b"y",
            b"x",
        )
        for client, path in ((bob, "/mine"), (ada, "/given"), (plain, "/mine"), (plain, "/given")):
            with pytest.raises(NoAuthError):
                client.get(path)
    finally:
        for each in (ada, bob, root, plain):
            each.stop()
            each.close()


@pytest.mark.parametrize("names", [("host",), ("a.example.org", "b.example.org")])
def test_the_subject_is_the_id_if_not_one_name_matches(
    server: ServerProcess, stores: Stores, names: tuple[str, ...]
) -> None:
    client = connect(server, stores, stores.issue("eve", *names))
    try:
        ((scheme, name),) = ids_of(client)
    finally:
        client.stop()
        client.close()
    assert scheme == "x509"
    assert name.startswith("CN=eve,")
    assert f"{len(names) - (names == ('host',))} of its alternative names match" in server.log


def test_a_wrong_rule_refuses_the_start(tmp_path: Path, stores: Stores) -> None:
    wrong = RULE | {f"{KEY}.clientCertIdSanMatchType": "0"}
    settings = {"client.portUnification": "true", **stores.settings, **wrong}
    refused = ServerProcess(tmp_path / "server", settings).run_command("start-foreground")
    assert refused.returncode == 1
    assert "clientCertIdSanMatchType must be the number of a type of names" in refused.stderr
