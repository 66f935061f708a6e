"""Retention: removing the snapshots and logs that nobody needs any more.

The newest whole snapshots stay, up to the wanted number, and every log with a txn behind the oldest
of them. A snapshot that is not whole does not count (ZOOKEEPER-3231): it stays if it is newer.
Source: ``PurgeTxnLog`` and ``FileSnap.findNValidSnapshots`` of Apache ZooKeeper; but here the
checksum is checked, and there only the end mark. Only files under their final names count.

Several may purge at once, and files may vanish meanwhile: each removes only what lies before
snapshots that it has found whole and that are still there.
"""

import zlib
from pathlib import Path

from zoolet.storage.compression import CompressionError, compression_of
from zoolet.storage.disk import Disk
from zoolet.storage.files import TORN, DataDirectories, by_zxid
from zoolet.storage.snapshots import MAGIC, SEAL_BYTES, is_seal_of

LEAST_SNAPSHOTS = 3
"""Fewer would leave too little to go back to where a snapshot is damaged."""


class Retention:
    """Purges a data directory, again and again.

    A snapshot that was found whole is not read again: a file does not change under its final name.
    """

    def __init__(self, disk: Disk, directories: DataDirectories, keep_snapshots: int) -> None:
        self._disk = disk
        self._directories = directories
        self._keep_snapshots = keep_snapshots
        self._whole: dict[str, int] = {}

    def purge(self) -> list[str]:
        """Remove what lies before the newest whole snapshots; returns the names, oldest first.

        Removes nothing if there are fewer whole snapshots than are to be kept.
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
        # Snapshots first: a crash in between leaves no snapshot without its logs.
        removed = [name for zxid, name in names if zxid < oldest_zxid]
        self._remove(snapshots, removed)
        # The last log that begins at or before that zxid may hold txns behind it.
        begun = [
            name for zxid, name in by_zxid(disk.list_names(logs), "log") if zxid <= oldest_zxid
        ]
        gone = begun[:-1] + self._torn_from(begun[:-1])
        self._remove(logs, gone)
        return removed + gone

    def _torn_from(self, logs: list[str]) -> list[str]:
        """Return the files that hold what recovery has cut off these logs."""
        prefixes = tuple(f"{TORN}{name}." for name in logs)
        names = self._disk.list_names(self._directories.logs)
        return [name for name in names if name.startswith(prefixes)] if prefixes else []

    def _remove(self, directory: Path, names: list[str]) -> None:
        for name in names:
            self._disk.remove(directory / name)
        if names:
            self._disk.sync_directory(directory)

    def _newest_whole(self, names: list[tuple[int, str]]) -> list[str]:
        """Return the names of the newest whole snapshots, up to the number to keep."""
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
    """Return the size of a snapshot file whose checksum is right; None if it is not right.

    Reads the file in blocks, so that a large one takes little memory; not at all if its size is
    ``known_bytes``. Raises OSError, and CompressionError if it is not compressed as its name says.
    """
    with disk.open(path) as file:
        if file.size_bytes == known_bytes:
            return known_bytes
        checksum, seal, head = 1, b"", b""
        for piece in compression_of(path.name).decompress_blocks(file.blocks()):
            # The last bytes are held back: they may be the seal.
            data = seal + piece
            seal = data[-SEAL_BYTES:]
            content = memoryview(data)[: len(data) - len(seal)]
            head = (head + bytes(content[: len(MAGIC)]))[: len(MAGIC)]
            checksum = zlib.adler32(content, checksum)
        return file.size_bytes if head == MAGIC and is_seal_of(checksum, seal) else None
