"""Authentication of a client with SASL, with the mechanism DIGEST-MD5.

Source: ``ZooKeeperSaslClient`` of Apache ZooKeeper. This module imports hashlib and secrets, so the
clients import it only if they log in with SASL. Imports ``model``, ``wire`` and the client's
protocol.
"""

import secrets
from typing import Final, final

from zoolet.client.protocol.logins import SaslRefusedError
from zoolet.wire.digest_md5 import DigestClient, DigestError

SERVICE: Final = "zookeeper"
HOST: Final = "zk-sasl-md5"
"""The host in the digest-uri, the same for all servers (``ZooKeeperSaslServer``)."""
_NONCE_BYTES: Final = 30


@final
class DigestExchange:
    """An authentication with DIGEST-MD5; ``user`` is ``NAME:PASSWORD``.

    Attributes:
        refusal: what is wrong if the server refuses the authentication.
    """

    refusal = "the user name or the password is wrong"

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
