"""The settings of a zoo.cfg and of the command line, by key: their text, and their typed values.

Values are parsed as in Apache. A malformed number that Apache refuses is an error; a malformed
number that Apache ignores is ignored with a warning. The table in ``keys`` has each key's type,
range, default and the place where Apache reads it.

Invariants: ``asked`` has every key that was read. Only keys with ``Use.SAME`` or ``Use.OWN`` can
be read.
"""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple, TypeVar

from zoolet.model.addresses import EVERY_ADDRESS, AddressError, parse_host
from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.key import Flag, Key, Number, Source, Text, Use
from zoolet.server.zoo_cfg.keys import KEYS, find_key, similar_key
from zoolet.server.zoo_cfg.properties import (
    PropertiesError,
    as_java_reads,
    decode_properties,
    format_property,
    parse_properties,
    trim,
)
from zoolet.server.zoo_cfg.references import SecretError, is_reference, resolved

C = TypeVar("C", bound=Enum)

LARGEST_INT32 = (1 << 31) - 1
LARGEST_INT64 = (1 << 63) - 1

_PROPERTY_PREFIX = "zookeeper."
_SECRET = re.compile("digest$|password|passwd|secret", re.IGNORECASE)
_PATH_SUFFIX = "Path"
_SERVER = re.compile(r"server\.[0-9]+")
_OF_MEMBERS = "db.autocreate"
_DECIMAL = re.compile(r"[+-]?[0-9]+")
_JAVA_NUMBER = re.compile(r"([+-]?)(0[xX]|#|0(?=[0-9]))?([0-9a-fA-F]+)")
"""The numbers that Java's ``Integer.decode`` accepts; the prefix selects the base."""


class _Setting(NamedTuple):
    """A value, and its place: ``zoo.cfg:3``, or the option of the command line."""

    value: str
    place: str


