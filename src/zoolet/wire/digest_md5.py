"""The SASL mechanism DIGEST-MD5, both sides: a user proves a password without sending it.

Source: RFC 2831, with the quality of protection ``auth`` and the algorithm ``md5-sess``, which are
the ones that Apache ZooKeeper uses. Only initial authentication is supported.

Invariants: tokens of the other side raise DigestError, and no other error. Proofs are compared in
constant time. The module chooses no random numbers: the caller passes the nonces.
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Final, NamedTuple, final

MAX_CHALLENGE_BYTES: Final = 2048
MAX_RESPONSE_BYTES: Final = 4096
"""Longer tokens are refused, as RFC 2831 requires."""

_NONCE_COUNT: Final = b"00000001"
_QOP: Final = b"auth"
_ALGORITHM: Final = b"md5-sess"
_UTF_8: Final = b"utf-8"
_BLANKS: Final = b" \t\r\n"
_COMMA: Final = 0x2C
_EQUALS: Final = 0x3D
_QUOTE: Final = 0x22
_BACKSLASH: Final = 0x5C
_REPEATABLE: Final = frozenset({"realm", "auth-param"})
_NAME: Final = re.compile(rb"[A-Za-z0-9_-]+")


class DigestError(ValueError):
    """A token is malformed, or the other side has not proven that it knows the password."""


class EmptyNameError(DigestError):
    """The user name is empty. OpenJDK cannot handle it, so Apache closes the connection."""


class _Proof(NamedTuple):
    """What both sides hash; all values without quotes."""

    secret: bytes
    nonce: bytes
    cnonce: bytes
    authzid: bytes | None
    digest_uri: bytes

    def response(self) -> bytes:
        """Return the proof of the client."""
        return self._hash(b"AUTHENTICATE:" + self.digest_uri)

    def answer(self) -> bytes:
        """Return the proof of the server."""
        return self._hash(b":" + self.digest_uri)

    def _hash(self, request: bytes) -> bytes:
        session = [self.secret, self.nonce, self.cnonce]
        if self.authzid is not None:
            session.append(self.authzid)
        parts = [
            _hex(b":".join(session)),
            self.nonce,
            _NONCE_COUNT,
            self.cnonce,
            _QOP,
            _hex(request),
        ]
        return _hex(b":".join(parts))


@final
class DigestClient:
    """The side that has a user name and a password."""

    def __init__(self, username: str, password: str, service: str, host: str, cnonce: str) -> None:
        """Begin one authentication.

        Args:
            username: the user name.
            password: the password.
            service: the name of the service, for example ``zookeeper-quorum``.
            host: the name of the server's host; Apache ZooKeeper uses a fixed text.
            cnonce: a random text, which must be used only once.
        """
        self._username = username
        self._password = password
        self._digest_uri = f"{service}/{host}".encode()
        self._cnonce = cnonce.encode()
        self._expected: bytes | None = None

    def respond(self, challenge: bytes) -> bytes:
        """Return the response to a challenge; raises DigestError.

        If the challenge offers several realms, the first one is used.
        """
        found = _directives(challenge, MAX_CHALLENGE_BYTES)
        nonce = _required(found, "nonce")
        if found.get("algorithm", [b""])[0].lower() != _ALGORITHM:
            raise DigestError("the server does not offer the algorithm md5-sess")
        offered = b",".join(found.get("qop", [_QOP])).lower().split(b",")
        if _QOP not in [option.strip() for option in offered]:
            raise DigestError("the server does not offer the quality of protection auth")
        is_utf_8 = found.get("charset", [b""])[0].lower() == _UTF_8
        realm = _text(found.get("realm", [b""])[0], is_utf_8=is_utf_8)
        secret = _secret_of(self._username, realm, self._password, is_utf_8=is_utf_8)
        proof = _Proof(secret, nonce, self._cnonce, None, self._digest_uri)
        self._expected = proof.answer()
        parts = [b"charset=utf-8"] if is_utf_8 else []
        parts += [
            b"username=" + _quoted(_bytes_of(self._username, is_utf_8=is_utf_8)),
            b"realm=" + _quoted(_bytes_of(realm, is_utf_8=is_utf_8)),
            b"nonce=" + _quoted(nonce),
            b"nc=" + _NONCE_COUNT,
            b"cnonce=" + _quoted(self._cnonce),
            b"digest-uri=" + _quoted(self._digest_uri),
            b"response=" + proof.response(),
            b"qop=" + _QOP,
        ]
        return b",".join(parts)

    def check(self, answer: bytes) -> None:
        """Check the server's answer to the response.

        Raises DigestError if the server has not proven that it knows the password.
        """
        proof = _required(_directives(answer, MAX_CHALLENGE_BYTES), "rspauth")
        if self._expected is None or not hmac.compare_digest(proof, self._expected):
            raise DigestError("the server has not proven that it knows the password")


@final
class DigestServer:
    """The side that knows the passwords of all users."""

    def __init__(
        self,
        realm: str,
        service: str,
        host: str,
        nonce: str,
        secret_of: Callable[[str], str | bytes | None],
    ) -> None:
        """Begin one authentication.

        Args:
            realm: the realm of the user names.
            service: the name of the service, for example ``zookeeper-quorum``.
            host: the name of the host that clients use; Apache ZooKeeper uses a fixed text.
            nonce: a random text, which must be used only once.
            secret_of: returns the password of a user, or MD5 over ``user:realm:password`` (16
                bytes); None if the user does not exist.
        """
        self._realm = realm
        self._digest_uri = f"{service}/{host}".encode()
        self._nonce = nonce.encode()
        self._find_secret = secret_of

    def challenge(self) -> bytes:
        """Return the first token of the server, in the form of OpenJDK: without ``qop``."""
        parts = [
            b"realm=" + _quoted(self._realm.encode()),
            b"nonce=" + _quoted(self._nonce),
            b"charset=utf-8",
            b"algorithm=md5-sess",
        ]
        return b",".join(parts)

    def accept(self, response: bytes) -> tuple[str, bytes]:
        """Return the user name and the last token for the client.

        Raises DigestError if the client has not proven that it knows the user's password.
        """
        found = _directives(response, MAX_RESPONSE_BYTES)
        is_utf_8 = found.get("charset", [b""])[0].lower() == _UTF_8
        username = _text(_required(found, "username"), is_utf_8=is_utf_8)
        realm = _text(found.get("realm", [b""])[0], is_utf_8=is_utf_8)
        self._check_fixed_values(found, realm)
        if not username:
            raise EmptyNameError("the user name is empty")
        authzid = found["authzid"][0] if "authzid" in found else None
        if authzid is not None and _text(authzid, is_utf_8=True) != username:
            raise DigestError("a user must not act for another user")
        known = self._find_secret(username)
        if isinstance(known, bytes):
            secret = known
        else:
            secret = _secret_of(username, realm, known or "", is_utf_8=is_utf_8)
        cnonce = _required(found, "cnonce")
        proof = _Proof(secret, self._nonce, cnonce, authzid, _required(found, "digest-uri"))
        is_proven = hmac.compare_digest(_required(found, "response"), proof.response())
        if known is None or not is_proven:
            raise DigestError("the user name or the password is wrong")
        return username, b"rspauth=" + proof.answer()

    def _check_fixed_values(self, found: dict[str, list[bytes]], realm: str) -> None:
        """Check the values that the client must repeat."""
        if not hmac.compare_digest(_required(found, "nonce"), self._nonce):
            raise DigestError("the nonce is not the one of the challenge")
        if _required(found, "nc") != _NONCE_COUNT:
            raise DigestError("the nonce may be used only once")
        if found.get("qop", [_QOP])[0].lower() != _QOP:
            raise DigestError("the quality of protection must be auth")
        if realm != self._realm:
            raise DigestError("the realm is not the one of the challenge")
        if _required(found, "digest-uri").lower() != self._digest_uri.lower():
            raise DigestError("the digest-uri names another service")


def _directives(token: bytes, max_bytes: int) -> dict[str, list[bytes]]:
    """Return the values of a token by name; values in quotes are returned without them."""
    if len(token) > max_bytes:
        raise DigestError(f"a token of {len(token)} bytes; the limit is {max_bytes}")
    found: dict[str, list[bytes]] = {}
    position = _after_separators(token, 0)
    while position < len(token):
        end = token.find(b"=", position)
        if end < 0:
            raise DigestError("a directive has no value")
        encoded_name = token[position:end].strip(_BLANKS)
        if _NAME.fullmatch(encoded_name) is None:
            raise DigestError("a directive has no value, or its name has a wrong character")
        name = encoded_name.decode("ascii").lower()
        value, position = _value_at(token, end + 1)
        values = found.setdefault(name, [])
        if values and name not in _REPEATABLE:
            raise DigestError(f"the directive {name!r} is there twice")
        values.append(value)
        end = _after_blanks(token, position)
        if end < len(token) and token[end] != _COMMA:
            raise DigestError("two directives need a comma between them")
        position = _after_separators(token, position)
    return found


def _value_at(token: bytes, position: int) -> tuple[bytes, int]:
    """Return the value that begins at or after the position, and the position after the value."""
    position = _after_blanks(token, position)
    if position < len(token) and token[position] == _QUOTE:
        return _quoted_value_at(token, position + 1)
    end = position
    while end < len(token) and token[end] != _COMMA and token[end] not in _BLANKS:
        if token[end] in (_QUOTE, _EQUALS):
            raise DigestError("a value with this character must be in quotes")
        end += 1
    return token[position:end], end


def _quoted_value_at(token: bytes, position: int) -> tuple[bytes, int]:
    value = bytearray()
    while position < len(token):
        if token[position] == _QUOTE:
            return bytes(value), position + 1
        if token[position] == _BACKSLASH:
            position += 1
            if position == len(token):
                break
        value.append(token[position])
        position += 1
    raise DigestError("a value in quotes has no end")


def _after_blanks(token: bytes, position: int) -> int:
    while position < len(token) and token[position] in _BLANKS:
        position += 1
    return position


def _after_separators(token: bytes, position: int) -> int:
    while position < len(token) and (token[position] in _BLANKS or token[position] == _COMMA):
        position += 1
    return position


def _quoted(value: bytes) -> bytes:
    """Return a value in quotes; quotes and backslashes in it get a backslash."""
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _required(found: dict[str, list[bytes]], name: str) -> bytes:
    if name not in found:
        raise DigestError(f"the directive {name!r} is missing")
    return found[name][0]


def _text(value: bytes, *, is_utf_8: bool) -> str:
    try:
        return value.decode("utf-8" if is_utf_8 else "latin-1")
    except UnicodeDecodeError as error:
        raise DigestError("a text is not UTF-8") from error


def _bytes_of(text: str, *, is_utf_8: bool) -> bytes:
    try:
        return text.encode("utf-8" if is_utf_8 else "latin-1")
    except UnicodeEncodeError as error:
        raise DigestError("the server supports only the characters of ISO 8859-1") from error


def _secret_of(username: str, realm: str, password: str, *, is_utf_8: bool) -> bytes:
    """Return the hash of the user and the password."""
    texts = (username, realm, password)
    return _md5(b":".join([_hashed_bytes_of(text, is_utf_8=is_utf_8) for text in texts]))


def _hashed_bytes_of(text: str, *, is_utf_8: bool) -> bytes:
    """Return the bytes of a text in the hash: ISO 8859-1 if it has all the characters."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return _bytes_of(text, is_utf_8=is_utf_8)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _hex(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()
