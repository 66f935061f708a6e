"""Retention: the removal of old snapshots and logs.

The newest undamaged snapshots are kept, up to the configured number, and every log with a txn after
the oldest of them. A damaged snapshot does not count (ZOOKEEPER-3231), but it is kept if it is
newer than the oldest of them. Source: ``PurgeTxnLog`` and ``FileSnap.findNValidSnapshots`` of
Apache ZooKeeper, which check only the end mark; zoolet checks the checksum. Only files under their
final names count.

Several processes may purge at the same time, and files may be removed meanwhile: each process
removes only files older than snapshots that it has checked and that still exist.
"""

import zlib
from pathlib import Path

from zoolet.storage.compression import CompressionError, compression_of
from zoolet.storage.disk import Disk
from zoolet.storage.files import TORN, DataDirectories, by_zxid
from zoolet.storage.snapshots import MAGIC, SEAL_BYTES, is_seal_of

LEAST_SNAPSHOTS = 3
"""The least number of snapshots to keep, so that others are left if one is damaged."""


class Retention:
    """Purges a data directory repeatedly.

    A snapshot that was found undamaged is not read again: a file with a final name never changes.
    """

    def __init__(self, disk: Disk, directories: DataDirectories, keep_snapshots: int) -> None:
        self._disk = disk
        self._directories = directories
        self._keep_snapshots = keep_snapshots
        self._whole: dict[str, int] = {}

    def purge(self) -> list[str]:
        """Remove the snapshots and logs that are not kept; return the names of the removed files.

        If there are fewer undamaged snapshots than the number to keep, nothing is removed.
        """
        disk, (snapshots, logs) = self._disk, self._directories
        names = by_zxid(disk.list_names(snapshots), "snapshot")
        if len(names) <= self._keep_snapshots:
            return []
        kept = self._newest_whole(names)
        there = set(disk.list_names(snapshots))
        if len(kept) < self._keep_snapshots or not there.issuperset(kept):
            return []
        oldest_zxid = min(zxid for zxid, name in names if name in kept)
        # Snapshots first: so a crash in between leaves no snapshot without its logs.
        removed = [name for zxid, name in names if zxid < oldest_zxid]
        self._remove(snapshots, removed)
        # The last log that begins at or before this zxid may contain txns after it.
        begun = [
            name for zxid, name in by_zxid(disk.list_names(logs), "log") if zxid <= oldest_zxid
        ]
        gone = begun[:-1] + self._torn_from(begun[:-1])
        self._remove(logs, gone)
        return removed + gone

    def _torn_from(self, logs: list[str]) -> list[str]:
        """Return the files with the torn tails that recovery has cut off these logs."""
        prefixes = tuple(f"{TORN}{name}." for name in logs)
        names = self._disk.list_names(self._directories.logs)
        return [name for name in names if name.startswith(prefixes)] if prefixes else []

    def _remove(self, directory: Path, names: list[str]) -> None:
        for name in names:
            self._disk.remove(directory / name)
        if names:
            self._disk.sync_directory(directory)

    def _newest_whole(self, names: list[tuple[int, str]]) -> list[str]:
        """Return the names of the newest undamaged snapshots, up to the number to keep."""
        kept: list[str] = []
        for _, name in reversed(names):
            if len(kept) == self._keep_snapshots:
                break
            if self._is_whole(name):
                kept.append(name)
        self._whole = {name: size for name, size in self._whole.items() if name in kept}
        return kept

    def _is_whole(self, name: str) -> bool:
        path = self._directories.snapshots / name
        try:
            size_bytes = checked_size(self._disk, path, self._whole.get(name))
        except (OSError, CompressionError):
            return False
        if size_bytes is None:
            return False
        self._whole[name] = size_bytes
        return True


def checked_size(disk: Disk, path: Path, known_bytes: int | None = None) -> int | None:
    """Return the size of a snapshot file with a correct checksum; None if the checksum is wrong.

    The file is read in blocks, so that a large file takes little memory. It is not read if its size
    is ``known_bytes``. Raises OSError, and CompressionError if the compression is not the one in
    the name.
    """
    with disk.open(path) as file:
        if file.size_bytes == known_bytes:
            return known_bytes
        checksum, seal, head = 1, b"", b""
        for piece in compression_of(path.name).decompress_blocks(file.blocks()):
            # The last bytes are not added to the checksum yet: they may be the seal.
            data = seal + piece
            seal = data[-SEAL_BYTES:]
            content = memoryview(data)[: len(data) - len(seal)]
            head = (head + bytes(content[: len(MAGIC)]))[: len(MAGIC)]
            checksum = zlib.adler32(content, checksum)
        return file.size_bytes if head == MAGIC and is_seal_of(checksum, seal) else None