class Settings:
    """The settings, by key.

    Attributes:
        path: the path of the zoo.cfg.
        asked: the names in the table of the keys that were read.
    """

    def __init__(
        self,
        path: Path,
        text: str,
        overrides: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Parse the text of a zoo.cfg and Java's system properties (``-Dname=value``) by name.

        As in Apache, a key in zoo.cfg replaces the property ``zookeeper.KEY``. ``environment`` has
        the environment variables for secrets that refer to them; None if no secret is needed
        (``references``). Raises ConfigError.
        """
        self.path = path
        self.asked: set[str] = set()
        self._warnings: list[str] = []
        self._settings: dict[str, _Setting] = {}
        self._read(text)
        for name, value in (overrides or {}).items():
            self._override(name, trim(value))
        self._check_keys()
        self._follow_references(environment)

    def _read(self, text: str) -> None:
        try:
            for key, value, line in parse_properties(text):
                if not key:
                    continue
                setting = _Setting(value, f"{self.path}:{line}")
                if key in self._settings:
                    before = self._settings[key].place
                    self.warn(
                        f"{setting.place}: {key} is set again; the value in {before} has no effect."
                    )
                self._settings[key] = setting
        except PropertiesError as error:
            raise ConfigError(f"{self.path}:{error.line}: {error.reason}.") from error

    def _override(self, name: str, value: str) -> None:
        place = f"-D{name}"
        key = name.removeprefix(_PROPERTY_PREFIX)
        found = find_key(key)
        is_bare = found is not None and found.source is Source.BARE_PROPERTY
        if is_bare and name == key:
            self._settings[key] = _Setting(value, place)
        elif found is None or is_bare or name == key:
            hint = ""
            if is_bare:
                hint = f" The property is -D{key}."
            elif (similar := key if found is not None else similar_key(key)) is not None:
                hint = f" Did you mean -D{_property_of(similar)}?"
            self.warn(f"{place} is not a setting of the server and is ignored.{hint}")
        elif found.source is Source.FILE:
            self.warn(
                f"{place} is ignored: as in Apache, {key} is read only in zoo.cfg. Set {key} there."
            )
        elif key in self._settings:
            self.warn(
                f"{place} is ignored: {self._settings[key].place} sets {key}, and zoo.cfg has"
                " precedence."
            )
        else:
            self._settings[key] = _Setting(value, place)

    def _check_keys(self) -> None:
        """Raise ConfigError for a refused key, and add a warning for each key without effect."""
        for name, (value, place) in self._settings.items():
            key = find_key(name)
            if key is None:
                similar = similar_key(name)
                hint = "" if similar is None else f" Did you mean {similar}?"
                self.warn(f"{place}: {name} is not a known key and is ignored.{hint}")
            elif key.use is Use.IGNORED:
                self.warn(f"{place}: {name} is ignored: {key.note}.")
            elif key.name == _OF_MEMBERS and self._names_an_ensemble():
                # Advice to remove the line would be wrong: a member needs it. For a server that
                # does not vote, it has no effect.
                self.warn(f"{place}: {name} is ignored: it is for members that vote.")
            elif key.use is Use.REFUSED and value.lower() not in key.harmless:
                shown = "..." if is_secret(name) else value
                raise self.error(
                    name, f"{name}={shown} is not supported: {key.note}. Remove the line"
                )

    def _follow_references(self, environment: Mapping[str, str] | None) -> None:
        """Replace references to secrets by the secrets; raises ConfigError."""
        for name, (value, place) in self._settings.items():
            key = find_key(name)
            if key is None or key.use not in {Use.SAME, Use.OWN} or not is_reference(value):
                continue
            if not is_secret(name) or name.endswith(_PATH_SUFFIX):
                raise self.error(
                    name,
                    f"{name} cannot refer to a file or a variable: only passwords and other secrets"
                    " can. Write the value itself",
                )
            try:
                self._settings[name] = _Setting(resolved(value, environment), place)
            except SecretError as error:
                raise self.error(name, f"{name}: {error}") from None

    def _names_an_ensemble(self) -> bool:
        """Return whether the file names several servers, or the file that names them."""
        servers = [name for name in self._settings if _SERVER.fullmatch(name)]
        return len(servers) > 1 or "dynamicConfigFile" in self._settings

    def ignore(self, name: str, reason: str) -> None:
        """Add a warning if a key is set that has no effect in the role of this server."""
        if self.is_set(name):
            self.warn(f"{self.place(name)}: {name} is ignored: {reason}.")

    def warn(self, message: str) -> None:
        """Add a line for a setting that has no effect, or another effect than expected."""
        self._warnings.append(message)

    # --- Values

    def text(self, name: str) -> str:
        """Return the text of a value, without blanks at its ends; the default if it is not set."""
        value = self._key(name).value
        if name in self._settings:
            return self._settings[name].value
        return value.default if isinstance(value, Text) else ""

    def _key(self, name: str) -> Key:
        key = find_key(name)
        if key is None or key.use not in {Use.SAME, Use.OWN}:
            raise LookupError(f"the table does not say that {name} is read")
        self.asked.add(key.name)
        return key

    def is_set(self, name: str) -> bool:
        """Return whether a key is set, also to an empty value."""
        self._key(name)
        return name in self._settings

    def matching(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield the name and the value of each setting that matches a key with ``*`` or ``N``."""
        stands_for = self._key(f"{name[:-1]}0")
        for key, setting in self._settings.items():
            if find_key(key) is stands_for:
                yield key, setting.value

    def flag(self, name: str) -> bool:
        """Return whether the value is ``true``; as in Java, every other value is false."""
        value = self._key(name).value
        if not isinstance(value, Flag):
            raise TypeError(f"the table does not say that {name} is true or false")
        if name not in self._settings:
            return value.default
        return self._settings[name].value.lower() == "true"

    def number(self, name: str) -> int:
        """Return a whole number.

        Raises ConfigError if the number is out of range, or is malformed and Apache refuses it.
        If the number is malformed and Apache ignores it, adds a warning and returns the default.
        """
        key = self._key(name)
        if not isinstance(key.value, Number):
            raise TypeError(f"the table does not say that {name} is a number")
        default, least, most, floor, is_long, _ = key.value
        if name not in self._settings:
            return default
        largest = LARGEST_INT64 if is_long else LARGEST_INT32
        value = self._settings[name].value
        is_strict = key.source is Source.FILE
        number = _decimal(value) if is_strict else _decoded(value)
        if not is_strict and (number is None or not -largest - 1 <= number <= largest):
            self.warn(
                f"{self._settings[name].place}: {name}={value} is not a whole number and is"
                f" ignored, as in Apache ZooKeeper: {name} is {default}."
            )
            return default
        least = -largest - 1 if least is None else least
        most = largest if most is None else most
        if number is None or not least <= number <= most:
            raise self.error(name, f"{name}={value} is not a whole number from {least} to {most}")
        return number if floor is None else max(floor, number)

    def choice(self, name: str, choices: type[C], *, is_strict: bool = True) -> C:
        """Return the member of an Enum whose value is given, in upper or lower case.

        Raises ConfigError for any other value. If ``is_strict`` is false, adds a warning instead
        and returns the first member.
        """
        members = list(choices)
        value = self.text(name)
        for member in members:
            if member.value == value.lower():
                return member
        known = ", ".join(repr(member.value) for member in members if member.value)
        message = f"{name}={value} is not one of {known}"
        if is_strict:
            raise self.error(name, message)
        self.warn(
            f"{self._settings[name].place}: {message} and is ignored, as in Apache ZooKeeper."
        )
        return members[0]

    def names(self, name: str) -> tuple[str, ...]:
        """Return the names in a comma-separated list, without repetitions."""
        listed = filter(None, map(trim, self.text(name).split(",")))
        return tuple(dict.fromkeys(listed))

    def address(self, name: str) -> str | None:
        """Return the host to listen on; None means all addresses, IPv4 and IPv6.

        Raises ConfigError if the value is neither a host name nor an address. Does not resolve
        the name.
        """
        value = self.text(name)
        if not value and not self.is_set(name):
            return None
        try:
            host = parse_host(value)
        except AddressError as error:
            raise self.error(
                name, f"{name}: {error}, or remove the line for all addresses"
            ) from error
        return None if host in EVERY_ADDRESS else host

    def directory(self, name: str) -> Path | None:
        """Return the path of a directory; None if it is not set.

        Raises ConfigError if Apache would use another directory, because Apache reads zoo.cfg as
        Latin-1.
        """
        value = self.text(name)
        if not value:
            return None
        path, java_path = Path(value), Path(as_java_reads(value))
        in_ascii = format_property(name, str(java_path)).strip()
        try:
            is_javas = java_path != path and java_path.exists() and not path.exists()
        except OSError as error:
            raise self.error(
                name, f"{name} cannot be looked at: {error.strerror}. Name another directory"
            ) from error
        if is_javas:
            raise self.error(
                name,
                f"{name} can be read in two ways. As UTF-8 it is {path}, which does not exist; as"
                f" Latin-1, as Apache ZooKeeper reads it, it is {java_path}, which exists. Write"
                f" the characters that are not ASCII as escapes: {in_ascii}",
            )
        return path

    def hash(self, name: str) -> str:
        """Return hashlib's name of a hash function, which may have Java's name in zoo.cfg."""
        value = self.text(name)
        found = value.lower().replace("sha-", "sha")
        if found == "sha1":  # the default; hashlib loads OpenSSL
            return found
        import hashlib  # noqa: PLC0415

        if found not in hashlib.algorithms_available or found.startswith("shake"):
            raise self.error(
                name, f"{value} is not a hash function that this Python supports: use SHA-256"
            )
        return found

    # --- For messages and operators

    def place(self, name: str) -> str:
        """Return the place of a key, ``zoo.cfg:3``; the path of zoo.cfg if the key is not set."""
        return self._settings[name].place if name in self._settings else str(self.path)

    def error(self, name: str, reason: str) -> ConfigError:
        """Return an error whose message begins with the place of a key."""
        return ConfigError(f"{self.place(name)}: {reason}.")

    def missing(self, name: str, meaning: str) -> ConfigError:
        """Return an error that says that a required key is not set."""
        return ConfigError(f"{self.path}: {name} is missing: add {name}=..., {meaning}.")

    def shown(self) -> dict[str, str]:
        """Return the settings that were read; the values of secrets are replaced.

        The value of an unknown key is replaced too: it may be a secret whose name has a mistake.
        """
        return {
            name: "(not shown)" if is_secret(name) or find_key(name) is None else setting.value
            for name, setting in self._settings.items()
        }

    def warnings(self) -> tuple[str, ...]:
        """Return a line for each setting that has no effect, or another effect than expected.

        The lines are complete only after every value has been read.
        """
        return tuple(self._warnings)

    def unasked(self) -> set[str]:
        """Return the keys that the server reads according to the table, but has not read yet."""
        read = {name for name, key in KEYS.items() if key.use in {Use.SAME, Use.OWN}}
        return read - self.asked


def is_secret(name: str) -> bool:
    """Return whether the value of a key must not be shown."""
    return _SECRET.search(name) is not None


def read_settings_text(path: Path) -> str:
    """Return the text of a zoo.cfg; raises ConfigError if it cannot be read."""
    try:
        return decode_properties(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(f"{path}: the file does not exist. Name a zoo.cfg.") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _property_of(key: str) -> str:
    found = find_key(key)
    is_bare = found is not None and found.source is Source.BARE_PROPERTY
    return key if is_bare else _PROPERTY_PREFIX + key


def _decimal(value: str) -> int | None:
    """Return a number that is parsed as in Java's ``Integer.parseInt``; None if malformed."""
    try:
        return int(value) if _DECIMAL.fullmatch(value) else None
    except ValueError:  # Python does not convert numbers of more than 4,300 digits.
        return None


def _decoded(value: str) -> int | None:
    """Return a number that is parsed as in Java's ``Integer.getInteger``; None if malformed."""
    found = _JAVA_NUMBER.fullmatch(value)
    if found is None:
        return None
    sign, prefix, digits = found.groups()
    base = 10 if not prefix else 8 if prefix == "0" else 16
    try:
        return int(sign + digits, base)
    except ValueError:
        return None
