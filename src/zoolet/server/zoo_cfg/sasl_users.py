"""The users who may log in with SASL's mechanism DIGEST-MD5, and where they are written.

Users come from zoo.cfg (``zoolet.saslPassword.NAME``), a file of users, and a JAAS file of
Apache ZooKeeper. If a name is in several places, zoo.cfg precedes the file, and the file precedes
the JAAS file. Source of the JAAS options: ``ServerCnxnFactory.getDigestMd5Credentials`` and
``SaslServerCallbackHandler`` of Apache ZooKeeper.

Invariant: neither messages nor representations of these classes contain a password.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from zoolet.model.jaas import JaasError, LoginModule, parse_jaas
from zoolet.passwords.secret_files import SecretFileError, read_secret_file

DIGEST_MODULE: Final = "org.apache.zookeeper.server.auth.DigestLoginModule"
KERBEROS_MODULE: Final = "com.sun.security.auth.module.Krb5LoginModule"
SUPER_USER: Final = "super"
_USER_OPTION: Final = "user_"
_HASH: Final = re.compile(r"\{MD5\}([0-9a-fA-F]{32})")
_LIMIT_BYTES: Final = 16 << 20

Secret = str | bytes
"""A password, or the 16 bytes of MD5 over ``user:realm:password``."""


class UsersError(ValueError):
    """The users cannot be read; the message names the file and says what to do."""


class UserSources(NamedTuple):
    """The places of users.

    Attributes:
        own: the users in zoo.cfg, by name.
        file: the file of users; None if there is none.
        jaas: the JAAS file; None if there is none.
        section: the section of the JAAS file.
        super_password: the password of the user ``super`` in place of the one in the JAAS file
            (``SASLAuthenticationProvider.superPassword``); "" if it is not set.
    """

    own: Mapping[str, str]
    file: Path | None
    jaas: Path | None
    section: str
    super_password: str

    def __repr__(self) -> str:
        """Return the places, without users and passwords."""
        return f"UserSources({self.file}, {self.jaas}, {self.section})"

    def modules(self) -> tuple[LoginModule, ...]:
        """Return the login modules in the section of the JAAS file. Raises UsersError."""
        return () if self.jaas is None else _modules(self.jaas, self.section)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that have users."""
        return tuple(path for path in (self.file, self.jaas) if path is not None)

    def read(self) -> dict[str, Secret]:
        """Return the secret of each user by name. Raises UsersError."""
        users: dict[str, Secret] = {}
        if self.jaas is not None:
            users |= _of_modules(self.jaas, self.section, self.modules())
        if self.file is not None:
            users |= _of_file(self.file)
        users |= self.own
        if self.super_password and SUPER_USER in users:
            users[SUPER_USER] = self.super_password
        return users


def _text_of(path: Path) -> str:
    try:
        file = read_secret_file(path, _LIMIT_BYTES)
        text = file.text()
    except SecretFileError as error:
        raise UsersError(str(error)) from None
    file.warn()
    return text


def _of_file(path: Path) -> dict[str, Secret]:
    """Return the users of a file with a line ``name:password`` for each user."""
    users: dict[str, Secret] = {}
    for number, line in enumerate(_text_of(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, secret = line.partition(":")
        if not (name and colon and secret):
            raise UsersError(
                f"{path}:{number}: a line is name:password or name:{{MD5}}HASH, where HASH is the"
                " MD5 of name:zk-sasl-md5:password in hexadecimal digits"
            )
        if name in users:
            raise UsersError(f"{path}:{number}: the user {name!r} is there twice")
        users[name] = _secret_of(secret)
    return users


def _secret_of(text: str) -> Secret:
    found = _HASH.fullmatch(text)
    return text if found is None else bytes.fromhex(found[1])


def _modules(path: Path, section: str) -> tuple[LoginModule, ...]:
    """Return the login modules in a section of a JAAS file."""
    try:
        sections = parse_jaas(_text_of(path))
    except JaasError as error:
        raise UsersError(f"{path}: {error}") from None
    if section not in sections:
        raise UsersError(
            f"{path} has no section {section}, only {', '.join(sorted(sections)) or 'none'}: add"
            " it, or set sasl.serverconfig to the name of the section"
        )
    return sections[section]


def _of_modules(path: Path, section: str, modules: tuple[LoginModule, ...]) -> dict[str, Secret]:
    """Return the users of login modules.

    As with Apache ZooKeeper, a section with Kerberos has no users of DIGEST-MD5.
    """
    users: dict[str, Secret] = {}
    if any(module.class_name == KERBEROS_MODULE for module in modules):
        return users
    for module in modules:
        users |= _of_module(path, section, module)
    return users


def _of_module(path: Path, section: str, module: LoginModule) -> dict[str, Secret]:
    if module.class_name != DIGEST_MODULE:
        raise UsersError(
            f"{path}: the section {section} has the Java class {module.class_name}; zoolet knows"
            f" only {DIGEST_MODULE} and {KERBEROS_MODULE}"
        )
    return {
        name.removeprefix(_USER_OPTION): _secret_of(value)
        for name, value in module.options.items()
        if name.startswith(_USER_OPTION)
    }
