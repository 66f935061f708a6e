"""A snapshot that comes from a leader: written as it arrives, installed when it is complete.

The snapshot and the txns that the leader sends after it are written to folders of their own, in the
data directory. Together they are a consistent state only when the leader has sent its whole history
(the packet NEWLEADER). Then ``install`` makes them the valid files. Until then, a start of the
server finds the old files, and removes the received ones.
"""

from pathlib import Path

from zoolet.storage.disk import Disk
from zoolet.storage.files import DataDirectories
from zoolet.storage.replacement import RECEIVED, install_received, remove_received
from zoolet.storage.snapshots import SNAPSHOT_HEADER, SnapshotFile


class ReceivedSnapshot:
    """A snapshot of a leader, and the log of the txns after it.

    Attributes:
        logs: the folder for the log of the txns between the snapshot and ``install``. The caller
            must end this log (``TxnLog.roll``) before ``install``.
    """

    def __init__(self, disk: Disk, directories: DataDirectories, zxid: int) -> None:
        """Create the file of a snapshot that contains at least all txns up to ``zxid``."""
        self._disk = disk
        self._directories = directories
        self._is_sealed = False
        self.logs = directories.logs / RECEIVED
        remove_received(disk, directories)
        for directory in dict.fromkeys(directories):
            disk.make_directory(directory / RECEIVED)
            disk.sync_directory(directory)
        self._file = SnapshotFile(disk, directories.snapshots / RECEIVED, zxid)
        self._file.write(SNAPSHOT_HEADER)

    def write(self, piece: bytes) -> None:
        """Write the next part of the content."""
        self._file.write(piece)

    def seal(self) -> None:
        """Write the end of the snapshot; the file is on disk when the call returns."""
        self._file.finish()
        self._is_sealed = True

    def install(self) -> Path:
        """Move all older files away, and make the received files valid.

        Returns the folder with the older snapshots. Logs in a ``dataLogDir`` are moved to the
        folder of the same name there.
        """
        if not self._is_sealed:
            raise AssertionError("a received snapshot must be complete before it is installed")
        return install_received(self._disk, self._directories)

    def abandon(self) -> None:
        """Remove the received files: the connection to the leader has ended."""
        if not self._is_sealed:
            self._file.abandon()
        remove_received(self._disk, self._directories)
