"""Copies the data of a stopped server into a new directory.

The copy has the dataDir ``data``, and the dataLogDir ``log`` if the logs have their own directory.
Files and directories get the mode and the owner of those that are copied.
"""

from pathlib import Path

from zoolet.ensemble.configurations import Places
from zoolet.ensemble.member_directories import DATA_NAME, LOG_NAME
from zoolet.ensemble.new_directory import NewDirectory, take_owner, take_rights
from zoolet.ensemble.stopped_data import StoppedData
from zoolet.storage.files import DataDirectories


def has_log_directory(directories: DataDirectories) -> bool:
    """Return whether the logs have their own directory."""
    return directories.logs != directories.snapshots


def directories_in(home: Path, *, has_log_dir: bool) -> DataDirectories:
    """Return the directories of a copy below ``home``."""
    return DataDirectories.of(home / DATA_NAME, home / LOG_NAME if has_log_dir else None)


def places_of(directories: DataDirectories) -> Places:
    """Return the directories that a zoo.cfg names."""
    log_dir = directories.logs.parent if has_log_directory(directories) else None
    return Places(directories.snapshots.parent, log_dir)


def copy_data(directory: NewDirectory, data: StoppedData, targets: DataDirectories) -> None:
    """Copy the data to directories in the new directory."""
    for source, target in zip(data.directories, targets, strict=True):
        directory.make(target)
        take_rights(target, source)
        take_rights(target.parent, source.parent)
    take_owner(targets.snapshots.parents[1], data.directories.snapshots.parent)
    for part in data.snapshots:
        directory.copy(part.path, part.size_bytes, targets.snapshots / part.path.name)
    for part in data.logs:
        directory.copy(part.path, part.size_bytes, targets.logs / part.path.name)
