"""Where an archiver gets states from: the data directory of a server, which may be running."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.records import Reason
from zoolet.archive.writing.log_tail import LogTail
from zoolet.data.directory_reader import state_of
from zoolet.storage.compression import compression_of
from zoolet.storage.disk import Disk
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories, by_zxid
from zoolet.storage.recovery import ALL, AsOf, Recovery
from zoolet.storage.snapshots import Image, write_snapshot


class LocalSnapshot(NamedTuple):
    """A snapshot file of a server.

    Attributes:
        path: the file.
        zxid: the last txn that the state contains; it contains no later one.
        time_ms: a time, in ms since the epoch, that is not before the txns in the state.
    """

    path: Path
    zxid: int
    time_ms: int

    def pieces(self) -> Iterator[bytes]:
        """Yield the content, decompressed."""
        with Disk().open(self.path) as file:
            yield from compression_of(self.path.name).decompress_blocks(file.blocks())


class Source(Protocol):
    """The server that is archived.

    Attributes:
        directories: its files.
        gap_reason: the reason for a gap if its logs do not continue the archive.
    """

    directories: DataDirectories
    gap_reason: Reason

    def is_current(self) -> bool:
        """Whether the files have the server's newest state, apart from txns of this moment."""

    @contextmanager
    def first_snapshot(self, common_zxid: int | None) -> Iterator[LocalSnapshot]:
        """Give a state with which a timeline can begin; its later txns are in the logs.

        ``common_zxid`` is the last txn that the logs and an earlier timeline have in common.
        """

    @contextmanager
    def snapshot(self, after_zxid: int, zxid: int) -> Iterator[LocalSnapshot | None]:
        """Give a state after ``after_zxid``, up to ``zxid``; None if there is none."""

    def remove_archived(self, zxid: int) -> None:
        """Remove old files of the archiver; the txns up to ``zxid`` are archived."""


class DirectorySource:
    """The data directory of a standalone server, which runs or is stopped."""

    gap_reason = Reason.MISSING_LOGS

    def __init__(self, directories: DataDirectories) -> None:
        self.directories = directories

    def is_current(self) -> bool:
        """Return True: a standalone server has the only copy of its data."""
        return True

    @contextmanager
    def first_snapshot(self, common_zxid: int | None) -> Iterator[LocalSnapshot]:
        """Give the state of ``common_zxid``, or the oldest one that the logs continue.

        If there is neither, give the newest one.
        """
        zxids = [zxid for zxid, _ in self._snapshots() if self._logs_continue(zxid)]
        for zxid in zxids if common_zxid is None else (common_zxid, *zxids):
            try:
                recovery = state_of(self.directories, AsOf(zxid=zxid))
            except StorageError:
                continue
            if recovery.machine.zxid == zxid:
                with self._written(recovery) as snapshot:
                    end_ms = self._end_ms(snapshot) if zxid == common_zxid else snapshot.time_ms
                    yield snapshot._replace(time_ms=end_ms)
                return
        with self._written(self._recovered(ALL)) as snapshot:
            yield snapshot

    def _end_ms(self, snapshot: LocalSnapshot) -> int:
        """Return the last time at which the state was that of the snapshot.

        At the times before, the earlier timeline counts: it has the txns that the server had then.
        """
        following_ms = LogTail(self.directories).time_of(snapshot.zxid + 1)
        now_ms = int(time.time() * 1000)
        return max(snapshot.time_ms, (now_ms if following_ms is None else following_ms) - 1)

    def _logs_continue(self, zxid: int) -> bool:
        logs = by_zxid(Disk().list_names(self.directories.logs), "log")
        return not logs or logs[0][0] <= zxid + 1

    @contextmanager
    def snapshot(self, after_zxid: int, zxid: int) -> Iterator[LocalSnapshot | None]:
        """Give the state of ``zxid``.

        A snapshot file of Apache ZooKeeper may have later txns, so no file is used as it is.
        """
        if zxid <= after_zxid:
            yield None
            return
        with self._written(self._recovered(AsOf(zxid=zxid))) as snapshot:
            yield snapshot if after_zxid < snapshot.zxid <= zxid else None

    def remove_archived(self, zxid: int) -> None:
        """Do nothing: the files belong to the server."""

    def _snapshots(self) -> list[tuple[int, str]]:
        return by_zxid(Disk().list_names(self.directories.snapshots), "snapshot")

    def _recovered(self, as_of: AsOf) -> Recovery:
        try:
            return state_of(self.directories, as_of)
        except StorageError as error:
            raise ArchiveError(str(error)) from error

    @contextmanager
    def _written(self, recovery: Recovery) -> Iterator[LocalSnapshot]:
        machine = recovery.machine
        with tempfile.TemporaryDirectory(prefix="zoolet-archive-") as folder:
            path = write_snapshot(Disk(), Path(folder), Image.of(machine))
            yield LocalSnapshot(path, machine.zxid, self._time_ms(machine.zxid, path))

    def _time_ms(self, zxid: int, path: Path) -> int:
        """Return a time that is not before the txns up to ``zxid``, as early as it is known."""
        if (time_ms := LogTail(self.directories).time_of(zxid)) is not None:
            return time_ms
        original = [
            self.directories.snapshots / name for at, name in self._snapshots() if at == zxid
        ]
        try:
            return (original[0] if original else path).stat().st_mtime_ns // 1_000_000
        except FileNotFoundError:
            return int(time.time() * 1000)
