"""One authentication with SASL: the tokens of a client in, the tokens of the server out.

Source: ``ZooKeeperSaslServer`` and ``SaslServerCallbackHandler`` of Apache ZooKeeper, and
``DigestMD5Server`` of OpenJDK.

Invariants: a token raises SaslError or NoReplyError, and no other error. Only an exchange
whose last token proved a password has an identity.
"""

import secrets
from typing import Final, Protocol

from zoolet.server.sasl.principals import NameRules, PrincipalError
from zoolet.server.sasl.users import Users
from zoolet.wire.digest_md5 import MAX_RESPONSE_BYTES, DigestError, DigestServer, EmptyNameError

SERVICE: Final = "zookeeper"
REALM: Final = "zk-sasl-md5"
"""The realm, and also the host in the digest-uri (``ZooKeeperSaslServer``)."""
_NONCE_BYTES: Final = 30


class SaslError(Exception):
    """The client has not authenticated; the message says why, for the log of the server."""


class NoReplyError(Exception):
    """The name of the user, or another part of the token, is empty or malformed.

    Apache ZooKeeper then closes the connection without a reply.
    """


class Exchange(Protocol):
    """One authentication."""

    @property
    def identity(self) -> str | None:
        """The name of the user, as ACLs contain it; None if the user is not authenticated."""

    def step(self, token: bytes) -> bytes | None:
        """Return the token for the client. Raises SaslError and NoReplyError."""


class DigestExchange:
    """An authentication with the mechanism DIGEST-MD5."""

    def __init__(self, users: Users, names: NameRules) -> None:
        self._server = DigestServer(
            REALM, SERVICE, REALM, secrets.token_urlsafe(_NONCE_BYTES), users.secret_of
        )
        self._names = names
        self._has_challenged = False
        self._has_ended = False
        self._identity: str | None = None

    @property
    def identity(self) -> str | None:
        """The name of the user, as ACLs contain it; None if the user is not authenticated."""
        return self._identity

    def step(self, token: bytes) -> bytes:
        """Return the challenge, or check the response and return the proof of the server.

        The content of the first token has no meaning.
        """
        if self._has_ended:
            raise SaslError("the authentication has ended already")
        if len(token) > MAX_RESPONSE_BYTES:
            raise SaslError(f"a token of {len(token)} bytes; the limit is {MAX_RESPONSE_BYTES}")
        if not self._has_challenged:
            self._has_challenged = True
            return self._server.challenge()
        self._has_ended = True
        try:
            user, answer = self._server.accept(token)
        except EmptyNameError as error:
            raise NoReplyError(str(error)) from None
        except DigestError as error:
            raise SaslError(str(error)) from None
        try:
            self._identity = self._names.name_of(user)
        except PrincipalError as error:
            raise NoReplyError(str(error)) from None
        return answer
