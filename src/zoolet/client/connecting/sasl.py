"""Authentication of a client with SASL, with the mechanism DIGEST-MD5.

Source: ``ZooKeeperSaslClient`` of Apache ZooKeeper. This module imports hashlib and secrets, so the
clients import it only if they log in with SASL. Imports ``model``, ``wire`` and the client's
protocol.
"""

import secrets
from pathlib import Path
from typing import Final, final

from zoolet.client.protocol.logins import SaslRefusedError
from zoolet.model.jaas import JaasError, parse_jaas
from zoolet.wire.digest_md5 import DigestClient, DigestError

SERVICE: Final = "zookeeper"
HOST: Final = "zk-sasl-md5"
"""The host in the digest-uri, the same for all servers (``ZooKeeperSaslServer``)."""
DIGEST_MODULE: Final = "org.apache.zookeeper.server.auth.DigestLoginModule"
_NONCE_BYTES: Final = 30


@final
class DigestExchange:
    """An authentication with DIGEST-MD5; ``user`` is ``NAME:PASSWORD``."""

    def __init__(self, user: str) -> None:
        name, _, password = user.partition(":")
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        self._client = DigestClient(name, password, SERVICE, HOST, nonce)
        self._has_responded = False

    def begin(self) -> bytes:
        """Return the first token, which is empty."""
        return b""

    def answer(self, token: bytes | None) -> bytes | None:
        """Return the response to the challenge, and None for a valid proof of the server."""
        if token is None:
            raise SaslRefusedError(
                "the server has no users of SASL, or the user name or the password is wrong"
            )
        try:
            if not self._has_responded:
                self._has_responded = True
                return self._client.respond(token)
            self._client.check(token)
        except DigestError as error:
            raise SaslRefusedError(str(error)) from None
        return None


class LoginFileError(ValueError):
    """A JAAS file has no login for a client; the message says why, and shows no password."""


def login_in_jaas(path: Path, section: str) -> str:
    """Return ``NAME:PASSWORD`` of a section in a JAAS file.

    Raises:
        LoginFileError: the file cannot be read, or the section has no login with DIGEST-MD5.
    """
    try:
        sections = parse_jaas(path.read_text())
    except OSError as error:
        raise LoginFileError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LoginFileError(f"{path} is not UTF-8") from None
    except JaasError as error:
        raise LoginFileError(f"{path}: {error}") from None
    for module in sections.get(section, ()):
        options = module.options
        if module.class_name == DIGEST_MODULE and {"username", "password"} <= options.keys():
            if ":" in options["username"]:
                raise LoginFileError(f"{path}: a user name must not have a colon")
            return f"{options['username']}:{options['password']}"
    raise LoginFileError(
        f"{path} has no section {section} with {DIGEST_MODULE}, username and password; its sections"
        f" are: {', '.join(sorted(sections)) or 'none'}"
    )
