"""Secrets that zoo.cfg does not contain: ``${file:PATH}`` and ``${env:NAME}``.

The whole value of a secret is the reference. A server that starts follows it. Other commands read
the same zoo.cfg, perhaps as another user, and do not need secrets: for them, the value is a
placeholder. Invariant: an error has the reference, never the secret.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from zoolet.passwords.secret_files import SecretFileError, read_secret_file

_REFERENCE: Final = re.compile(r"\$\{(file|env):(.*)\}", re.DOTALL | re.IGNORECASE)
_LIMIT_BYTES: Final = 64 << 10
_PLACEHOLDER_CHARACTERS: Final = 32


class SecretError(ValueError):
    """A reference cannot be followed; the message says why, and what to do."""


def is_reference(value: str) -> bool:
    """Return whether a value is a reference, also one in upper case, which is an error."""
    return _REFERENCE.fullmatch(value) is not None


def resolved(value: str, environment: Mapping[str, str] | None) -> str:
    """Return the secret to which a reference refers; raises SecretError.

    ``environment`` has the environment variables. If it is None, the result is a placeholder.
    """
    found = _REFERENCE.fullmatch(value)
    if found is None:
        return value
    kind, name = found.groups()
    if not kind.islower():
        raise SecretError(f"{value} is no reference: write file and env in lower case")
    if environment is None:
        return f"the value of {value}".ljust(_PLACEHOLDER_CHARACTERS)
    secret = _in_file(Path(name)) if kind == "file" else environment.get(name)
    if secret is None:
        raise SecretError(f"the environment variable {name} is not set: set it for the server")
    if not secret:
        raise SecretError(f"{value} is empty: write the secret there")
    return secret


def _in_file(path: Path) -> str:
    """Return the text of a file, without blanks and line ends at both ends."""
    try:
        file = read_secret_file(path, _LIMIT_BYTES)
        text = file.text()
    except SecretFileError as error:
        raise SecretError(f"the file {error}") from None
    file.warn()
    return text.removeprefix("\ufeff").strip()  # some editors write a byte order mark
