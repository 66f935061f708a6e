"""Why the data directory cannot be used."""

from pathlib import Path


class StorageError(Exception):
    """The data directory cannot be used; the message says why and what to do."""


class DamagedFileError(StorageError):
    """A file holds what it should not.

    Attributes:
        path: the file.
        offset: where in it, in bytes.
        reason: what is wrong there.
    """

    def __init__(self, path: Path, offset: int, reason: str, advice: str = "") -> None:
        super().__init__(f"{path}: at byte {offset}: {reason}.{advice and ' ' + advice}")
        self.path = path
        self.offset = offset
        self.reason = reason
