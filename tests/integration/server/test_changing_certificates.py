"""TLS while the server runs: certificates that change, revoked certificates, only a secure port."""

import contextlib
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.support.secure import PASSWORD, SecureClient
from tests.support.stores import key_store, trust_store
from tests.support.waiting import wait_until
from zoolet.model.codes import OpCode
from zoolet.testing import ReservedPort, ServerProcess
from zoolet.wire.jute import pack_ustring

OPEN_CONNECTIONS = 64
READ_ROOT = pack_ustring("/") + b"\0"

STAY = "the certificates of the secure port stay as they are"


class Authority:
    """A CA, and the files with certificates that it signs."""

    def __init__(self, directory: Path, name: str) -> None:
        self.ca = trustme.CA()
        self.file = directory / f"{name}-authority.pem"
        self.ca.cert_pem.write_to_path(self.file)
        self._directory, self._name = directory, name

    def issue(self, name: str) -> Path:
        path = self._directory / f"{self._name}-{name}.pem"
        issued = self.ca.issue_cert("localhost", "127.0.0.1", common_name=name)
        issued.private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def crl(self, *revoked: Path) -> bytes:
        """Return a revocation list with the certificates in these files."""
        key: Any = serialization.load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        now = dt.datetime.now(dt.UTC)
        subject = x509.load_pem_x509_certificate(self.ca.cert_pem.bytes()).subject
        found = x509.CertificateRevocationListBuilder().issuer_name(subject)
        found = found.last_update(now - dt.timedelta(hours=1)).next_update(
            now + dt.timedelta(days=1)
        )
        for path in revoked:
            serial = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
            one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            found = found.add_revoked_certificate(one.build())
        return found.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


@pytest.fixture
def port() -> Iterator[int]:
    reserved = ReservedPort()
    yield reserved.number
    reserved.release()


@pytest.fixture
def old(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "old")


class Files(NamedTuple):
    """The stores of a server, which a test replaces."""

    keys: Path
    trusted: Path

    def replace(self, authority: Authority) -> None:
        """Replace both by those of an authority, in the format that the names show."""
        if self.keys.suffix == ".pem":
            replace(self.trusted, authority.file.read_bytes())
            replace(self.keys, authority.issue("server").read_bytes())
            return
        replace(self.trusted, trust_store(PASSWORD, authority.ca))
        issued = authority.ca.issue_cert("localhost", "127.0.0.1")
        replace(self.keys, key_store(issued, PASSWORD))


def settings_of(
    tmp_path: Path, port: int, authority: Authority, suffix: str = ".pem"
) -> dict[str, object]:
    """Return the settings of a server, whose files are copies that a test replaces."""
    files = files_in(tmp_path, suffix)
    files.replace(authority)
    password = {} if suffix == ".pem" else {"ssl.trustStore.password": PASSWORD}
    if suffix == ".p12":
        (tmp_path / "password").write_text(PASSWORD)
        password["ssl.keyStore.passwordPath"] = str(tmp_path / "password")
    elif suffix == ".jks":
        password["ssl.keyStore.password"] = PASSWORD
    return {
        "maxSessionTimeout": 40_000,
        "secureClientPort": port,
        "secureClientPortAddress": "127.0.0.1",
        "ssl.keyStore.location": files.keys,
        "ssl.trustStore.location": files.trusted,
        **password,
    }


def files_in(tmp_path: Path, suffix: str) -> Files:
    return Files(tmp_path / f"server{suffix}", tmp_path / f"trusted{suffix}")


def is_refused(port: int, authority: Authority, own: Path) -> bool:
    try:
        with SecureClient(port, authority.file, own):
            return False
    except (OSError, EOFError):
        return True


