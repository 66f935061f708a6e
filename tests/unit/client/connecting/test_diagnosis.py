"""Why there is no session: each cause, with a server that has it."""

import contextlib
import datetime as dt
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from zoolet.client.connecting.diagnosis import (
    Kind,
    unresolved,
    why_no_answer,
    why_no_session,
)
from zoolet.client.connecting.servers import Servers, parse_servers
from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.model.addresses import Address

TIMEOUT_S = 5.0
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
NO_NAME = "no-such-host.invalid"


class Files(NamedTuple):
    """An authority, one that nobody trusts, and certificates."""

    authority: trustme.CA
    stranger: trustme.CA
    directory: Path

    def client(self, *, ca: trustme.CA | None = None, signer: trustme.CA | None = None) -> TlsFiles:
        """Return the files of a client that trusts ``ca`` and has a certificate of ``signer``."""
        trusted = self.directory / "trusted.pem"
        (ca or self.authority).cert_pem.write_to_path(trusted)
        if signer is None:
            return TlsFiles(trusted)
        own = self.directory / "own.pem"
        signer.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(own)
        return TlsFiles(trusted, own)

    def server(self, certificate: trustme.LeafCert, *, needs_client: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        if needs_client:
            context.verify_mode = ssl.CERT_REQUIRED
            self.authority.configure_trust(context)
        return context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(trustme.CA(), trustme.CA(), tmp_path)


@contextlib.contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[Address]:
    """Serve connections one by one on a thread until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    # A client with plain text sends less than a TLS record, and waits.
                    connection.settimeout(0.5)
                    serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield Address(*listening.getsockname())
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(TIMEOUT_S)


def answer_word(connection: socket.socket) -> None:
    if connection.recv(4) == b"srvr":
        connection.sendall(b"Zookeeper version: 0\n")


def over_tls(context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            answer_word(secured)

    return serve


def test_a_server_that_answers_has_no_cause(files: Files) -> None:
    with serving(answer_word) as address:
        assert why_no_answer(address, None, TIMEOUT_S) is None
    context = files.server(files.authority.issue_cert("127.0.0.1"), needs_client=True)
    with serving(over_tls(context)) as address:
        own = files.client(signer=files.authority)
        assert why_no_answer(address, own, TIMEOUT_S) is None


@pytest.mark.parametrize(
    ("kind", "names", "said"),
    [
        (Kind.SERVER_CERTIFICATE, ["127.0.0.1", "expired"], "has expired"),
        (Kind.SERVER_CERTIFICATE, ["zk.example.org"], "is for another name"),
        (Kind.SERVER_CERTIFICATE, ["127.0.0.1", "stranger"], "is signed by an unknown CA"),
    ],
)
def test_the_certificate_of_the_server(
    files: Files, kind: Kind, names: list[str], said: str
) -> None:
    signer = files.stranger if "stranger" in names else files.authority
    not_after = LONG_AGO if "expired" in names else None
    certificate = signer.issue_cert(names[0], not_before=LONG_AGO, not_after=not_after)
    with serving(over_tls(files.server(certificate, needs_client=False))) as address:
        cause = why_no_answer(address, files.client(), TIMEOUT_S)
    assert cause is not None
    assert cause.kind is kind
    assert f"the certificate of {address} {said}" in cause.text


def test_the_certificate_of_the_client(files: Files) -> None:
    context = files.server(files.authority.issue_cert("127.0.0.1"), needs_client=True)
    with serving(over_tls(context)) as address:
        for signer, kind in (
            (None, Kind.CLIENT_CERTIFICATE_MISSING),
            (files.stranger, Kind.CLIENT_CERTIFICATE_REFUSED),
        ):
            cause = why_no_answer(address, files.client(signer=signer), TIMEOUT_S)
            assert cause is not None
            assert cause.kind is kind, cause.text
            assert str(address) in cause.text


def test_versions_that_do_not_meet(files: Files) -> None:
    context = files.server(files.authority.issue_cert("127.0.0.1"), needs_client=False)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    # A suite without certificates, which no client offers by default.
    context.set_ciphers("PSK-AES128-CBC-SHA")
    with serving(over_tls(context)) as address:
        cause = why_no_answer(address, files.client(signer=files.authority), TIMEOUT_S)
    assert cause == (Kind.TLS_VERSION, f"{address} ends the TLS handshake (handshake failure)")


def test_plain_text_on_a_port_with_tls_and_the_other_way(files: Files) -> None:
    context = files.server(files.authority.issue_cert("127.0.0.1"), needs_client=True)
    with serving(over_tls(context)) as address:
        cause = why_no_answer(address, None, TIMEOUT_S)
    assert cause == (
        Kind.TLS_MISSING,
        f"{address} serves TLS, but the client uses plain text",
    )
    with serving(answer_word) as address:
        cause = why_no_answer(address, files.client(), TIMEOUT_S)
    assert cause == (
        Kind.TLS_NOT_SERVED,
        f"{address} serves plain text, but the client uses TLS",
    )


def test_what_may_be_better_soon_is_not_final() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = Address(*listening.getsockname())
    cause = why_no_answer(address, None, TIMEOUT_S)
    assert cause == (Kind.UNREACHABLE, f"{address}: Connection refused")
    assert not cause.is_final
    with serving(lambda _: None) as address:
        cause = why_no_answer(address, None, TIMEOUT_S)
    assert cause == (Kind.SILENT, f"{address} accepts connections but does not answer")
    assert not cause.is_final


def test_files_that_are_no_certificates(files: Files, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("garbage")
    with serving(answer_word) as address:
        for tls in (TlsFiles(broken), files.client()._replace(cert=broken)):
            cause = why_no_answer(address, tls, TIMEOUT_S)
            assert cause is not None
            assert cause.kind is Kind.TLS_FILES


def test_host_names_that_do_not_resolve_are_named() -> None:
    cause = why_no_answer(Address(NO_NAME, 2181), None, TIMEOUT_S)
    assert cause is not None
    assert cause.kind is Kind.NAME
    assert f"the host name '{NO_NAME}' cannot be resolved: " in cause.text
    for hosts in (NO_NAME, f"{NO_NAME}:1,b{NO_NAME}:2"):
        reason = unresolved(parse_servers(hosts))
        assert reason is not None
        assert reason.count("cannot be resolved") == hosts.count(",") + 1
    assert unresolved(parse_servers(f"{NO_NAME},127.0.0.1")) is None
    assert unresolved(parse_servers(f"{'x' * 70}.example.org")) is not None


def test_of_several_servers_the_one_that_answers_counts_or_the_final_cause() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        refused = Address(*listening.getsockname())
    with serving(answer_word) as address:
        assert why_no_session(Servers((refused, address)), None, TIMEOUT_S) is None
    cause = why_no_session(Servers((refused, Address(NO_NAME, 1))), None, TIMEOUT_S)
    assert cause is not None
    assert cause.kind is Kind.NAME
