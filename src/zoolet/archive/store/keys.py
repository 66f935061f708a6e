"""The files of encryption keys: JSON, readable only by their owner."""

import base64
import json
import os
import secrets
from pathlib import Path
from typing import Final

from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.encryption import KEY_BYTES, Key

_FORMAT: Final = 1
_ID_BYTES: Final = 8


def create_key_file(path: Path) -> Key:
    """Create a file with a new key, which only this user can read; raises ArchiveError."""
    key = Key(secrets.token_hex(_ID_BYTES), secrets.token_bytes(KEY_BYTES))
    secret = base64.b64encode(key.secret).decode()
    text = json.dumps({"zoolet_archive_key": _FORMAT, "id": key.id, "key": secret}) + "\n"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ArchiveError(f"{path} exists: name a new file.") from None
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return key


def read_key_file(path: Path) -> Key:
    """Return the key in a file; raises ArchiveError."""
    try:
        fields = json.loads(path.read_text(encoding="ascii"))
        key = Key(fields["id"], base64.b64decode(fields["key"], validate=True))
        is_key = fields["zoolet_archive_key"] == _FORMAT and len(key.secret) == KEY_BYTES
    except OSError as error:
        raise ArchiveError(f"the key file {path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        is_key = False
    if not is_key:
        raise ArchiveError(f"{path} is not a key file. Create one with: zoolet archive key FILE")
    return key
