"""The secure port: TLS with and without clients' certificates, and ACLs that name them."""

import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.security import make_acl

from tests.support.shell import run_shell
from zoolet.client.kazoo import who_am_i
from zoolet.testing import ReservedPort, ServerProcess


class Certificates(NamedTuple):
    """Files in PEM: who signs, the server's store, and a client's certificate with its key."""

    authority: Path
    server: Path
    client: Path


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    authority = trustme.CA()
    files = Certificates(*(tmp_path / f"{name}.pem" for name in Certificates._fields))
    authority.cert_pem.write_to_path(files.authority)
    authority.private_key_pem.write_to_path(tmp_path / "authority-key.pem")
    server = authority.issue_cert("localhost", "127.0.0.1")
    server.private_key_and_cert_chain_pem.write_to_path(files.server)
    client = authority.issue_cert(common_name="worker, one", organization_name="zoolet")
    client.private_key_and_cert_chain_pem.write_to_path(files.client)
    return files


def settings_of(certificates: Certificates, port: int, client_auth: str) -> dict[str, object]:
    return {
        "secureClientPort": port,
        "secureClientPortAddress": "127.0.0.1",
        "ssl.keyStore.location": certificates.server,
        "ssl.trustStore.location": certificates.authority,
        "ssl.clientAuth": client_auth,
    }


@pytest.fixture
def settings(
    certificates: Certificates, request: pytest.FixtureRequest
) -> Iterator[dict[str, object]]:
    reserved = ReservedPort()
    yield settings_of(certificates, reserved.number, getattr(request, "param", "need"))
    reserved.release()


@pytest.fixture
def secure_server(tmp_path: Path, settings: dict[str, object]) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "server", settings) as running:
        yield running


def client_on(settings: dict[str, object], certificates: Certificates, own: Path | None) -> Any:
    file = None if own is None else str(own)
    return KazooClient(
        hosts=f"localhost:{settings['secureClientPort']}",
        timeout=4.0,
        use_ssl=True,
        ca=str(certificates.authority),
        certfile=file,
        keyfile=file,
    )


@pytest.mark.usefixtures("secure_server")
def test_a_client_with_a_certificate_is_whom_it_names(
    settings: dict[str, object], certificates: Certificates
) -> None:
    client = client_on(settings, certificates, certificates.client)
    client.start(timeout=10)
    try:
        name = subject_in_acl(client)
        assert "CN=worker\\, one" in name.split(",O=")[0] or "CN=worker\\, one" in name
        assert "O=zoolet" in name
        only_me = [make_acl("x509", name, all=True)]
        client.create("/mine", b"secret", acl=only_me)
        assert client.get("/mine")[0] == b"secret"
    finally:
        client.stop()
        client.close()


def certificate_of(authority: Path, name: x509.Name, key_of_authority: bytes) -> bytes:
    """Return a PEM file with a key and a certificate for any name."""
    issuer = x509.load_pem_x509_certificate(authority.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(load_pem_private_key(key_of_authority, None), hashes.SHA256())  # type: ignore[arg-type]
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


EMAIL_IN_DER = "1.2.840.113549.1.9.1=#1608774065782e6f7267"


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        (
            [(NameOID.ORGANIZATION_NAME, "zoolet"), (NameOID.EMAIL_ADDRESS, "w@ex.org")],
            f"{EMAIL_IN_DER},O=zoolet",
        ),
        ([(NameOID.COMMON_NAME, "a=b#c"), (NameOID.USER_ID, " ada")], "UID=\\ ada,CN=a\\=b\\#c"),
        ([(NameOID.SERIAL_NUMBER, "7"), (NameOID.COMMON_NAME, "w")], "CN=w,2.5.4.5=#130137"),
    ],
)
@pytest.mark.usefixtures("secure_server")
def test_a_list_of_java_s_text_lets_its_owner_in(
    settings: dict[str, object],
    certificates: Certificates,
    attributes: list[tuple[x509.ObjectIdentifier, str]],
    text: str,
) -> None:
    name = x509.Name(x509.NameAttribute(oid, value) for oid, value in attributes)
    key = certificates.authority.with_name("authority-key.pem").read_bytes()
    certificates.client.write_bytes(certificate_of(certificates.authority, name, key))
    client = client_on(settings, certificates, certificates.client)
    client.start(timeout=10)
    try:
        client.create("/mine", b"secret", acl=[make_acl("x509", text, all=True)])
        assert client.get("/mine")[0] == b"secret"
        assert subject_in_acl(client) == text
    finally:
        client.stop()
        client.close()


def subject_in_acl(client: Any) -> str:
    """Return the id that ``auth`` stands for."""
    client.create("/who", acl=[make_acl("auth", "", all=True)])
    (entry,) = client.get_acls("/who")[0]
    assert entry.id.scheme == "x509"
    name: str = entry.id.id
    return name


def test_a_client_in_the_open_may_not_read_what_a_certificate_guards(
    secure_server: ServerProcess, settings: dict[str, object], certificates: Certificates
) -> None:
    client = client_on(settings, certificates, certificates.client)
    other = KazooClient(hosts=secure_server.hosts)
    client.start(timeout=10)
    other.start(timeout=10)
    try:
        client.create("/mine", acl=[make_acl("auth", "", all=True)])
        with pytest.raises(NoAuthError):
            other.get("/mine")
        word = secure_server.ask("conf")
        assert f"secureClientPort={settings['secureClientPort']}" in word
    finally:
        for each in (client, other):
            each.stop()
            each.close()


