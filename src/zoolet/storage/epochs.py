"""The epochs of a member of an ensemble: the files ``acceptedEpoch`` and ``currentEpoch``.

An epoch is the number of a leader's term. Each file has one decimal number, as in Apache ZooKeeper
(``QuorumPeer.readEpochFromFile``). A standalone server has neither file.

Invariant: after a crash, a file has the old number or the new one.
"""

from typing import Final

from zoolet.storage.disk import Disk
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories, by_zxid, replace_file

ACCEPTED_EPOCH: Final = "acceptedEpoch"
CURRENT_EPOCH: Final = "currentEpoch"
_NO_EPOCH: Final = b"-1"
"""The content of the files of an Apache ZooKeeper that never had data."""
EPOCH_FILES: Final = (ACCEPTED_EPOCH, CURRENT_EPOCH)


class EpochFiles:
    """Reads and stores the epochs of a data directory.

    Attributes:
        accepted: the epoch of the newest leader that this server has agreed to follow.
        current: the epoch of the newest leader whose whole history this server has.

    Each of them is None if it is not stored.
    """

    def __init__(self, disk: Disk, directories: DataDirectories) -> None:
        """Read the files; raises StorageError if one of them has no number."""
        self._disk = disk
        self._directory = directories.snapshots
        names = disk.list_names(self._directory)
        self.accepted = self._read(ACCEPTED_EPOCH) if ACCEPTED_EPOCH in names else None
        self.current = self._read(CURRENT_EPOCH) if CURRENT_EPOCH in names else None

    def store_accepted(self, epoch: int) -> None:
        """Store the accepted epoch; it is on disk when the call returns."""
        self._store(ACCEPTED_EPOCH, epoch)
        self.accepted = epoch

    def store_current(self, epoch: int) -> None:
        """Store the current epoch; it is on disk when the call returns."""
        self._store(CURRENT_EPOCH, epoch)
        self.current = epoch

    def _read(self, name: str) -> int | None:
        path = self._directory / name
        text = self._disk.read(path).split(b"\n", 1)[0].strip()
        if text == _NO_EPOCH:
            return None
        if not text.isdigit():
            raise StorageError(
                f"{path} must contain a number, the epoch, but contains {text[:20]!r}. Restore the"
                " file from a backup; or start the server with --discard-local-data, then it gets"
                " all data from the ensemble again."
            )
        return int(text)

    def _store(self, name: str, epoch: int) -> None:
        replace_file(self._disk, self._directory / name, f"{epoch}\n".encode())


def has_standalone_history(disk: Disk, directories: DataDirectories) -> bool:
    """Return whether the directory has the changes of a standalone server.

    An ensemble does not have these changes, so an observer in this directory would lose them. A
    member of an ensemble stores an epoch before it stores data of the ensemble.
    """
    names = disk.list_names(directories.snapshots)
    if not set(EPOCH_FILES).isdisjoint(names):
        return False
    has_logs = bool(by_zxid(disk.list_names(directories.logs), "log"))
    return has_logs or any(zxid > 0 for zxid, _ in by_zxid(names, "snapshot"))
