"""Opens a source by its name: a data directory, or the folder or URL of an archive.

The libraries of archives are imported only for an archive.
"""

from pathlib import Path

from zoolet.archive.reading.directory_source import DirectorySource
from zoolet.archive.reading.source import Source
from zoolet.data.directory_reader import directories_of


def is_archive(name: str) -> bool:
    """Return whether a name is the URL of an archive, or a folder with an archive."""
    return "://" in name or (Path(name) / "archive").is_file()


def open_source(name: str, logs: Path | None = None, key_file: Path | None = None) -> Source:
    """Return the source with this name.

    Args:
        name: a data directory, or the folder or the URL of an archive.
        logs: the dataLogDir of a data directory, if it is another directory.
        key_file: the file with the key of an encrypted archive.

    Raises:
        StorageError: the directory does not exist.
        ArchiveError: the archive cannot be opened, or an option does not fit the source.
        OSError: the store of the archive cannot be read.
    """
    if not is_archive(name):
        return DirectorySource(directories_of(Path(name), logs))
    from zoolet.archive.reading.archive_source import ArchiveSource  # noqa: PLC0415 -- needs extras
    from zoolet.archive.store.archive import Archive  # noqa: PLC0415
    from zoolet.archive.store.keys import read_key_file  # noqa: PLC0415
    from zoolet.archive.store.store import Store  # noqa: PLC0415

    key = None if key_file is None else read_key_file(key_file)
    return ArchiveSource(Archive.open(Store(name, key)))
