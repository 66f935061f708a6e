"""Retention: removing the snapshots and logs that nobody needs any more.

The newest snapshots stay, as many as are wanted, and every log with a txn behind the oldest of
them. Source: the original's ``PurgeTxnLog``. Only files under their final names are looked at.
"""

from zoolet.storage.disk import Disk
from zoolet.storage.files import DataDirectories, by_zxid

LEAST_SNAPSHOTS = 3
"""Fewer would leave too little to go back to where a snapshot is damaged."""


def purge(disk: Disk, directories: DataDirectories, keep_snapshots: int) -> list[str]:
    """Remove what lies before the newest ``keep_snapshots``; returns the names, oldest first."""
    snapshots = by_zxid(disk.list_names(directories.snapshots), "snapshot")
    kept = snapshots[-keep_snapshots:]
    if len(kept) == len(snapshots):
        return []
    oldest_zxid = kept[0][0]
    logs = by_zxid(disk.list_names(directories.logs), "log")
    # The last log that begins at or before that zxid may hold txns behind it.
    before = [name for zxid, name in logs if zxid <= oldest_zxid][:-1]
    removed = [name for _, name in snapshots[:-keep_snapshots]]
    for name in removed:
        disk.remove(directories.snapshots / name)
    for name in before:
        disk.remove(directories.logs / name)
    for directory in dict.fromkeys(directories):
        disk.sync_directory(directory)
    return removed + before
