"""Secrets that zoo.cfg does not contain: ``${file:PATH}`` and ``${env:NAME}``.

The whole value of a secret is the reference. A server that starts follows it. Other commands read
the same zoo.cfg, perhaps as another user, and do not need secrets: for them, the value is a
placeholder. Invariant: an error has the reference, never the secret.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_REFERENCE: Final = re.compile(r"\$\{(file|env):(.*)\}", re.DOTALL)
_LIMIT_BYTES: Final = 64 << 10
_PLACEHOLDER_CHARACTERS: Final = 32


class SecretError(ValueError):
    """A reference cannot be followed; the message says why, and what to do."""


def is_reference(value: str) -> bool:
    """Return whether a value is a reference."""
    return _REFERENCE.fullmatch(value) is not None


def resolved(value: str, environment: Mapping[str, str] | None) -> str:
    """Return the secret to which a reference refers; raises SecretError.

    ``environment`` has the environment variables. If it is None, the result is a placeholder.
    """
    found = _REFERENCE.fullmatch(value)
    if found is None:
        return value
    kind, name = found.groups()
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
        with path.open("rb") as file:
            content = file.read(_LIMIT_BYTES + 1)
        text = content.decode("utf-8-sig")  # some editors write a byte order mark
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a NUL in the path
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number else "it is not a file with UTF-8"
        raise SecretError(f"the file {path} cannot be read: {reason}") from None
    if len(content) > _LIMIT_BYTES:
        raise SecretError(
            f"the file {path} is longer than {_LIMIT_BYTES >> 10} KiB: name a secret's file"
        )
    return text.strip()
