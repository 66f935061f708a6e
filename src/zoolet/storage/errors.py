"""The errors for a data directory that cannot be used."""

from pathlib import Path


class StorageError(Exception):
    """The data directory cannot be used; the message has the reason and what the user can do."""


class DirectoryError(StorageError):
    """A directory cannot be created or written, does not exist, or has the files of the other."""


class DamagedFileError(StorageError):
    """A file has invalid content.

    Attributes:
        path: the path of the file.
        offset: the position of the invalid bytes in the file, in bytes.
        reason: a description of the damage.
    """

    def __init__(self, path: Path, offset: int, reason: str, advice: str = "") -> None:
        super().__init__(f"{path}: at byte {offset}: {reason}.{advice and ' ' + advice}")
        self.path = path
        self.offset = offset
        self.reason = reason


def ways_on(directory: Path, zxid: int) -> str:
    """Return what the user can do if the logs in a directory cannot be read after ``zxid``."""
    return (
        "Restore an undamaged copy; or, to start without the data that cannot be read, run: zoolet"
        f" data restore {directory.parent} --as-of 0x{zxid:x} --to NEWDIR, and set dataDir in"
        " zoo.cfg to NEWDIR. Nothing was changed."
    )
