"""Salted hashes of passwords with scrypt (RFC 7914), as files of users have them.

Invariant: neither messages nor representations contain a password or a hash, except ``str`` of a
hash. This module imports nothing of zoolet.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final, NamedTuple

_ALGORITHM: Final = "scrypt"
_COST, _BLOCK, _PARALLEL = 1 << 14, 8, 5
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
_MOST_MEMORY_BYTES: Final = 64 << 20
_MOST_PARALLEL: Final = 16


class PasswordHash(NamedTuple):
    """A salted hash with scrypt, which is slow to compute."""

    cost: int
    block: int
    parallel: int
    salt: bytes
    digest: bytes

    def __repr__(self) -> str:
        """Return nothing of the hash."""
        return "PasswordHash()"

    def __str__(self) -> str:
        """Return the text for a file of users."""
        parts = (self.cost, self.block, self.parallel, _text(self.salt), _text(self.digest))
        return ":".join([_ALGORITHM, *map(str, parts)])

    def matches(self, password: str) -> bool:
        """Return whether a password has this hash; the time does not depend on the password."""
        found = _scrypt(password, self.cost, self.block, self.parallel, self.salt)
        return hmac.compare_digest(found, self.digest)


def hash_of(password: str) -> PasswordHash:
    """Return a new hash of a password."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = _scrypt(password, _COST, _BLOCK, _PARALLEL, salt)
    return PasswordHash(_COST, _BLOCK, _PARALLEL, salt, digest)


NOBODYS_HASH: Final = PasswordHash(_COST, _BLOCK, _PARALLEL, bytes(_SALT_BYTES), bytes(_HASH_BYTES))
"""A hash that no password has: checking it takes as long as checking a user's password."""


def parse_hash(text: str) -> PasswordHash:
    """Return the hash that a file has as text.

    Raises:
        ValueError: the text is not a hash, or its computation would take too much memory.
    """
    parts = text.split(":")
    try:
        algorithm, cost, block, parallel, salt, digest = parts
        found = PasswordHash(int(cost), int(block), int(parallel), _bytes(salt), _bytes(digest))
    except (ValueError, binascii.Error):
        algorithm = ""
        found = NOBODYS_HASH
    if (
        algorithm != _ALGORITHM
        or found.cost < 2
        or found.cost & (found.cost - 1)
        or found.block < 1
        or found.cost.bit_length() > 16 * found.block  # RFC 7914, section 2
        or not 1 <= found.parallel <= _MOST_PARALLEL
        or 128 * found.cost * found.block > _MOST_MEMORY_BYTES // 2
        or len(found.salt) < _SALT_BYTES
        or len(found.digest) != _HASH_BYTES
    ):
        raise ValueError("the hash of the password is not valid")
    return found


def _scrypt(password: str, cost: int, block: int, parallel: int, salt: bytes) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=cost,
        r=block,
        p=parallel,
        maxmem=_MOST_MEMORY_BYTES,
        dklen=_HASH_BYTES,
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
