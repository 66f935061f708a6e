"""Who may use the admin endpoint and the metrics: the file of users, and their passwords.

Only a server with such a file imports this module: the hashes of passwords load OpenSSL.

A line of the file is ``ROLE password NAME HASH`` or ``ROLE certificate SUBJECT``. ``zoolet
admin-user`` prints a line with a HASH (`zoolet.passwords.hashes`). Invariant: neither messages nor
representations contain a password or a hash.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from zoolet.passwords.hashes import PasswordHash, parse_hash
from zoolet.passwords.secret_files import SecretFileError, read_secret_file
from zoolet.server.common.errors import ServerError
from zoolet.server.operator.roles import ROLES, Role

_LIMIT_BYTES: Final = 1 << 20


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
        file = read_secret_file(path, _LIMIT_BYTES)
        text = file.text()
    except SecretFileError as error:
        raise ServerError(
            f"zoolet.admin.usersFile: {error}. Name a file with the lines of zoolet admin-user."
        ) from None
    file.warn()
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
    try:
        return parse_hash(text)
    except ValueError:
        raise ServerError(
            f"zoolet.admin.usersFile: {path}:{number}: the hash of the password is not valid:"
            " replace the line by the one that zoolet admin-user NAME prints."
        ) from None
