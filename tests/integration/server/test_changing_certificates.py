"""TLS while the server runs: certificates that change, revoked certificates, only a secure port."""

import contextlib
import datetime as dt
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.support.rawclient import RawClient
from tests.support.waiting import wait_until
from zoolet.model.codes import OpCode
from zoolet.testing import ReservedPort, ServerProcess
from zoolet.wire.jute import pack_ustring

OPEN_CONNECTIONS = 64
READ_ROOT = pack_ustring("/") + b"\0"


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


class SecureClient(RawClient):
    """A raw client that uses TLS."""

    def __init__(self, port: int, authority: Authority, own: Path) -> None:
        super().__init__(port)
        context = ssl.create_default_context(cafile=authority.file)
        context.load_cert_chain(own)
        try:
            self.socket: socket.socket = context.wrap_socket(
                self.socket, server_hostname="localhost"
            )
            self.connect(timeout_ms=40_000)
        except BaseException:
            self.socket.close()
            raise


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


def settings_of(tmp_path: Path, port: int, authority: Authority) -> dict[str, object]:
    """Return the settings of a server, whose files are copies that a test replaces."""
    (tmp_path / "server.pem").write_bytes(authority.issue("server").read_bytes())
    (tmp_path / "trusted.pem").write_bytes(authority.file.read_bytes())
    return {
        "maxSessionTimeout": 40_000,
        "secureClientPort": port,
        "secureClientPortAddress": "127.0.0.1",
        "ssl.keyStore.location": tmp_path / "server.pem",
        "ssl.trustStore.location": tmp_path / "trusted.pem",
    }


def is_refused(port: int, authority: Authority, own: Path) -> bool:
    try:
        with SecureClient(port, authority, own):
            return False
    except (OSError, EOFError):
        return True


def test_certificates_change_under_open_connections(
    tmp_path: Path, port: int, old: Authority
) -> None:
    new = Authority(tmp_path, "new")
    with (
        ServerProcess(tmp_path / "server", settings_of(tmp_path, port, old)) as server,
        contextlib.ExitStack() as opened,
    ):
        own = old.issue("client")
        clients = [
            opened.enter_context(SecureClient(port, old, own)) for _ in range(OPEN_CONNECTIONS)
        ]
        replace(tmp_path / "server.pem", b"garbage")
        wait_until(lambda: "the certificates stay as they are" in server.log, "the warning")
        assert not is_refused(port, old, own)
        replace(tmp_path / "trusted.pem", new.file.read_bytes())
        replace(tmp_path / "server.pem", new.issue("server").read_bytes())
        wait_until(lambda: not is_refused(port, new, new.issue("client")), "the new certificates")
        assert is_refused(port, old, own)
        assert "read the certificates of the secure port again" in server.log
        for client in clients:
            assert client.request(OpCode.GET_DATA, READ_ROOT).err == 0


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
        with SecureClient(port, old, old.issue("client")) as client:
            assert client.request(OpCode.GET_DATA, READ_ROOT).err == 0
        status = server.run_command("status")
        assert (status.returncode, "Mode: standalone" in status.stdout) == (0, True), status
        assert f"Client port found: {port}" in status.stdout
    finally:
        stopped = server.run_command("stop")
    assert stopped.returncode == 0
