"""Failed TLS handshakes: the log names the cause, and so does the alert that the client gets."""

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from tests.support.limited import LimitedServer
from tests.support.rawclient import RawClient
from tests.support.waiting import wait_until
from zoolet.testing import ReservedPort

TIMEOUT_MS = 1000


class Stores:
    """PEM files of two authorities that do not know each other."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        authority, stranger = trustme.CA(), trustme.CA()
        authority.cert_pem.write_to_path(directory / "authority.pem")
        stranger.cert_pem.write_to_path(directory / "other-authority.pem")
        past = datetime(2020, 1, 1, tzinfo=UTC)
        for name, certificate in {
            "server": authority.issue_cert("localhost"),
            "expired-server": authority.issue_cert("localhost", not_after=past),
            "client": authority.issue_cert("client"),
            "expired": authority.issue_cert("client", not_after=past),
            "stranger": stranger.issue_cert("client"),
        }.items():
            certificate.private_key_and_cert_chain_pem.write_to_path(directory / f"{name}.pem")

    def path(self, name: str) -> Path:
        return self.directory / f"{name}.pem"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return Stores(tmp_path_factory.mktemp("stores"))


@pytest.fixture
def port() -> Iterator[int]:
    reserved = ReservedPort()
    yield reserved.number
    reserved.release()


@pytest.fixture(params=[True, False])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, stores: Stores, port: int
) -> Iterator[LimitedServer]:
    store = "expired-server" if "expired_server" in request.node.name else "server"
    settings = {
        "secureClientPort": port,
        "secureClientPortAddress": "127.0.0.1",
        "ssl.keyStore.location": stores.path(store),
        "ssl.trustStore.location": stores.path("authority"),
        "nio.sessionlessCnxnTimeout": TIMEOUT_MS,
    }
    with LimitedServer(tmp_path / "s", settings, has_uvloop=request.param) as running:
        yield running


def connect(
    port: int,
    stores: Stores,
    *,
    own: str | None = "client",
    authority: str = "authority",
    host: str = "localhost",
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> bytes:
    """Do a handshake, and return what the server sends; raises what the client sees."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(stores.path(authority))
    context.minimum_version = context.maximum_version = version
    if own is not None:
        context.load_cert_chain(stores.path(own))
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        # In TLS 1.3 a client hears only now what the server thinks of its certificate.
        return secure.recv(1)


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("own", "logged", "alert"),
    [
        (None, "the client shows no certificate", "certificate required|handshake failure"),
        ("stranger", "(unknown CA: ssl.trustStore.location", "unknown ca"),
        ("expired", "certificate has expired", "certificate expired"),
    ],
)
def test_both_sides_know_what_is_wrong_with_a_clients_certificate(
    server: LimitedServer,
    port: int,
    stores: Stores,
    version: ssl.TLSVersion,
    own: str | None,
    logged: str,
    alert: str,
) -> None:
    with pytest.raises(ssl.SSLError, match=alert):
        connect(port, stores, own=own, version=version)
    wait_until(lambda: logged in server.log, "the message")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_log_says_what_a_client_thinks_of_the_server(
    server: LimitedServer, port: int, stores: Stores, version: ssl.TLSVersion
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(port, stores, version=version, authority="other-authority")
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(port, stores, version=version, host="elsewhere")
    wait_until(lambda: "(unknown CA)" in server.log, "the authority")
    wait_until(lambda: "(wrong name)" in server.log, "the name")


def test_an_expired_server_is_named(server: LimitedServer, port: int, stores: Stores) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        connect(port, stores)
    wait_until(lambda: "the server's certificate has expired" in server.log, "the message")


@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        (b"ruok", "the first are b'ruok'"),
        (b"GET / HTTP/1.1\r\n\r\n", "the first are b'GET / HT'"),
        (bytes.fromhex("0000002d00000000") + bytes(41), "the first are b'\\x00\\x00\\x00-"),
    ],
)
def test_plain_bytes_on_the_tls_port_are_named(
    server: LimitedServer, port: int, sent: bytes, logged: str
) -> None:
    with RawClient(port) as plain:
        plain.socket.sendall(sent)
        assert plain.is_closed_by_server()
    wait_until(lambda: "plain bytes arrive on the TLS port" in server.log, "the message")
    wait_until(lambda: logged in server.log, "its first bytes")


def test_a_handshake_that_ends_early_is_named(server: LimitedServer, port: int) -> None:
    with RawClient(port) as short:
        short.socket.sendall(b"\x16\x03\x01")
    wait_until(
        lambda: "the client closed the connection during the handshake" in server.log,
        "a line",
    )
    with RawClient(port) as silent:
        assert silent.is_closed_by_server()
    silence = f"the client has not finished the handshake within {TIMEOUT_MS} ms"
    wait_until(lambda: silence in server.log, "a line about the silent client")


def test_many_failures_are_a_few_lines(server: LimitedServer, port: int, stores: Stores) -> None:
    for _ in range(200):
        with RawClient(port) as plain:
            plain.socket.sendall(b"ruok")
            assert plain.is_closed_by_server()
    with pytest.raises(ssl.SSLError):
        connect(port, stores, own=None)  # another cause is not hidden
    wait_until(lambda: "the client shows no certificate" in server.log, "the other cause")
    assert server.log.count("the TLS handshake of") < 10


def test_after_all_that_a_good_client_is_served(
    server: LimitedServer, port: int, stores: Stores
) -> None:
    with RawClient(port) as plain:
        plain.socket.sendall(b"ruok")
        assert plain.is_closed_by_server()
    assert connect(port, stores) == b""  # closed after the timeout: it opens no session
    assert "Traceback" not in server.log
