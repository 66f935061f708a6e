"""Clients and stores for tests of TLS."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import trustme

from tests.support.rawclient import RawClient
from tests.support.stores import key_store, trust_store

PASSWORD = "store secret"


class SecureClient(RawClient):
    """A raw client that uses TLS."""

    def __init__(self, port: int, authority: Path, own: Path) -> None:
        super().__init__(port)
        context = client_context(authority, own)
        try:
            self.socket: socket.socket = context.wrap_socket(
                self.socket, server_hostname="localhost"
            )
            self.connect(timeout_ms=40_000)
        except BaseException:
            self.socket.close()
            raise


def client_context(authority: Path, own: Path | None) -> ssl.SSLContext:
    """Return the context of a client that trusts an authority and shows its own certificate."""
    context = ssl.create_default_context(cafile=authority)
    if own is not None:
        context.load_cert_chain(own)
    return context


@contextlib.contextmanager
def connected(port: int, context: ssl.SSLContext | None) -> Iterator[socket.socket]:
    """Yield a connection without a session; with a context, it uses TLS."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        if context is None:
            yield plain
            return
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            yield secure


def word(port: int, name: str, context: ssl.SSLContext | None = None) -> bytes:
    """Return the answer to a four-letter word; with a context, over TLS."""
    with connected(port, context) as connection:
        connection.sendall(name.encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


class Stores:
    """Stores of a server in PKCS12, and PEM and PKCS12 files of a client.

    Attributes:
        settings: the settings of a server with these stores.
    """

    def __init__(self, directory: Path) -> None:
        self.ca = trustme.CA()
        self.directory = directory
        self.authority = directory / "authority.pem"
        self.ca.cert_pem.write_to_path(self.authority)
        (directory / "server.p12").write_bytes(
            key_store(self.ca.issue_cert("localhost", "127.0.0.1"), PASSWORD)
        )
        (directory / "trusted.p12").write_bytes(trust_store(PASSWORD, self.ca))
        (directory / "password").write_text(f"{PASSWORD}\n")
        self.client = self.issue("client")

    @property
    def settings(self) -> dict[str, object]:
        return {
            "ssl.keyStore.location": self.directory / "server.p12",
            "ssl.keyStore.passwordPath": self.directory / "password",
            "ssl.trustStore.location": self.directory / "trusted.p12",
            "ssl.trustStore.password": PASSWORD,
        }

    def issue(self, name: str, *identities: str) -> Path:
        """Write a client's key and certificate as NAME.pem and NAME.p12; return the PEM file."""
        issued = self.ca.issue_cert(*(identities or ("localhost", "127.0.0.1")), common_name=name)
        path = self.directory / f"{name}.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(path)
        path.with_suffix(".p12").write_bytes(key_store(issued, PASSWORD))
        return path
