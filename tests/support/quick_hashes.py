"""Hashes of passwords that are quick to check, for files of users in tests.

The programs read a hash with any cost. With the cost of new hashes, each login takes 0.14 s of
processor time, which the tests of passwords and of the commands that make hashes pay.
"""

import hashlib
import secrets

from zoolet.passwords.hashes import PasswordHash


def quick_hash(password: str) -> PasswordHash:
    """Return a hash with the lowest cost."""
    salt = secrets.token_bytes(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, n=2, r=1, p=1, dklen=32)
    return PasswordHash(2, 1, 1, salt, digest)
