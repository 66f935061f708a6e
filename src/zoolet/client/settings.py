"""How a client reaches ZooKeeper: servers, timeouts, TLS and login, as one frozen object.

All programs that connect share it: the shell, ``zoolet jobs``, ``zoolet worker``, and programs of
users. What holds: no text of it shows a credential. Imports ``model``, and reads no environment.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from zoolet.client.diagnosis import TlsFiles
from zoolet.model import paths
from zoolet.model.addresses import Servers, parse_servers

DEFAULT_HOSTS: Final = "127.0.0.1:2181"
SESSION_TIMEOUT_MS: Final = 10_000
CONNECT_TIMEOUT_MS: Final = 10_000
TIMEOUT_LIMIT_MS: Final = 2**31 - 1
"""The protocol has 32 bits for a session timeout."""

SERVER_VARIABLE: Final = "ZOOLET_SERVER"
AUTH_VARIABLE: Final = "ZOOLET_AUTH"
TLS_CA_VARIABLE: Final = "ZOOLET_TLS_CA"
TLS_CERT_VARIABLE: Final = "ZOOLET_TLS_CERT"
TLS_KEY_VARIABLE: Final = "ZOOLET_TLS_KEY"
"""The environment variables that programs read for their options. ``ps`` does not show them."""


class SettingsError(ValueError):
    """The settings of a connection contradict each other; the message says what to write."""


class Credential(NamedTuple):
    """What a client logs in with: ``digest`` and ``user:password``, for example."""

    scheme: str
    secret: str

    def __repr__(self) -> str:
        return f"Credential({self.scheme!r}, ...)"


def parse_credential(text: str) -> Credential:
    """Return the credential of ``SCHEME:SECRET``; raises SettingsError, which does not show it."""
    scheme, colon, secret = text.partition(":")
    if not scheme or not colon or not scheme.isidentifier():
        raise SettingsError("a login is written SCHEME:SECRET, like digest:user:password")
    if scheme == "sasl":
        raise SettingsError("the scheme sasl is not supported; use digest:user:password, or TLS")
    return Credential(scheme, secret)


def tls_files(ca: Path | None, cert: Path | None, key: Path | None) -> TlsFiles | None:
    """Return the files of a client that uses TLS, None without a CA.

    Raises:
        SettingsError: a file is given without the one that it needs, or cannot be read.
    """
    if ca is None:
        if cert is not None or key is not None:
            raise SettingsError(
                "--tls-cert and --tls-key need --tls-ca, without which nothing is encrypted"
            )
        return None
    if cert is None and key is not None:
        raise SettingsError("--tls-key needs --tls-cert")
    for path in (ca, cert, key):
        if path is not None:
            try:
                path.open("rb").close()
            except OSError as error:
                raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    return TlsFiles(ca, cert, key)


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How to connect to ZooKeeper.

    Attributes:
        hosts: the servers, ``HOST:PORT[,HOST:PORT...][/PATH]``; a path is taken as the root.
        session_timeout_ms: the session timeout that the client asks for.
        connect_timeout_ms: how long the client waits for a session.
        auth: what it logs in with.
        tls: the files for TLS; None: the connection is not encrypted.
        takes_read_only_server: whether a server that is cut off from its ensemble will do.
    """

    hosts: str = DEFAULT_HOSTS
    session_timeout_ms: int = SESSION_TIMEOUT_MS
    connect_timeout_ms: int = CONNECT_TIMEOUT_MS
    auth: tuple[Credential, ...] = field(default=(), repr=False)
    tls: TlsFiles | None = None
    takes_read_only_server: bool = False

    def __post_init__(self) -> None:
        for name in ("session_timeout_ms", "connect_timeout_ms"):
            if not 1 <= getattr(self, name) <= TIMEOUT_LIMIT_MS:
                raise SettingsError(f"{name} is not 1 to {TIMEOUT_LIMIT_MS}")

    @property
    def servers(self) -> Servers:
        """The servers and the chroot; raises AddressError."""
        return parse_servers(self.hosts)

    @property
    def connect_timeout_s(self) -> float:
        """``connect_timeout_ms`` in seconds."""
        return self.connect_timeout_ms / 1000

    def moving_chroot(self, root: str) -> tuple[Self, str]:
        """Return these settings without the chroot of their hosts, and the root behind it.

        kazoo wants a chroot to exist before it connects, and a queue creates its own root. Raises
        AddressError.
        """
        servers = self.servers
        if servers.chroot:
            root = servers.chroot if root == paths.ROOT else servers.chroot + root
        return replace(self, hosts=servers.hosts), root

    def for_kazoo(self) -> Mapping[str, Any]:
        """Return the arguments of a KazooClient; raises AddressError."""
        arguments: dict[str, Any] = {
            "hosts": str(self.servers),
            "timeout": self.session_timeout_ms / 1000,
            "read_only": self.takes_read_only_server,
            "auth_data": {tuple(credential) for credential in self.auth},
        }
        if self.tls is not None:
            arguments |= {"use_ssl": True, "ca": str(self.tls.ca), "check_hostname": True}
            if self.tls.cert is not None:
                key = self.tls.key or self.tls.cert
                arguments |= {"certfile": str(self.tls.cert), "keyfile": str(key)}
        return arguments
