"""The keys of signatures: a file with several keys, which is read again when it changes.

    # id             secret, 32 bytes or more, as hexadecimal digits
    2026-11          6f1c...
    2026-05          93ab...

The first key signs, and all keys verify. Invariants:

- Only the owner and the group of the file can read it, and only the owner can change it.
- A secret is in no message, and in no ``repr``.

This module imports `zoolet.passwords` and `zoolet.jobs.errors`.
"""

import logging
import os
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from zoolet.jobs.errors import SigningKeyError
from zoolet.passwords.file_stamps import stamp_of
from zoolet.passwords.secret_files import SecretFile, SecretFileError, read_secret_file

log = logging.getLogger(__name__)

KEYS_LIMIT: Final = 100
FILE_LIMIT_BYTES: Final = 64 * 1024
SECRET_LEAST_BYTES: Final = 32
KEY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_HOW = "a line has an id and a secret, like: 2026-11 $(openssl rand -hex 32)"

KeysPath = str | os.PathLike[str]
"""The path of a file of keys."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key: its id, which signatures name, and its secret."""

    id: str
    secret: bytes = field(repr=False)


class SigningKeys:
    """The keys in a file. Any thread may use them.

    Each use looks whether the file has changed. If the changed file cannot be used, the log has an
    error, and the keys stay as they were.

    Raises:
        SigningKeyError: the file cannot be read, others can read it, or a line is invalid.
    """

    def __init__(self, path: KeysPath) -> None:
        self.path = Path(path).absolute()
        self._lock = threading.Lock()
        self._stamp = stamp_of([self.path])
        self._first, self._by_id = _read(self.path)

    def first(self) -> SigningKey:
        """Return the key that signs."""
        self._refresh()
        return self._first

    def find(self, key_id: str) -> SigningKey | None:
        """Return the key of this id; None if there is none."""
        self._refresh()
        return self._by_id.get(key_id)

    def _refresh(self) -> None:
        if stamp_of([self.path]) == self._stamp:
            return
        with self._lock:
            stamp = stamp_of([self.path])
            if stamp == self._stamp:
                return
            try:
                self._first, self._by_id = _read(self.path)
            except SigningKeyError as error:
                log.error("the keys of signatures stay as they are: %s", error)  # noqa: TRY400
            else:
                log.info("read %d keys of signatures again", len(self._by_id))
            self._stamp = stamp


def _read(path: Path) -> tuple[SigningKey, Mapping[str, SigningKey]]:
    try:
        file = read_secret_file(path, FILE_LIMIT_BYTES)
    except SecretFileError as error:
        raise SigningKeyError(
            f"the file of keys {error}: give the path of a file with keys"
        ) from None
    _check_mode(file)
    keys: dict[str, SigningKey] = {}
    for number, line in enumerate(file.content.decode("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        key = _key(words)
        if key is None:
            raise SigningKeyError(
                f"{path}, line {number}: {_HOW}. The id has up to 64 letters, digits, and . _ -;"
                f" the secret has at least {2 * SECRET_LEAST_BYTES} hexadecimal digits"
            )
        if key.id in keys:
            raise SigningKeyError(
                f"{path}, line {number}: the id {key.id} is used twice: give each key another id"
            )
        keys[key.id] = key
    if not 0 < len(keys) <= KEYS_LIMIT:
        raise SigningKeyError(
            f"the file of keys {path} has {len(keys)} keys; it must have 1 to {KEYS_LIMIT}: {_HOW}"
        )
    return next(iter(keys.values())), keys


def _key(words: list[str]) -> SigningKey | None:
    if len(words) != 2 or KEY_ID.fullmatch(words[0]) is None:
        return None
    try:
        secret = bytes.fromhex(words[1])
    except ValueError:
        return None
    return SigningKey(words[0], secret) if len(secret) >= SECRET_LEAST_BYTES else None


def _check_mode(file: SecretFile) -> None:
    """Raise SigningKeyError if other users can read or change the file."""
    path, owner = file.path, file.found.st_uid
    if file.is_open:
        raise SigningKeyError(
            f"other users can read or change the file of keys {path} (its mode is {file.mode}):"
            f" chmod 0600 {path}"
        )
    if sys.platform != "win32" and owner not in {0, os.geteuid()}:
        raise SigningKeyError(
            f"the file of keys {path} belongs to the user {owner}: it must belong to root or to the"
            f" user of this process: chown {os.geteuid()} {path}"
        )