@pytest.mark.parametrize("suffix", [".pem", ".p12", ".jks"])
def test_certificates_change_under_open_connections(
    tmp_path: Path, port: int, old: Authority, suffix: str
) -> None:
    new = Authority(tmp_path, "new")
    files = files_in(tmp_path, suffix)
    with (
        ServerProcess(tmp_path / "server", settings_of(tmp_path, port, old, suffix)) as server,
        contextlib.ExitStack() as opened,
    ):
        own = old.issue("client")
        clients = [
            opened.enter_context(SecureClient(port, old.file, own)) for _ in range(OPEN_CONNECTIONS)
        ]
        replace(files.keys, b"garbage")
        wait_until(
            lambda: "the certificates of the secure port stay as they are" in server.log,
            "the warning",
        )
        assert not is_refused(port, old, own)
        files.replace(new)
        wait_until(lambda: not is_refused(port, new, new.issue("client")), "the new certificates")
        assert is_refused(port, old, own)
        assert "read the certificates of the secure port again" in server.log
        for client in clients:
            assert client.request(OpCode.GET_DATA, READ_ROOT).err == 0
        assert PASSWORD not in server.log + server.ask("conf")


def test_a_revoked_certificate_is_refused(tmp_path: Path, port: int, old: Authority) -> None:
    lists = tmp_path / "crl.pem"
    first, second = old.issue("first"), old.issue("second")
    lists.write_bytes(old.crl(first))
    settings = settings_of(tmp_path, port, old) | {"ssl.crl": "true", "zoolet.crlFile": lists}
    with ServerProcess(tmp_path / "server", settings) as server:
        # A client that leaves as soon as it has the alert can be logged as one that has left.
        wait_until(
            lambda: is_refused(port, old, first) and "certificate revoked" in server.log,
            "the reason of the refusal",
        )
        assert not is_refused(port, old, second)
        replace(lists, old.crl(first, second))
        wait_until(lambda: is_refused(port, old, second), "the new list")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be used"),
        (b"garbage", "cannot be used"),
        ("authority", "has no revocation list"),
    ],
)
def test_a_file_that_has_no_list_refuses_the_start(
    tmp_path: Path, port: int, old: Authority, content: Any, message: str
) -> None:
    lists = tmp_path / "crl.pem"
    if content is not None:
        lists.write_bytes(old.file.read_bytes() if content == "authority" else content)
    settings = settings_of(tmp_path, port, old) | {"ssl.crl": "true", "zoolet.crlFile": lists}
    refused = ServerProcess(tmp_path / "server", settings).run_command("start-foreground")
    assert refused.returncode == 1
    assert f"zoolet.crlFile: {lists} {message}" in refused.stderr


def test_a_server_with_only_a_secure_port(tmp_path: Path, port: int, old: Authority) -> None:
    server = ServerProcess(tmp_path / "server", settings_of(tmp_path, port, old))
    text = server.config_path.read_text()
    lines = [line for line in text.splitlines() if not line.startswith("clientPort")]
    server.config_path.write_text("\n".join([*lines, "4lw.commands.whitelist=srvr", ""]))
    started = server.run_command("start")
    try:
        assert started.returncode == 0, started.stderr
        with SecureClient(port, old.file, old.issue("client")) as client:
            assert client.request(OpCode.GET_DATA, READ_ROOT).err == 0
        status = server.run_command("status")
        assert (status.returncode, "Mode: standalone" in status.stdout) == (0, True), status
        assert f"Client port found: {port}" in status.stdout
    finally:
        stopped = server.run_command("stop")
    assert stopped.returncode == 0


def test_a_password_that_changes(tmp_path: Path, port: int, old: Authority) -> None:
    with ServerProcess(tmp_path / "server", settings_of(tmp_path, port, old, ".p12")) as server:
        own = old.issue("client")
        new = old.ca.issue_cert("localhost")
        replace(tmp_path / "server.p12", key_store(new, "another secret"))
        wait_until(
            lambda: "the certificates of the secure port stay as they are" in server.log,
            "the warning",
        )
        replace(tmp_path / "password", b"another secret\n")
        wait_until(lambda: "read the certificates" in server.log, "the new password")
        assert not is_refused(port, old, own)


def test_the_status_of_a_server_with_only_a_secure_port_and_pkcs12(
    tmp_path: Path, port: int, old: Authority
) -> None:
    server = ServerProcess(tmp_path / "server", settings_of(tmp_path, port, old, ".p12"))
    lines = server.config_path.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("clientPort")]
    server.config_path.write_text("\n".join([*kept, ""]))
    assert server.run_command("start").returncode == 0
    try:
        status = server.run_command("status")
        assert (status.returncode, "Mode: standalone" in status.stdout) == (0, True), status
    finally:
        assert server.run_command("stop").returncode == 0
