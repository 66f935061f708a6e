"""The settings of a connection to ZooKeeper: servers, timeouts, TLS and login.

All programs that connect use this module: the shell, ``zoolet jobs``, ``zoolet worker``, and
programs of users. Invariant: no repr and no message shows a credential. Imports ``model``. This
module does not read environment variables.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

from zoolet.client.connecting.kerberos_options import parse_kerberos
from zoolet.client.connecting.options import (
    CONNECT_TIMEOUT_MS,
    DEFAULT_HOSTS,
    KERBEROS,
    SASL,
    SESSION_TIMEOUT_MS,
    Credential,
)
from zoolet.client.connecting.servers import Servers, parse_servers
from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.model import paths

TIMEOUT_LIMIT_MS: Final = 2**31 - 1
"""The largest timeout: the protocol has a signed 32-bit integer for the session timeout."""

SERVER_VARIABLE: Final = "ZOOLET_SERVER"
AUTH_VARIABLE: Final = "ZOOLET_AUTH"
TLS_CA_VARIABLE: Final = "ZOOLET_TLS_CA"
TLS_CERT_VARIABLE: Final = "ZOOLET_TLS_CERT"
TLS_KEY_VARIABLE: Final = "ZOOLET_TLS_KEY"
"""The environment variables that programs read instead of options. ``ps`` does not show them."""


class SettingsError(ValueError):
    """Settings of a connection are invalid; the message explains the correct form."""


def parse_credential(text: str) -> Credential:
    """Parse ``SCHEME:SECRET``.

    Raises:
        SettingsError: the text does not have this form; the message does not show the secret.
    """
    scheme, colon, secret = text.partition(":")
    if not scheme or not colon or not scheme.isidentifier():
        raise SettingsError("a login must have the form SCHEME:SECRET, like digest:user:password")
    if scheme == SASL and ":" not in secret:
        raise SettingsError("a login with SASL must have the form sasl:NAME:PASSWORD")
    if scheme == KERBEROS:
        try:
            parse_kerberos(secret)
        except ValueError as error:
            raise SettingsError(str(error)) from None
    return Credential(scheme, secret)


def tls_files(ca: Path | None, cert: Path | None, key: Path | None) -> TlsFiles | None:
    """Return the TLS files of a client; None if all arguments are None.

    Raises:
        SettingsError: a file is given without another file that it needs, or cannot be read.
    """
    if ca is None:
        if cert is not None or key is not None:
            raise SettingsError(
                "--tls-cert and --tls-key need --tls-ca; without it, the connection is not"
                " encrypted"
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
    """The settings of a connection to ZooKeeper.

    Attributes:
        hosts: the servers, ``HOST:PORT[,HOST:PORT...][/PATH]``; the path is the client's chroot.
        session_timeout_ms: the session timeout that the client requests.
        connect_timeout_ms: the longest wait for a session.
        auth: the credentials for the login.
        tls: the files for TLS; None for a connection without encryption.
        takes_read_only_server: whether the client accepts a read-only server, which has no
            connection to the majority of its ensemble.
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
                raise SettingsError(f"{name} must be 1 to {TIMEOUT_LIMIT_MS}")

    @property
    def servers(self) -> Servers:
        """The servers and the chroot.

        Raises:
            AddressError: ``hosts`` does not have the form HOST:PORT[,...][/PATH].
        """
        return parse_servers(self.hosts)

    @property
    def connect_timeout_s(self) -> float:
        """``connect_timeout_ms`` in seconds."""
        return self.connect_timeout_ms / 1000

    def moving_chroot(self, root: str) -> tuple[Self, str]:
        """Return these settings without the chroot, and ``root`` with the chroot before it.

        With kazoo, a chroot must exist before the client uses it, but a queue creates its own root.

        Raises:
            AddressError: see ``servers``.
        """
        servers = self.servers
        if servers.chroot:
            root = servers.chroot if root == paths.ROOT else servers.chroot + root
        return replace(self, hosts=servers.hosts), root
