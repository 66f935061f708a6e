"""Checks whether the files are in the directories that zoo.cfg names.

A server that looks for its files in the wrong directory would start with an empty or old tree. So a
wrong placement is refused, and the message says what the user can do. Source:
``FileTxnSnapLog.checkLogDir``, ``checkSnapDir`` and ``restore`` of Apache ZooKeeper.
"""

from pathlib import Path

from zoolet.storage.disk import Disk
from zoolet.storage.errors import DirectoryError, StorageError
from zoolet.storage.files import REPLACING, VERSION_DIRECTORY, DataDirectories, by_zxid


def check_placement(disk: Disk, directories: DataDirectories) -> None:
    """Raise StorageError if the files are in other directories than zoo.cfg names.

    Also raises it if a replacement of the files was interrupted.
    """
    snapshots, logs = directories
    if any(name.startswith(REPLACING) for name in disk.list_names(snapshots)):
        raise StorageError(
            f"a crash interrupted the replacement of files in {snapshots}. Start the server in this"
            " directory: it finishes the replacement first."
        )
    if snapshots != logs:
        has_logs = bool(by_zxid(disk.list_names(snapshots), "log"))
        has_snapshots = bool(by_zxid(disk.list_names(logs), "snapshot"))
        if has_logs or has_snapshots:
            raise DirectoryError(_mixed_up(disk, directories, has_logs, has_snapshots))
    if not (_has_files(disk, snapshots) or _has_files(disk, logs)):
        for directory in dict.fromkeys(directories):
            _check_level(disk, directory)


def check_logs_have_snapshot(disk: Disk, directories: DataDirectories) -> None:
    """Raise StorageError if there are logs but no snapshot, not even a damaged snapshot.

    A server writes a snapshot before its first log. So if there is none, the snapshots are in
    another directory or were removed.
    """
    logs = by_zxid(disk.list_names(directories.logs), "log")
    if not logs or by_zxid(disk.list_names(directories.snapshots), "snapshot"):
        return
    fix = f"If dataDir in zoo.cfg is wrong, correct it; {directories.snapshots} has no snapshot."
    if logs[0][0] <= 1:
        restore = f"zoolet data restore {directories.snapshots.parent}"
        if directories.logs != directories.snapshots:
            restore += f" --logs {directories.logs.parent}"
        fix += (
            " If the snapshots are lost, the logs may contain all data. Then run:"
            f" {restore} --as-of 0x7fffffffffffffff --to NEWDIR, and set dataDir in zoo.cfg to"
            " NEWDIR (without a dataLogDir)."
        )
    else:
        fix += (
            f" If the snapshots are lost, restore one from a backup: the logs begin at zxid"
            f" 0x{logs[0][0]:x}, and the txns before it are missing."
        )
    raise StorageError(
        f"there are logs in {directories.logs}, but no snapshot in {directories.snapshots}: the"
        f" server would start without its earlier data. {fix}"
    )


def _has_files(disk: Disk, directory: Path) -> bool:
    names = disk.list_names(directory)
    return bool(by_zxid(names, "snapshot") or by_zxid(names, "log"))


def _mixed_up(disk: Disk, directories: DataDirectories, has_logs: bool, has_snapshots: bool) -> str:
    """Return the message: which directory is wrong, and the command that corrects it."""
    snapshots, logs = directories
    if (
        has_logs
        and has_snapshots
        and not by_zxid(disk.list_names(snapshots), "snapshot")
        and not by_zxid(disk.list_names(logs), "log")
    ):
        return (
            f"dataDir and dataLogDir are swapped: {snapshots} holds logs, and {logs} holds"
            f" snapshots. Set dataDir={logs.parent} and dataLogDir={snapshots.parent} in zoo.cfg."
        )
    found, moves = [], []
    if has_logs:
        found.append(f"the dataDir {snapshots} holds logs")
        moves.append(f"mv {snapshots}/log.* {logs}/")
    if has_snapshots:
        found.append(f"the dataLogDir {logs} holds snapshots")
        moves.append(f"mv {logs}/snapshot.* {snapshots}/")
    return (
        f"dataDir and dataLogDir are mixed up: {', and '.join(found)}. If dataLogDir was added or"
        f" changed in zoo.cfg, move the files that belong to this server: {'; '.join(moves)}."
        " Otherwise correct dataDir and dataLogDir in zoo.cfg."
    )


def _check_level(disk: Disk, directory: Path) -> None:
    """Raise DirectoryError if the files are in the parent of ``directory``, which has no files."""
    above = directory.parent
    if not _has_files(disk, above):
        return
    if above.name == VERSION_DIRECTORY:
        raise DirectoryError(
            f"{above} holds the files of a server, but zoo.cfg must name the directory above it:"
            f" name {above.parent} there, and remove the empty {directory}."
        )
    raise DirectoryError(
        f"{above} holds files of a server, but they must be in {directory}: move them,"
        f" mv {above}/snapshot.* {above}/log.* {directory}/; or set another directory in zoo.cfg."
    )
