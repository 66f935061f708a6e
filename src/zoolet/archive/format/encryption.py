"""The encryption of objects: AES-256-GCM for each chunk, with a key of its own for each object.

The key of an object is derived (HKDF with SHA-256) from the key of the archive and the random salt
in the object's header. So no nonce is used twice with the same key. The nonce of a chunk is its
number and whether it is the last one: moved, missing and additional chunks are found. The header is
the associated data, so it is authenticated too.

The package cryptography is imported only if a key is used.
"""

import os
from typing import Final, NamedTuple

KEY_BYTES: Final = 32
SALT_BYTES: Final = 16
_NUMBER_BYTES: Final = 11
_PURPOSE: Final = b"zoolet archive object"


class Key(NamedTuple):
    """The key of an archive; ``id`` names it and is not secret."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        """Return the id without the secret."""
        return f"Key({self.id!r})"


def new_salt() -> bytes:
    """Return the salt for a new object."""
    return os.urandom(SALT_BYTES)


class WrongKeyError(Exception):
    """A chunk was encrypted with another key, or it was changed."""


class ChunkCipher:
    """Encrypts and decrypts the chunks of one object."""

    def __init__(self, key: Key, salt: bytes, header: bytes) -> None:
        """Derive the key of the object; ``header`` has the bytes of the object's header."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 -- see above
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

        derived = HKDF(SHA256(), KEY_BYTES, salt, _PURPOSE).derive(key.secret)
        self._cipher = AESGCM(derived)
        self._header = header

    def encrypt(self, number: int, data: bytes, *, is_last: bool) -> bytes:
        """Return the encrypted chunk."""
        return self._cipher.encrypt(_nonce(number, is_last=is_last), data, self._header)

    def decrypt(self, number: int, data: bytes, *, is_last: bool) -> bytes:
        """Return the chunk; raises WrongKeyError."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 -- see above

        try:
            return self._cipher.decrypt(_nonce(number, is_last=is_last), data, self._header)
        except InvalidTag:
            raise WrongKeyError from None


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(_NUMBER_BYTES) + bytes([is_last])
