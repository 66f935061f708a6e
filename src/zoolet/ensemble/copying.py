"""Copies the data of a stopped server into a new directory.

The copy has every undamaged snapshot and every log, and a new snapshot of the last state. It has
the dataDir ``data``, and the dataLogDir ``log`` if the logs have their own directory.
Files and directories get the mode and the owner of those that are copied.
"""

from pathlib import Path

from zoolet.ensemble.configurations import Places
from zoolet.ensemble.member_directories import DATA_NAME, LOG_NAME
from zoolet.ensemble.new_directory import NewDirectory, take_owner, take_rights
from zoolet.ensemble.stopped_data import StoppedData
from zoolet.state_machine.machine import StateMachine
from zoolet.storage.disk import Disk
from zoolet.storage.files import DataDirectories, by_zxid
from zoolet.storage.snapshots import Image, write_snapshot


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


def copy_data(
    disk: Disk,
    directory: NewDirectory,
    data: StoppedData,
    machine: StateMachine,
    targets: DataDirectories,
) -> None:
    """Copy the data to directories in the new directory, and write a snapshot of ``machine``.

    With the snapshot, the state of the new server does not depend on how it applies the old logs.
    """
    for source, target in zip(data.directories, targets, strict=True):
        directory.make(target)
        take_rights(target, source)
        take_rights(target.parent, source.parent)
    take_owner(targets.snapshots.parents[1], data.directories.snapshots.parent)
    for part in data.snapshots:
        if by_zxid([part.path.name], "snapshot")[0][0] == machine.zxid:
            continue
        directory.copy(part.path, part.size_bytes, targets.snapshots / part.path.name)
    for part in data.logs:
        directory.copy(part.path, part.size_bytes, targets.logs / part.path.name)
    snapshot = write_snapshot(disk, targets.snapshots, Image.of(machine))
    take_rights(snapshot, data.snapshots[-1].path)
