"""The users of the page: a file with the role and the password of each.

A line of the file is ``ROLE password NAME HASH`` or ``ROLE proxy NAME``: the second kind is a user
whom a trusted proxy names. ``zoolet web-user`` prints a line. Invariant: neither messages nor
representations contain a password or a hash.
"""

import enum
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from zoolet.passwords.file_stamps import Stamp, stamp_of
from zoolet.passwords.hashes import NOBODYS_HASH, PasswordHash, parse_hash
from zoolet.passwords.secret_files import SecretFileError, read_secret_file

log = logging.getLogger(__name__)

_LIMIT_BYTES: Final = 1 << 20


class UsersError(Exception):
    """The file of users cannot be used; the message says what to correct."""


class Role(enum.IntEnum):
    """What a user may do; a greater role includes the smaller one."""

    VIEWER = 1
    EDITOR = 2


ROLES: Final = {"viewer": Role.VIEWER, "editor": Role.EDITOR}
"""The roles by their names."""


class Users(NamedTuple):
    """The users of a file.

    Attributes:
        passwords: the hash and the role of each user with a password, by name.
        proxied: the role of each user whom a proxy names, by name.
    """

    passwords: Mapping[str, tuple[PasswordHash, Role]]
    proxied: Mapping[str, Role]


NO_USERS: Final = Users({}, {})


def read_users(path: Path) -> Users:
    """Return the users of a file.

    Raises:
        UsersError: the file cannot be read, or a line is wrong.
    """
    text = _read(path)
    passwords: dict[str, tuple[PasswordHash, Role]] = {}
    proxied: dict[str, Role] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split()
        place = f"--users-file: {path}:{number}"
        if len(words) < 3 or words[0] not in ROLES or len(words) != _LENGTHS.get(words[1]):
            raise UsersError(
                f"{place}: a line is ROLE password NAME HASH or ROLE proxy NAME, where ROLE is"
                " viewer or editor. zoolet web-user NAME prints such a line"
            )
        role, kind, name = ROLES[words[0]], words[1], words[2]
        if name in (passwords if kind == "password" else proxied):
            raise UsersError(f"{place}: the user is there twice")
        if kind == "proxy":
            proxied[name] = role
            continue
        try:
            passwords[name] = parse_hash(words[3]), role
        except ValueError as error:
            raise UsersError(
                f"{place}: {error}: replace the line by the one that zoolet web-user NAME prints"
            ) from None
    if not passwords and not proxied:
        raise UsersError(
            f"--users-file: {path} has no users: add the line that zoolet web-user NAME prints"
        )
    return Users(passwords, proxied)


def _read(path: Path) -> str:
    try:
        file = read_secret_file(path, _LIMIT_BYTES)
        text = file.text()
    except SecretFileError as error:
        raise UsersError(f"--users-file: {error}") from None
    file.warn()
    return text


_LENGTHS: Final = {"password": 4, "proxy": 3}
"""The number of words in a line of each kind."""


class UsersFile:
    """The users of a file that may change: a change counts from the next request on.

    If the changed file cannot be used, the users before the change stay, and the log says so.
    """

    def __init__(self, path: Path | None) -> None:
        """Read the file; None is a file without users.

        Raises:
            UsersError: the file cannot be used.
        """
        self._path = path
        self._stamp: Stamp = () if path is None else stamp_of([path])
        self._users = NO_USERS if path is None else read_users(path)

    def current(self) -> Users:
        """Return the users, from the file as it is now."""
        if self._path is not None and (stamp := stamp_of([self._path])) != self._stamp:
            self._stamp = stamp
            try:
                self._users = read_users(self._path)
            except UsersError as error:
                log.error("%s. The users before this change stay.", error)  # noqa: TRY400 -- no bug
        return self._users


def check_password(users: Users, name: str, password: str) -> bool:
    """Return whether a user has this password; slow, also for a name that no user has."""
    hashed, _ = users.passwords.get(name, (NOBODYS_HASH, Role.VIEWER))
    return hashed.matches(password)