@pytest.mark.usefixtures("secure_server")
def test_a_client_without_the_certificate_that_is_needed_gets_no_session(
    settings: dict[str, object], certificates: Certificates
) -> None:
    client = client_on(settings, certificates, None)
    with pytest.raises(KazooTimeoutError):
        client.start(timeout=1)
    client.stop()
    client.close()


@pytest.mark.parametrize("settings", ["none", "want"], indirect=True)
@pytest.mark.usefixtures("secure_server")
def test_a_certificate_may_be_left_out_where_it_is_not_needed(
    settings: dict[str, object], certificates: Certificates
) -> None:
    client = client_on(settings, certificates, None)
    client.start(timeout=10)
    try:
        client.create("/a", b"x" * 200_000)
        assert client.get("/a")[0] == b"x" * 200_000
    finally:
        client.stop()
        client.close()


def test_a_key_store_that_is_none_refuses_the_start(
    tmp_path: Path, certificates: Certificates
) -> None:
    settings = settings_of(certificates, 1, "need")
    certificates.server.write_text("garbage")
    server = ServerProcess(tmp_path / "server", settings)
    refused = server.run_command("start-foreground")
    assert refused.returncode == 1
    assert "ssl.keyStore.location" in refused.stderr
    assert "It must be a PEM file with the server's private key" in refused.stderr


PROVIDER = "org.apache.zookeeper.server.auth.X509AuthenticationProvider"


@pytest.mark.parametrize(
    ("key", "value", "may_read"),
    [
        ("X509AuthenticationProvider.superUser", None, True),
        ("X509AuthenticationProvider.superUser", "CN=someone else", False),
        ("authProvider.1", PROVIDER, False),
    ],
)
def test_the_subject_of_zoo_cfg_is_the_super_user(
    tmp_path: Path, certificates: Certificates, key: str, value: str | None, *, may_read: bool
) -> None:
    port = ReservedPort()
    settings = settings_of(certificates, port.number, "need")
    if value is None:
        with ServerProcess(tmp_path / "first", settings):
            client = client_on(settings, certificates, certificates.client)
            client.start(timeout=10)
            value = subject_in_acl(client)
            client.stop()
            client.close()
    settings[key] = value
    with ServerProcess(tmp_path / "server", settings) as server:
        other = KazooClient(hosts=server.hosts)
        client = client_on(settings, certificates, certificates.client)
        other.start(timeout=10)
        client.start(timeout=10)
        try:
            other.create("/a", b"x", acl=[make_acl("ip", "127.0.0.9", all=True)])
            if may_read:
                assert client.get("/a")[0] == b"x"
                assert {scheme for scheme, _ in who_am_i(client)} >= {"super", "x509"}
            else:
                with pytest.raises(NoAuthError):
                    client.get("/a")
        finally:
            for each in (client, other):
                each.stop()
                each.close()
    port.release()


@pytest.mark.usefixtures("secure_server")
def test_the_shell_speaks_tls(settings: dict[str, object], certificates: Certificates) -> None:
    hosts = f"localhost:{settings['secureClientPort']}"
    authority = ("--tls-ca", str(certificates.authority))
    own = (*authority, "--tls-cert", str(certificates.client))
    ran = run_shell(
        hosts, lines="whoami\ncreate /mine secret auth::cdrwa\ngetAcl /mine\n", options=own
    )
    assert ran.err == ""
    (line,) = [line for line in ran.out.splitlines() if line.startswith("x509: ")]
    name = line.removeprefix("x509: ")
    assert f"'x509,'{name}\n: cdrwa\n" in ran.out
    ran = run_shell(hosts, "setAcl", "/mine", f"x509:{name}:rw,world:anyone:r", options=own)
    assert (ran.status, ran.err) == (0, "")


def test_the_shell_names_why_there_is_no_session(
    secure_server: ServerProcess,
    settings: dict[str, object],
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    secure, plain = f"localhost:{settings['secureClientPort']}", secure_server.hosts
    authority = ("--tls-ca", str(certificates.authority))
    other, stranger = tmp_path / "other.pem", tmp_path / "stranger.pem"
    unknown = trustme.CA()
    unknown.cert_pem.write_to_path(other)
    unknown.issue_cert("worker").private_key_and_cert_chain_pem.write_to_path(stranger)
    for hosts, options, said in (
        (secure, (), "serves TLS, but the client uses plain text. Give --tls-ca FILE"),
        (plain, authority, "serves plain text, but the client uses TLS. Leave out --tls-ca"),
        (secure, authority, "client certificate"),
        (secure, ("--tls-ca", str(other)), "is signed by an unknown CA"),
        (
            secure,
            (*authority, "--tls-cert", str(stranger)),
            "does not accept the client's certificate",
        ),
    ):
        ran = run_shell(hosts, "ls", "/", options=(*options, "-timeout", "500"))
        assert (ran.status, ran.out) == (1, "")
        assert said in ran.err
        assert "is it running" not in ran.err


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which only Linux has")
@pytest.mark.parametrize("has_tls", [False, True])
def test_only_a_server_with_tls_loads_openssl(
    certificates: Certificates, tmp_path: Path, *, has_tls: bool
) -> None:
    port, admin = ReservedPort(), ReservedPort()
    settings = settings_of(certificates, port.number, "none") if has_tls else {}
    settings |= {
        "admin.enableServer": "true",
        "admin.serverPort": str(admin.number),
    }
    with ServerProcess(tmp_path / "server", settings) as server:
        assert server.ask("srvr")
        url = f"http://127.0.0.1:{admin.number}/commands/stats"
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert answer.read()
        maps = Path(f"/proc/{server.pid}/maps").read_text()
    assert any("libcrypto" in line or "/_ssl." in line for line in maps.splitlines()) is has_tls
