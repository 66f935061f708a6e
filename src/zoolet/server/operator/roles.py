"""Who may use the admin endpoint and the metrics: the file of users, and their passwords.

A line of the file is ``ROLE password NAME HASH`` or ``ROLE certificate SUBJECT``. A HASH is made by
``hash_of`` (``zoolet admin-user`` prints such a line). Invariant: neither messages nor
representations contain a password or a hash.
"""

import base64
import binascii
import enum
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from zoolet.server.common.errors import ServerError

_ALGORITHM: Final = "scrypt"
_COST, _BLOCK, _PARALLEL = 1 << 14, 8, 5
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
_MOST_MEMORY_BYTES: Final = 64 << 20
_MOST_PARALLEL: Final = 16
_LIMIT_BYTES: Final = 1 << 20


class Role(enum.IntEnum):
    """What an operator may do; a greater role includes the smaller one."""

    READ_ONLY = 1
    FULL = 2


ROLES: Final = {"read-only": Role.READ_ONLY, "full": Role.FULL}
"""The roles by their names."""


class PasswordHash(NamedTuple):
    """A salted hash with scrypt (RFC 7914), which is slow to compute."""

    cost: int
    block: int
    parallel: int
    salt: bytes
    digest: bytes

    def __repr__(self) -> str:
        """Return nothing of the hash."""
        return "PasswordHash()"

    def __str__(self) -> str:
        """Return the text for the file of users."""
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


class Users(NamedTuple):
    """The users of a file.

    Attributes:
        passwords: the hash and the role of each user, by name.
        certificates: the role for each subject of a certificate.
    """

    passwords: Mapping[str, tuple[PasswordHash, Role]]
    certificates: Mapping[str, Role]


def read_users(path: Path) -> Users:
    """Return the users of a file; raises ServerError."""
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT_BYTES + 1)
        text = content.decode()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ServerError(
            f"zoolet.admin.usersFile: {path} cannot be read: {reason}. Correct the path or its"
            " permissions."
        ) from error
    except UnicodeDecodeError:
        raise ServerError(
            f"zoolet.admin.usersFile: {path} is not UTF-8. Save it as UTF-8."
        ) from None
    if len(content) > _LIMIT_BYTES:
        raise ServerError(
            f"zoolet.admin.usersFile: {path} is longer than {_LIMIT_BYTES >> 20} MiB. Name a file"
            " of operators."
        )
    passwords: dict[str, tuple[PasswordHash, Role]] = {}
    certificates: dict[str, Role] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        role, kind, who = _split(path, number, line)
        if kind == "certificate":
            known = who in certificates
            certificates[who] = role
        else:
            name, _, hashed = who.partition(" ")
            known = name in passwords
            passwords[name] = (_parsed(path, number, hashed), role)
        if known:
            raise ServerError(
                f"zoolet.admin.usersFile: {path}:{number}: the user is there twice. Remove one of"
                " the lines."
            )
    if not passwords and not certificates:
        raise ServerError(
            f"zoolet.admin.usersFile: {path} has no users: add the line that zoolet admin-user NAME"
            " prints."
        )
    return Users(passwords, certificates)


def _split(path: Path, number: int, line: str) -> tuple[Role, str, str]:
    words = line.strip().split(None, 2)
    if len(words) == 3 and words[0] in ROLES:
        kind, who = words[1], words[2]
        if kind == "certificate":
            return ROLES[words[0]], kind, who
        named = who.split()
        if kind == "password" and len(named) == 2 and ":" not in named[0]:
            return ROLES[words[0]], kind, " ".join(named)
    raise ServerError(
        f"zoolet.admin.usersFile: {path}:{number}: a line is ROLE password NAME HASH or ROLE"
        " certificate SUBJECT, where ROLE is read-only or full. zoolet admin-user NAME prints such"
        " a line."
    )


def _parsed(path: Path, number: int, text: str) -> PasswordHash:
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
        raise ServerError(
            f"zoolet.admin.usersFile: {path}:{number}: the hash of the password is not valid:"
            " replace the line by the one that zoolet admin-user NAME prints."
        )
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
